"""Contract: how workers begin and end, and what their primary is told of it."""
import os
import shutil
import signal
import socket
import tempfile

import pytest
from contract import WORKERS, both, primary, start_primary  # noqa: F401
from harness import SLOW, wait_until

CONNECTED = {"connected": True, "dead": False, "exitedAfterDisconnect": False}
DEAD = {"connected": False, "dead": True, "exitedAfterDisconnect": False}
KILLED = [None, "SIGTERM", False]


def obey(primary, count=1, **settings):
    """So many workers that do what they are told."""
    workers = primary.start("obey.js", count=count, **settings)
    for worker in workers:
        assert worker.message() == "ready"
    return workers


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Server:
    """Keeps a worker that connects to it alive, as long as the test likes."""

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(10 * SLOW)
        return self

    def __exit__(self, *_):
        self.listener.close()

    def hold(self, worker):
        """Our end of a connection from it."""
        assert worker.ask(["connect", self.listener.getsockname()[1]]) == "connected"
        return self.listener.accept()[0]


# ---- as they begin ----

def test_cwd(both):
    """settings.cwd is where workers run; without it they run where the primary does."""
    def scenario(primary):
        (primary.cwd / "below").mkdir()
        [first] = obey(primary)
        [second] = obey(primary, cwd=str(primary.cwd / "below"))
        return [worker.ask(["cwd"]) for worker in (first, second)]

    assert both(scenario)["result"] == ["CWD", "CWD/below"]


def test_fork_env(both):
    """fork(env) adds to the primary's environment and overrides it, for this worker only."""
    names = ["UMBEL_TEST_HOME", "HOME", "NODE_UNIQUE_ID", "PATH"]

    def scenario(primary):
        primary.setup("obey.js")
        with_env = primary.fork(UMBEL_TEST_HOME="x=y z", HOME="/nowhere")
        without = primary.fork()
        told = []
        for worker in (with_env, without):
            assert worker.message() == "ready"
            told.append(worker.ask(["env", names]))
        return told

    assert both(scenario)["result"] == [["x=y z", "/nowhere", None, os.environ["PATH"]],
                                        [None, os.environ["HOME"], None, os.environ["PATH"]]]


def test_setup_primary(both):
    """settings.args are the workers' process.argv.slice(2)."""
    args = ["a b", "", "--c=d", "ä"]

    def scenario(primary):
        [worker] = primary.start("obey.js", *args)
        worker.message()
        return worker.ask(["args"])

    assert both(scenario)["result"] == args


def test_setup_primary_cumulative(both):
    """A second setup changes what it names; it is for the workers that are forked from then on."""
    def scenario(primary):
        [first] = primary.start("obey.js", "first", env={"UMBEL_TEST_WHAT": "kept"})
        first.message()
        primary.command("setup", {"args": ["second"]})
        second = primary.fork()
        second.message()
        return [[worker.ask(["args"]), worker.ask(["env", ["UMBEL_TEST_WHAT"]])]
                for worker in (first, second)]

    assert both(scenario)["result"] == [[["first"], ["kept"]], [["second"], ["kept"]]]


def test_setup_primary_argv(both):
    """Arguments are those of the moment of the fork."""
    def scenario(primary):
        told = []
        for args in ([], ["more"]):
            [worker] = primary.start("obey.js", *args)
            worker.message()
            told.append(worker.ask(["args"]))
        return told

    assert both(scenario)["result"] == [[], ["more"]]


