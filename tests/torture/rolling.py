"""rolling, growing, handshakes: workers are replaced, one after the other, and slots come and go, under each
policy and under load. No connection is refused or reset, says the client; none was dropped, says the kernel."""
from app import OPTIONS, App
from crowd import Stream, addresses
from harness import wait_until
from load import Wrk, half_open, many_addresses
from reloads import reload_once, under_load

KINDS = ["c", "node"]
LIVE = ["rr", "least", "sticky", "spread"]  # can be switched to
ALL = [*LIVE, "shared"]

SPEAK_S = 0.5
SPEAKERS = 100

# New connections, from one address and from many.
CLIENTS = [lambda port: Wrk(port, closes=True, connections=16), lambda port: many_addresses(port, 8)]


def under(policy, *more):
    return [*OPTIONS, "--policy", policy, *more]


def replace(app, count, act=reload_once, clients=CLIENTS):
    """At least count workers."""
    reloads = -(-count // app.workers)
    return under_load(app, clients, act, reloads, f"x {app.workers} replacements")


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
    def breathe(app):
        for workers in (most, 2):
            app.scale(workers)
            app.wait_settled(workers)

    total = 0
    for kind in KINDS:
        for policy in policies:
            with App(kind, workers=2, options=under(policy)) as app:
                done, text = under_load(app, CLIENTS, breathe, count, f"times 2, {most}, 2 slots")
            total += done
            say(f"{kind} {policy}: {text}")
    return f"{total} requests, 0 failed"


def handshakes(say, policies, count):
    """With TCP_DEFER_ACCEPT a connection whose client has not spoken is half open for the kernel: it belongs to
    a side and is not in its queue. A network with delays does the same; the loopback has none."""
    def reload_between(app):
        wait_until(lambda: half_open(app.port) > SPEAKERS / 2, "clients that have not spoken")
        reload_once(app)

    speakers = [lambda port: Stream(port, SPEAKERS, sources=addresses(64), speak_s=SPEAK_S)]
    total = 0
    for kind in KINDS:
        for policy in policies:
            options = under(policy, "--listen", "tcp://:{port}?defer_accept=5")
            with App(kind, workers=2, options=options) as app:
                done, text = replace(app, count, reload_between, speakers)
            total += done
            say(f"{kind} {policy}: {text}")
    return f"{total} requests, 0 failed"
