"""Node workers under `least`: they count what they have in hand while they are asked to, and are believed as far
as it can be true. (Who gets how many: test_policies.py.)"""
import os
import signal
import socket
import ssl
from contextlib import ExitStack

import pytest
from control import status
from crowd import Crowd, Stream
from harness import PROGRAMS, SLOW, get, wait_until, who
from policies import app, listener, seats, switch  # noqa: F401

KINDS = {"http": (), "https": ("tls",), "http2": (), "http2s": ("tls",), "net": ()}


def active(run):
    return [seat["active"] for seat in seats(run).values()]


def wait_active(run, wanted):
    """Until the workers together have so many."""
    wait_until(lambda: None not in active(run) and sum(active(run)) == wanted,
               f"{wanted} connections in hand, not {active(run)}")


def connect(port, certificate=None):
    s = socket.create_connection(("127.0.0.1", port), 10 * SLOW)
    if not certificate:
        return s
    return ssl.create_default_context(cafile=certificate[1]).wrap_socket(s, server_hostname="localhost")


@pytest.mark.parametrize("kind", KINDS)
def test_what_they_have_is_known(app, port, certificate, kind):
    """As it is of libumbel workers, and 0 again when the last client has gone."""
    keys = certificate if KINDS[kind] else ()
    run, _ = app("node", 2, "least", where=kind, args=(port, *keys),
                 command=["node", PROGRAMS / "preload_app.js"])
    wait_active(run, 0)
    with ExitStack() as clients:
        for _ in range(6):
            clients.enter_context(connect(port, keys))
        wait_active(run, 6)
        assert min(active(run)) > 0
        assert sum(worker["connections"]["active"] for worker in status(run)["workers"]) == 6
    wait_active(run, 0)


def test_only_while_it_is_asked_for(app, port):
    """What was there before is not counted, and what was counted still is when it is asked for again."""
    run, _ = app("node", 1, "rr")
    with connect(port), ExitStack() as clients:
        wait_until(lambda: listener(run)["slots"][0]["handed"] == 1, "a connection that is not counted")
        assert active(run) == [None]
        switch(run, "least")
        wait_active(run, 0)
        clients.enter_context(connect(port))
        clients.enter_context(connect(port))
        wait_active(run, 2)
        switch(run, "rr")
        assert active(run) == [None]
        switch(run, "least")
        wait_active(run, 0)  # P does not take over what it has not seen; too few for as long as they last
    wait_active(run, 0)
    with connect(port):
        wait_active(run, 1)
    wait_active(run, 0)


def test_switching_under_load(app, port):
    run, pids = app("node", 3, "rr")
    load = Stream(port, parallel=12)
    try:
        for _ in range(3):
            for policy in ["least", "rr", "least", "spread", "least", "sticky"]:
                before = load.crowd.started
                switch(run, policy)
                wait_until(lambda: load.crowd.started > before + 40, "some connections")
        switch(run, "least")
    finally:
        done = load.stop()
    assert done.failed == 0, done.said
    wait_active(run, 0)
    assert run.slots() == pids


def test_a_connection_that_no_server_gets(app, port, tmp_path):
    """It was accepted, and its server drops it: it is not in hand for ever."""
    program = tmp_path / "drops.js"
    program.write_text("""
        const server = require('net').createServer().listen(process.argv[2], () => {
            server._handle.onconnection = (error, handle) => handle.close();
        });""")
    run, _ = app("node", 1, "least", command=["node", program])
    for _ in range(20):
        with connect(port) as s:
            assert s.recv(1) == b""
    wait_active(run, 0)
    assert listener(run)["handed"] == 20


def test_without_a_preload(app, port):
    """By what they have not answered, and their CPU time."""
    run, pids = app("node", 2, "least", "--no-node-preload")
    assert set(who(port, 20)) == set(pids.values())
    assert active(run) == [None, None]


def test_one_that_stands_still_keeps_nobody_waiting(app, port):
    """It is the fastest by far, and full: connections wait for it a moment, then go to the other."""
    run, pids = app("node", 2, "least", args=(20, 1, 0), command=["node", PROGRAMS / "uneven.js"])
    with Crowd(port, parallel=8) as crowd:
        crowd.go(200)
        os.kill(pids[1], signal.SIGSTOP)
        try:
            for _ in range(14):
                crowd.go(1, leave=4)  # it may have so many that it has not answered for
        finally:
            os.kill(pids[1], signal.SIGCONT)
        crowd.go()
    assert not crowd.failures


# ---- what is not true ----


@pytest.mark.parametrize("policy", ["rr", "least"])
def test_a_count_that_cannot_be(app, port, policy):
    """Not believed beyond what it was handed, whoever says it."""
    run, pids = app("node", 2, policy, command=["node", PROGRAMS / "abuse.js"])
    with connect(port):
        for _ in range(10):
            get(port, "/done")
        assert set(who(port, 20)) <= set(pids.values())
        if policy == "least":
            wait_active(run, 1)
        else:
            assert active(run) == [None, None]
    assert run.slots() == pids
    if policy == "least":
        wait_active(run, 0)


@pytest.mark.parametrize("path", ["/done-negative", "/done-huge", "/done-half"])
def test_a_count_that_is_none(app, port, path):
    """A broken message ends its sender."""
    run, pids = app("node", 2, "least", command=["node", PROGRAMS / "abuse.js"])
    evil = int(get(port, path))
    slot = {pid: slot for slot, pid in pids.items()}[evil]
    successor = run.wait_successor(slot, evil)
    run.wait_for(rf"slot {slot} pid {evil}\b.*protocol", stream="stderr")
    wait_active(run, 0)
    assert set(who(port, 20)) == {successor, pids[3 - slot]}
