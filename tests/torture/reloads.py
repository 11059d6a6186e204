"""reloads: under load, one after the other. No request fails, says the client; nothing was dropped or
reset, says the kernel."""
import time

from app import App
from harness import SLOW, wait_until
from load import CLIENTS, Kernel, OpenLoop, Wrk, loading, wait_quiet


def reload_once(app):
    """A new generation, and nobody of the old one."""
    before = app.status()
    app.reload()
    after = app.status()
    old = {w["pid"] for w in before["workers"]}
    new = {w["pid"] for w in after["workers"] if w["state"] == "ready"}
    assert after["generation"] == before["generation"] + 1, f"generation {after['generation']}"
    assert len(new) == app.workers and not new & old, f"workers {old}, after a reload {new}"


def under_load(app, clients, act, count, what="reloads"):
    """act(app), count times. (requests, text)"""
    wait_quiet(app.port)
    kernel, began = Kernel(), time.monotonic()
    with loading(*[client(app.port) for client in clients]) as loads:
        wait_until(lambda: any(app.tally(pid)[0] for pid in app.run.slots().values()), "the load")
        for _ in range(count):
            act(app)
        took = time.monotonic() - began
        kernel.end()
        done = [load.stop() for load in (loads if len(clients) > 1 else [loads])]
    said = kernel.check(f"in {took:.1f} s, the clients saw {done}")
    requests, failed = sum(load.requests for load in done), sum(load.failed for load in done)
    assert failed == 0, "\n".join([f"{failed} of {requests} requests failed", *(load.said for load in done)])
    # A client that stood still would have seen no failure either.
    assert requests > 50 * took / SLOW, f"only {requests} requests in {took:.0f} s\n{done}"
    return requests, f"{count} {what} in {took:.1f} s, {requests} requests, {failed} failed; {said}"


def under_client(app, client, count):
    return under_load(app, [CLIENTS[client]], reload_once, count)


def latency(app, seconds):
    """The 99th percentile at 30 % of capacity, quiet and during reloads; it is printed, not judged."""
    with loading(Wrk(app.port, closes=True)) as load:
        wait_until(lambda: sum(w["connections"]["handed"] for w in app.status()["workers"]) > 1000,
                   "the first 1000 connections")
        time.sleep(min(2, seconds))  # the measurement itself
        done = load.stop()
    rate = int(done.requests / done.seconds * 0.3)
    sent, failed, quiet = OpenLoop(app.port, rate, seconds).result()
    assert failed == 0, f"{failed} of {sent} requests failed without any reload"
    count = 0
    with loading(OpenLoop(app.port, rate, seconds)) as load:
        while load.is_running():
            reload_once(app)
            count += 1
        sent, failed, busy = load.result()
    assert failed == 0, f"{failed} of {sent} requests at a constant rate failed in {count} reloads"
    return sent, (f"p99 at {rate}/s: {quiet:.2f} ms quiet, {busy:.2f} ms during {count} reloads, "
                  f"0 of {sent} failed")


def run(say, workers, count, seconds, requests):
    total = 0
    for kind in ("node", "c"):
        with App(kind, workers=workers) as app:
            app.wait_settled(workers)
            for client in CLIENTS:
                done, text = under_client(app, client, count)
                total += done
                say(f"{kind} {client}: {text}")
            done, text = latency(app, seconds)
            total += done
            say(f"{kind} {text}")
            while kind == "c" and total < requests:
                done, text = under_client(app, "keep-alive", count)
                total += done
                say(f"{kind} once more: {text}")
    return f"{total} requests, 0 failed"