def test_worker_init(both):
    """A worker hears messages from the start, and may disconnect() itself."""
    def scenario(primary):
        [worker] = primary.start("echo.js")
        assert worker.message() == "hello"
        assert worker.ask("anybody?") == "anybody?"
        [other] = obey(primary)
        other.send(["disconnect"])
        return other.wait_gone()

    assert both(scenario)["result"] == [0, None, True]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_uid_gid(both):
    """settings.uid and .gid: who workers are; nothing is left of the primary's groups."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)  # others have no way to where we are
        program = shutil.copy(WORKERS / "obey.js", directory)

        def scenario(primary):
            [worker] = primary.start(program, uid=65534, gid=65534, cwd="/", preload=False)
            assert worker.message() == "ready"
            return worker.ask(["ids"])

        assert both(scenario)["result"] == [65534, 65534, [65534]]


def test_spawn_error(primary):
    """A worker that cannot be started is an error, and the primary lives on."""
    primary.setup("obey.js", cwd="/no/such/directory")
    worker = primary.fork()
    assert worker.next("error") == "ENOENT"
    worker.next("disconnect")
    assert obey(primary, cwd="/")[0].show() == CONNECTED
    assert not worker.has("exit")
    assert primary.listed() == [2]


# ---- as they are ----

def test_worker_isconnected(both):
    """isConnected() in the primary and in the worker: until the channel ends."""
    def scenario(primary):
        [worker] = obey(primary)
        there = worker.ask(["show"])["connected"]
        before = worker.show()["connected"]
        worker.disconnect()
        worker.next("disconnect")
        return there, before, worker.show()["connected"]

    assert both(scenario)["result"] == [True, True, False]


def test_worker_isdead(both):
    """isDead() in the primary and in the worker: after its exit, not after disconnect()."""
    def scenario(primary):
        [worker] = obey(primary)
        there = worker.ask(["show"])["dead"]
        before = worker.show()["dead"]
        worker.kill()
        worker.wait_gone()
        return there, before, worker.show()["dead"]

    assert both(scenario)["result"] == [False, False, True]


# ---- as they end by themselves ----

def test_worker_exit(both):
    """process.exit(42): one disconnect, one exit, nobody asked for it."""
    def scenario(primary):
        [worker] = obey(primary)
        before = worker.show()
        worker.send(["exit", 42])
        code = worker.wait_gone()
        return before, code, worker.show(), primary.listed()

    told = both(scenario)
    assert told["result"] == [CONNECTED, [42, None, False], DEAD, []]
    assert told["worker 1"][-2:] == [["disconnect", False], ["exit", 42, None, False]]


def test_worker_death(both):
    """A worker that ends at once tells its code all the same; another one does not notice."""
    def scenario(primary):
        [other] = obey(primary)
        primary.setup("exits.js", 42)
        code = primary.fork().wait_gone()
        return code, other.ask(["show"])["connected"]

    assert both(scenario)["result"] == [[42, None, False], True]


def test_process_disconnect(both):
    """process.disconnect() in a worker that listens: it exits with 0; it was not asked."""
    def scenario(primary):
        [worker] = obey(primary)
        worker.send(["serve", 0])
        worker.next("listening")
        worker.send(["part"])
        return worker.wait_gone()

    assert both(scenario)["result"] == [0, None, False]


def test_worker_forced_exit(both):
    """One that was disconnected exits when and how it likes; one that parts must at once, with 0."""
    def scenario(primary):
        asked, parted = obey(primary, 2)
        for worker in (asked, parted):
            worker.send(["exit later", 42])
        parted.send(["part"])
        asked.disconnect()
        return [worker.wait_gone() for worker in (asked, parted)]

    assert both(scenario)["result"] == [[42, None, True], [0, None, False]]


def test_ipc_throw(both):
    """disconnect() and an exception, both in one error handler: the worker ends of the exception."""
    def scenario(primary):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            [worker] = primary.start("ipc_throw.js", taken.getsockname()[1])
            return worker.wait_gone()[:2]

    assert both(scenario)["result"] == [1, None]


def test_worker_disconnect_on_error(both):
    """disconnect() when listen() failed: the worker ends as asked, the primary goes on."""
    def scenario(primary):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            [worker] = primary.start("ipc_throw.js", taken.getsockname()[1], "quietly")
            code = worker.wait_gone()
        [other] = obey(primary)
        return code, other.show()

    assert both(scenario)["result"] == [[0, None, True], CONNECTED]


# ---- as they are ended ----

def test_worker_kill(both):
    """SIGKILL: it is told as the signal that it was."""
    def scenario(primary):
        [worker] = obey(primary)
        worker.kill("SIGKILL")
        return worker.wait_gone(), worker.show(), primary.listed()

    assert both(scenario)["result"] == [[None, "SIGKILL", False], DEAD, []]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGABRT"])
def test_worker_kill_signal(both, name):
    """worker.kill(signal) is that signal and nothing else: nobody was asked to leave."""
    def scenario(primary):
        [worker] = obey(primary)
        worker.kill(name)
        return worker.wait_gone()

    assert both(scenario)["result"] == [None, name, False]


def test_kill_infinite_loop(both):
    """kill() ends a worker that never looks at its channel."""
    def scenario(primary):
        [worker] = obey(primary)
        assert worker.ask(["spin"]) == "spins"
        worker.kill()
        return worker.wait_gone()

    assert both(scenario)["result"] == KILLED


def test_worker_destroy(both):
    """worker.destroy() in the worker, connected or disconnected: disconnect and exit, with 0."""
    def scenario(primary):
        first, second = obey(primary, 2)
        first.send(["kill"])
        second.send(["destroy parted"])
        return [worker.wait_gone() for worker in (first, second)]

    assert both(scenario)["result"] == [[0, None, True], [0, None, True]]


@pytest.mark.parametrize("how", ["kill", "disconnect"])
def test_kill_disconnect(both, how):
    """kill() or disconnect() in the worker: asked, at disconnect as well as at exit."""
    def scenario(primary):
        [worker] = obey(primary)
        worker.send([how])
        return worker.wait_gone()

    told = both(scenario)
    assert told["result"] == [0, None, True]
    assert told["worker 1"][-2:] == [["disconnect", True], ["exit", 0, None, True]]


def test_call_and_destroy(both):
    """A disconnected worker that lives on is not connected, and can be killed."""
    def scenario(primary):
        [worker] = obey(primary)
        with Server() as server, server.hold(worker):
            worker.disconnect()
            asked = worker.next("disconnect")
            shown = worker.show()
            worker.kill()
            code = worker.next("exit")
        return asked, shown, code

    assert both(scenario)["result"] == [
        True, {"connected": False, "dead": False, "exitedAfterDisconnect": True},
        [None, "SIGTERM", True]]


# ---- without their primary ----

def check_orphans(primary, status, *command):
    workers = obey(primary, 3)
    workers[0].send(["serve", 0])
    workers[0].next("listening")
    pids = [worker.ask(["pid"]) for worker in workers]
    assert all(map(is_alive, pids))
    primary.status = status
    primary.command(*command)
    primary.process.wait(10 * SLOW)
    wait_until(lambda: not any(map(is_alive, pids)), "the workers to end")


def test_primary_error(primary):
    """A primary dies of an error: its workers end."""
    check_orphans(primary, {"node": 1, "umbel": -signal.SIGABRT}[primary.kind], "throw")


def test_primary_kill(primary):
    """A primary exits without a goodbye: its workers end."""
    check_orphans(primary, 5, "exit", 5)
