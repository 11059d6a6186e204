"""Contract: settings that concern descriptors and debuggers; the others are in test_contract_life.py.
Each test has the name of Node's own."""
import os
import socket

import pytest
from contract import both, primary, start_primary  # noqa: F401
from harness import wait_until
from test_contract_life import KILLED, obey


def test_fork_stdio(both):
    """settings.stdio: a pipe behind the channel, both ways."""
    def scenario(primary):
        [worker] = obey(primary, stdio=["ignore", "inherit", "inherit", "ipc", "pipe"])
        worker.send(["pipe", 4])
        worker.pipe(4, "hello")
        wait_until(lambda: worker.piped(4) == "back hello", "the answer")
        return worker.show()["connected"]

    assert both(scenario)["result"] is True


@pytest.mark.parametrize("settings", [{"silent": True},
                                      {"stdio": ["pipe", "pipe", "pipe", "ipc"]}],
                         ids=["silent", "stdio"])
def test_setup_primary_silent(both, settings):
    """settings.silent, or pipes for the standard streams: the primary reads what workers print."""
    def scenario(primary):
        [worker] = obey(primary, **settings)
        worker.send(["print", "hello"])
        wait_until(lambda: [worker.piped(1), worker.piped(2)] == ["hello\n", "hello?\n"], "the output")

    both(scenario)


@pytest.mark.parametrize("stdio, at", [
    (["ipc", "inherit", "inherit"], 0),
    (["ignore", "ipc", "inherit"], 1),
    (["ignore", "inherit", "inherit", "pipe", "ipc"], 4),
], ids=["stdin", "stdout", "four"])
def test_stdio_ipc(both, stdio, at):
    """The channel may be at any descriptor, also at those of the standard streams."""
    def scenario(primary):
        [worker] = obey(primary, stdio=stdio)
        target = os.readlink(f"/proc/{primary.children()[0]}/fd/{at}")
        worker.send(["serve", 0])
        worker.next("listening")
        worker.disconnect()
        return target.split(":")[0], worker.wait_gone()

    assert both(scenario)["result"] == ["socket", [0, None, True]]


def test_inspector_port_cluster(both, port):
    """--inspect: each worker gets a port of its own, counted up."""
    def scenario(primary):
        workers = obey(primary, 3, execArgv=[f"--inspect={port}"], debugPort=port)
        told = [worker.ask(["inspect"]) for worker in workers]
        for number in told:
            wait_until(lambda: [t for t in primary.output("stderr")
                                if f"Debugger listening on ws://127.0.0.1:{number}/" in t],
                       "its debugger")
        return [number - port for number in told]

    assert both(scenario)["result"] == [1, 2, 3]


def test_inspector_port_cluster_options(both, port):
    """The same when the primary's NODE_OPTIONS say so."""
    def scenario(primary):
        return [worker.ask(["inspect"]) - port for worker in obey(primary, 2)]

    assert both(scenario, before=["env", f"NODE_OPTIONS=--inspect={port}"])["result"] == [1, 2]


def test_inspector_cluster_port_clash(both, port):
    """The port of its debugger is taken: what the worker makes of it does not concern the primary."""
    def scenario(primary):
        with socket.create_server(("127.0.0.1", port + 1)):
            [worker] = primary.start("obey.js", execArgv=[f"--inspect={port}"], debugPort=port)
            primary.wait(lambda events: [e for e in events if e[0] in ("message", "exit")], "its answer")
        return obey(primary)[0].ask(["inspect"]) - port

    assert both(scenario)["result"] == 2


def test_cluster_inspect_brk(both, port):
    """--inspect-brk: a worker waits for its debugger before its first line; it can be ended."""
    def scenario(primary):
        [worker] = primary.start("obey.js", execArgv=[f"--inspect-brk={port}"], debugPort=port)
        wait_until(lambda: [t for t in primary.output("stderr")
                            if f"Debugger listening on ws://127.0.0.1:{port + 1}/" in t], "its debugger")
        worker.kill()
        return worker.wait_gone(), worker.has("message")

    assert both(scenario)["result"] == [KILLED, False]
