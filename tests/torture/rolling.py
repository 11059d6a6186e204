"""rolling, growing, handshakes: workers are replaced, one after the other, and slots come and go, under each
policy and under load. No connection is refused or reset, says the client; none was dropped, says the kernel."""
from app import OPTIONS, App
from crowd import Stream, addresses
from harness import wait_until
from load import Wrk, half_open, listening, many_addresses
from reloads import reload_once, under_load

KINDS = ["c", "node"]
LIVE = ["rr", "least", "sticky", "spread"]  # can be switched to
ALL = [*LIVE, "shared"]

SPEAK_S = 0.5
SPEAKERS = 100

# New connections, from one address and from many.
CLIENTS = [lambda port: Wrk(port, closes=True, connections=16), lambda port: many_addresses(port, 8)]


def slow_speakers(port):
    return Stream(port, SPEAKERS, sources=addresses(64), speak_s=SPEAK_S)


def under(policy, *more):
    return [*OPTIONS, "--policy", policy, *more]


def replace(app, count):
    """At least count workers."""
    reloads = -(-count // app.workers)
    return under_load(app, CLIENTS, reload_once, reloads, f"x {app.workers} replacements")


def breathe(app, most):
    """Slots come and go, and with them their sockets."""
    for workers in (most, app.workers):
        app.scale(workers)
        app.wait_settled(workers)
    wait_until(lambda: listening(app.port) <= 1 + 2 * app.workers, "sides to leave the group", 90)


def rolling(say, sizes, count):
    """Under each policy. sizes None: rolling_quick()."""
    if not sizes:
        return rolling_quick(say, count)
    total = 0
    for workers in sizes:
        for kind in KINDS:
            for policy in ALL:
                with App(kind, workers=workers, options=under(policy)) as app:
                    done, text = replace(app, count)
                total += done
                say(f"{kind} {policy}: {text}")
    return f"{total} requests, 0 failed"


def rolling_quick(say, count):
    """Under one policy after the other, of the same app."""
    total = 0
    for kind in KINDS:
        with App(kind, workers=2, options=under("rr")) as app:
            for policy in LIVE:
                app.policy(policy)
                done, text = replace(app, count)
                total += done
                say(f"{kind} {policy}: {text}")
    return f"{total} requests, 0 failed"


def growing(say, policies, most, count):
    """From 2 slots to most, and back."""
    total = 0
    for kind in KINDS:
        for policy in policies:
            with App(kind, workers=2, options=under(policy)) as app:
                done, text = under_load(app, CLIENTS, lambda app: breathe(app, most), count,
                                        f"times 2, {most}, 2 slots")
            total += done
            say(f"{kind} {policy}: {text}")
    return f"{total} requests, 0 failed"


def handshakes(say, policies, count):
    """With TCP_DEFER_ACCEPT a connection whose client has not spoken is half open for the kernel: it belongs to
    a side and is not in its queue. A network with delays does the same; the loopback has none."""
    def change(app):
        wait_until(lambda: half_open(app.port) > SPEAKERS / 2, "clients that have not spoken")
        reload_once(app)
        wait_until(lambda: half_open(app.port) > SPEAKERS / 2, "clients that have not spoken")
        breathe(app, 4)

    total = 0
    for kind in KINDS:
        for policy in policies:
            options = under(policy, "--listen", "tcp://:{port}?defer_accept=5")
            with App(kind, workers=2, options=options) as app:
                done, text = under_load(app, [slow_speakers], change, count, "x 2 replacements, 2, 4, 2 slots")
            total += done
            say(f"{kind} {policy}: {text}")
    return f"{total} requests, 0 failed"
