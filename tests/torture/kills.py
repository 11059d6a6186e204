"""kills: kill -9 of one of four workers under load, wait for its successor, the next. Killing is not
crashing: nothing waits. What fails is at most what the dead had taken."""
import os
import random
import signal

from app import OPTIONS, App
from harness import stat, wait_until
from load import Kernel, Wrk, loading, many_addresses

WORKERS = 4
DELAY_MS = 5  # so that every worker has connections in hand when it dies

# Of a lane message that the kernel was handing over in the moment of the kill the program's own count
# says nothing. It is a matter of a microsecond: allowed once for each so many kills.
LANE = 8
KILLS = 100


def is_gone(pid):
    try:
        return stat(pid)[0] in "ZX"
    except OSError:
        return True


def successor(app, slot, pid):
    status = app.status()
    return [w for w in status["workers"] if w["slot"] == slot and w["pid"] != pid and w["state"] == "ready"]


def kill_one(app):
    """How many connections it had in hand."""
    worker = random.choice(app.wait_settled(WORKERS)["workers"])
    slot, pid = worker["slot"], worker["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: is_gone(pid), f"pid {pid} to end")
    wait_until(lambda: successor(app, slot, pid), f"a ready successor in slot {slot}")
    return app.in_hand(pid)


CLIENTS = {
    "keep-alive": Wrk,
    "closing": lambda port: Wrk(port, closes=True),
    "many addresses": lambda port: many_addresses(port, 32),
}


def under_client(kind, policy, client, count):
    kernel, taken = Kernel("ListenOverflows", "ListenDrops"), 0
    with App(kind, DELAY_MS, workers=WORKERS, options=[*OPTIONS, "--policy", policy]) as app:
        with loading(CLIENTS[client](app.port)) as load:
            wait_until(lambda: all(app.tally(pid)[0] for pid in app.run.slots().values()), "the load")
            for _ in range(count):
                taken += kill_one(app)
            status = app.wait_settled(WORKERS)
            kernel.end()
            done = load.stop()
        backoffs = len(app.run.find("next start in"))
        crashes = [slot["crashes"] for slot in status["slots"]]
        killed = len(app.run.find("killed by SIGKILL"))
    said = kernel.check(done)
    allowed = taken + LANE * -(-count // KILLS)
    text = (f"{count} kills, {done.requests} requests, {done.failed} failed, the dead had taken {taken}; "
            f"back-off {backoffs} times; {said}")
    assert backoffs == 0 and not any(crashes), f"crashes {crashes}: {text}"
    assert killed == count, f"{killed} kills seen: {text}"
    assert done.failed <= allowed, f"{text}\n{done.said}"
    assert taken > 0, f"nothing was at stake: {text}"
    return text


def run(say, policy, count):
    """Keep-alive connections and new ones; sticky would give all of wrk's to one worker."""
    clients = ["many addresses"] if policy == "sticky" else ["keep-alive", "closing"]
    for kind in ("node", "c"):
        for client in clients:
            text = under_client(kind, policy, client, -(-count // len(clients)))
            say(f"{kind} {client}: {text}")
    return f"{2 * count} kills"
