"""Memory that runs out in the primary, at each place in turn: the app goes on, nothing is left open, and it is said."""
import os
import signal

import pytest
from crowd import Crowd
from intercepting import BINDS, app, home, user  # noqa: F401
from lacking import descriptors, lack, needs_lack  # noqa: F401

pytestmark = needs_lack


@pytest.mark.parametrize("policy", ["spread", "shared"])
def test_bind_and_listen(app, port, lack, policy):
    """The n-th allocation fails while the program binds: it hears of that, or nothing, and has its address at the next
    try at the latest. The last orders are never reached: so all places were."""
    run = app(BINDS, "steps", port, workers=1, wait=False, options=["--policy", policy], before=lack.before)
    run.wait_for(r"\d+ waits")
    (pid,) = run.slots().values()
    failed, before, grown = [], descriptors(run.pid), set()
    while not failed or any(failed[-3:]):
        lack.order(len(failed))
        os.kill(pid, signal.SIGUSR1)
        run.wait_for(rf"\b{pid} has bound {len(failed) + 1}$")
        failed.append(lack.end())
        before, last = descriptors(run.pid), before
        grown.add(before - last)
    assert sum(failed) > 15
    assert len(grown) == 1, "each address has as many sockets"
    heard = len(run.find(r"\b(bind|listen): ENOMEM$"))
    assert heard >= 8 and heard == len(run.find(rf"pid {pid} cannot (bind|listen on) .*: Cannot allocate memory$"))
    for n in range(1, len(failed) + 1):
        with Crowd(port, host=f"127.1.0.{n}") as crowd:
            crowd.go(3)
            assert not crowd.failures and set(crowd.pids()) == {pid}
