"""A worker that abuses its channel hurts nobody but itself."""
import os
import signal
import threading

import pytest
from harness import get, who


class Slow(threading.Thread):
    """A request that is being answered while things happen."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.pid = port, None
        self.start()

    def run(self):
        self.pid = int(get(self.port, "/slow"))


def abuse(umbel, port, kind):
    """Lets one of two workers do it while the other answers; (run, its slot, its pid)."""
    run = umbel("-n", 2, "--", "node", "abuse.js", port)
    pids = run.wait_listening(2)
    slow = Slow(port)
    good = int(run.wait_for(r"^\[(\d)\] slow begins$")[1])
    while int(get(port)) != pids[good]:  # so that it is the other's turn
        pass
    evil = int(get(port, f"/{kind}"))
    assert evil == pids[3 - good]
    slow.join()
    assert slow.pid == pids[good]
    return run, 3 - good, evil


@pytest.mark.parametrize("kind", ["garbage", "broken", "empty", "binary", "huge", "deep"])
def test_broken_messages_end_their_sender(umbel, port, kind):
    run, slot, pid = abuse(umbel, port, kind)
    successor = run.wait_successor(slot, pid)
    good = run.slots()[3 - slot]
    assert set(who(port, 10)) == {good, successor}
    assert run.find(rf"^umbel: slot {slot} pid {pid}\b.*(message|channel|protocol|JSON)", "stderr")


@pytest.mark.parametrize("kind", ["types", "number", "ack", "close", "done"])
def test_strange_messages_hurt_nobody_else(umbel, port, kind):
    run, slot, pid = abuse(umbel, port, kind)
    good = run.slots()[3 - slot]
    assert good in who(port, 10)
    if run.slots().get(slot) != pid:  # cut off, which is fair
        run.wait_successor(slot, pid)
    assert run.stop() == 0


def test_a_channel_that_is_closed_ends_in_a_successor(umbel, port):
    run = umbel("-n", 2, "--", "node", "tutorial.js", port)
    pids = run.wait_listening(2)
    os.kill(pids[1], signal.SIGTERM)
    run.wait_successor(1, pids[1])
    run.wait_for(rf"slot 1 pid {pids[1]} killed by SIGTERM after")


def test_an_app_that_never_listens_is_fine(umbel):
    run = umbel("-n", 2, "--", "node", "timers.js")
    run.wait_for(r"^\[\d\] alive$", count=2)
    assert len(run.slots()) == 2
    assert run.slots(listening=True) == {}
