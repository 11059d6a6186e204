"""What the command says and does about policies: options of run, the verb, the request, what status shows."""
import contextlib
import json
import socket
import threading

import pytest
from c_programs import TESTS
from control import Events, status, verb, why
from harness import SLOW, get, wait_until, who
from test_control import Client
from test_usage import SERVE, check_refused

HAND_OVER, STEERED = ("rr", "least"), ("sticky", "spread")
SWITCHED = (*HAND_OVER, *STEERED)
NAMES = "rr, least, sticky, spread or shared"
SERVE_C, UNDER_NODE = TESTS / "serve", TESTS / "under_node"


@pytest.fixture
def app(umbel, port):
    run = umbel("-n", 2, "--name", "app", "--", "node", "app.js", port)
    run.pids = run.wait_listening(2)
    run.port, run.address = port, f"tcp://[::]:{port}"
    return run


@pytest.fixture
def connect():
    """connect(port, count) connects, until the test is over."""
    with contextlib.ExitStack() as stack:
        yield lambda port, count: [stack.enter_context(socket.create_connection(("127.0.0.1", port), 20 * SLOW))
                                   for _ in range(count)]


def policy(run, *words):
    """What the verb prints, line by line."""
    done = verb(run, "policy", "app", *words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def refused(run, code, *words):
    """What it says instead."""
    done = verb(run, "policy", *words)
    assert (done.returncode, done.stdout) == (code, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("umbel: ")
    return line


# ---- options of run ----

BAD = [
    *((("--max-connections", text), f"--max-connections {text}: it must be a number, at most 4294967295")
      for text in ("", "x", "-1", "1k", "4294967296")),
    *((("--listen", text), f"--listen {text}: an address begins with tcp://, udp:// or unix://")
      for text in ("", "8000", "http://:8000", "?backlog=1")),
    *((("--listen", text), f"--listen {text}: the port must be a number from 0 (any free one) to 65535")
      for text in ("tcp://:x", "tcp://:65536?backlog=5")),
    (("--listen", "tcp://:0", "--listen", "tcp://example.com:80"), "--listen tcp://example.com:80: "),
    (("--listen", f"unix:///{'x' * 5000}"), "--listen unix:///xxxx"),
]


@pytest.mark.parametrize("arguments, words", BAD, ids=[" ".join(arguments)[:60] for arguments, _ in BAD])
def test_bad_options(umbel, arguments, words):
    check_refused(umbel(*arguments, *SERVE), words)


@pytest.mark.parametrize("option", ["--max-connections", "--listen"])
def test_without_a_value(umbel, option):
    check_refused(umbel(option), f"{option} needs a value")


@pytest.mark.parametrize("name", [*STEERED, "shared"])
def test_a_limit_needs_a_hand_over(umbel, name):
    check_refused(umbel("--max-connections", 5, "--policy", name, *SERVE), "--max-connections")


@pytest.mark.parametrize("options", ["backlog=0", "backlog", "backlog=5&", "nonsense", "mode=0660", "=5"])
def test_bad_listener_options(umbel, options):
    check_refused(umbel("--listen", f"tcp://:0?{options}", *SERVE), "--listen")


@pytest.mark.parametrize("name", ["auto", *SWITCHED, "shared"])
def test_started_with(umbel, port, name):
    run = umbel("-n", 2, "--name", "app", "--policy", name, "--", "node", "app.js", port)
    pids = run.wait_listening(2)
    now, listener = status(run), status(run)["listeners"][0]
    name = "rr" if name == "auto" else name
    assert (now["policy"], listener["policy"], listener["workers"]) == (name, name, 2)
    assert set(who(port, 20)) <= set(pids.values())
    assert policy(run) == [f"app: policy {name}", f"tcp://[::]:{port}: {name}"]


@pytest.mark.parametrize("value, name", [("none", "spread"), ("rr", "rr"), ("", "rr")])
def test_nodes_own_variable(umbel, port, value, name):
    run = umbel("-n", 1, "--name", "app", "--", "node", "app.js", port,
                before=("env", f"NODE_CLUSTER_SCHED_POLICY={value}"))
    run.wait_listening(1)
    assert policy(run)[0] == f"app: policy {name}"


def test_a_limit_is_kept(umbel, port, connect):
    """The third connection waits in the kernel until one of the two others is over."""
    run = umbel("-n", 2, "--name", "app", "--max-connections", 2, "--", SERVE_C, f"tcp://:{port}")
    run.wait_listening(2)
    first, _ = connect(port, 2)
    wait_until(lambda: status(run)["listeners"][0]["handed"] == 2, "two to be handed over")
    connect(port, 1)
    wait_until(lambda: status(run)["listeners"][0]["queued"] == 1, "the third to wait")
    assert status(run)["listeners"][0]["handed"] == 2
    first.close()
    wait_until(lambda: status(run)["listeners"][0]["handed"] == 3, "the third to be handed over")


def test_the_backlog_of_a_listener(umbel, port):
    run = umbel("-n", 1, "--name", "app", "--listen", f"tcp://:{port}?backlog=77", "--", "node", "app.js", port)
    run.wait_listening(1)
    assert int(get(port)) == run.slots()[1]


# ---- the verb ----

def test_help(app):
    assert "policy NAME" in verb(app, "help", "policy").stdout
    assert "umbel policy" in verb(app, "help").stdout
    assert "--max-connections" in verb(app, "help", "run").stdout


def test_shows(app):
    assert policy(app) == ["app: policy rr", f"{app.address}: rr"]
    for address in (app.address, f"tcp://:{app.port}"):
        assert policy(app, "--listener", address) == [f"{app.address}: rr"]
    assert json.loads("".join(policy(app, "--json"))) == {
        "policy": "rr", "listeners": [{"address": app.address, "policy": "rr"}]}


def test_bad_words(app):
    for words, said in [(["policy"], "which app"), (["policy", "no/name"], "no/name"),
                        (["policy", "app", "none"], f"policy none: it must be {NAMES}"),
                        (["policy", "app", "auto"], f"policy auto: it must be {NAMES}"),
                        (["policy", "app", ""], NAMES), (["policy", "app", "rr", "least"], "least"),
                        (["policy", "app", "--listener"], "--listener needs a value"),
                        (["policy", "app", "--lisst", "x"], "--listener and --json")]:
        assert said in refused(app, 2, *words[1:])
    assert "umbel list" in refused(app, 3, "other")
    assert "umbel list" in refused(app, 3, "other", "sticky")


def test_no_such_listener(app):
    for words in (["rr"], []):
        line = refused(app, 1, "app", *words, "--listener", "tcp://127.0.0.1:1")
        assert line == f"umbel: app: no listener tcp://127.0.0.1:1; there are {app.address}"


def test_nobody_listens_yet(umbel):
    run = umbel("-n", 1, "--name", "app", "--", "node", "timers.js")
    run.wait_for("started")
    assert policy(run) == ["app: policy rr"]
    line = refused(run, 1, "app", "rr", "--listener", "tcp://:1")
    assert line == "umbel: app: no listener tcp://:1; there is none yet"


def test_shared_is_refused(app):
    for words in ([], ["--listener", app.address]):
        line = refused(app, 1, "app", "shared", *words)
        assert line.startswith("umbel: app: ") and "not yet" not in line
    assert policy(app)[0] == "app: policy rr"


def test_switches(app):
    before = "rr"
    for name in ("least", "sticky", "spread", "rr"):
        assert policy(app, name) == [f"app: policy {name}, {before} before",
                                     f"{app.address}: {name}, {before} before"]
        assert policy(app) == [f"app: policy {name}", f"{app.address}: {name}"]
        assert status(app)["policy"] == status(app)["listeners"][0]["policy"] == name
        assert set(who(app.port, 10)) <= set(app.pids.values())
        before = name
    assert policy(app, "rr") == ["app: policy rr", f"{app.address}: rr"]
    assert app.slots() == app.pids


def test_switches_one(umbel, port):
    first, second = f"tcp://[::]:{port}", f"tcp://127.0.0.1:{port + 1}"
    run = umbel("-n", 2, "--name", "app", "--", UNDER_NODE, f"tcp://:{port}", f"tcp://127.0.0.1:{port + 1}")
    run.wait_for("listens on", count=4)
    assert policy(run, "sticky", "--listener", second) == [f"{second}: sticky, rr before"]
    assert sorted(policy(run)) == sorted(["app: policy rr", f"{first}: rr", f"{second}: sticky"])
    assert policy(run, "least", "--listener", f"tcp://:{port}") == [f"{first}: least, rr before"]
    assert sorted(policy(run, "spread")) == sorted([
        "app: policy spread, rr before", f"{first}: spread, least before", f"{second}: spread, sticky before"])


def test_says_who_keeps_theirs(umbel, port, tmp_path):
    path = tmp_path / "s"
    run = umbel("-n", 2, "--name", "app", "--", UNDER_NODE, f"tcp://:{port}", f"unix://{path}")
    run.wait_for("listens on", count=4)
    lines = policy(run, "sticky")
    assert lines[0] == "app: policy sticky, rr before"
    assert f"tcp://[::]:{port}: sticky, rr before" in lines
    [kept] = [line for line in lines if str(path) in line]
    assert kept.startswith(f"unix://{path}: rr, as before: ")
    assert refused(run, 1, "app", "spread", "--listener", f"unix://{path}").startswith("umbel: app: ")
    answer = json.loads("".join(policy(run, "spread", "--json")))
    assert (answer["policy"], answer["was"]) == ("spread", "sticky")
    outcome = {each["address"]: each for each in answer["listeners"]}
    assert outcome[f"tcp://[::]:{port}"] == {"address": f"tcp://[::]:{port}", "policy": "spread", "was": "sticky",
                                             "why": None}
    unix = outcome[f"unix://{path}"]
    assert (unix["policy"], unix["was"]) == ("rr", "rr") and unix["why"]


def test_a_switch_is_told(app):
    events = Events(app)
    policy(app, "sticky")
    event = events.wait_for("decision", what="policy")
    events.close()
    assert "sticky" in event["text"] and event["slot"] == 0
    assert [r["text"] for r in why(app) if r.get("what") == "policy"] == [event["text"]]
    assert f"policy: {event['text']}" in verb(app, "why", "app").stdout


# ---- the request ----

def test_bad_requests(app):
    client = Client(app)
    for member, said in [({"policy": 7}, '"policy" is a name'), ({"policy": None}, '"policy" is a name'),
                         ({"listener": ["x"]}, '"listener" an address'), ({"policy": "none"}, NAMES),
                         ({"policy": "auto"}, NAMES), ({"policy": "x" * 5000}, NAMES),
                         ({"listener": "y" * 5000, "policy": "rr"}, "no listener yyyy")]:
        answer = client.ask(json.dumps({"request": "policy", **member}).encode())
        assert answer["ok"] is False and said in answer["error"], member
    assert client.ask(b'{"request":"policy"}') == {
        "ok": True, "policy": "rr", "listeners": [{"address": app.address, "policy": "rr"}]}
    assert "policy" in client.ask(b'{"request":"nonsense"}')["error"]


# ---- status ----

def test_status_of_an_app(app):
    for _ in range(6):
        get(app.port)
    (listener,) = status(app)["listeners"]
    assert (listener["policy"], listener["queued"], listener["pending"]) == ("rr", 0, 0)
    assert (listener["handed"], listener["skipped"], listener["refused"]) == (6, 0, 0)
    assert [(s["slot"], s["handed"], s["skipped"], s["refused"], s["active"], s["queued"], s["steered"])
            for s in listener["slots"]] == [
        (1, 3, 0, 0, None, 0, False), (2, 3, 0, 0, None, 0, False)]
    ids = {w["slot"]: w["id"] for w in status(app)["workers"]}
    assert {s["slot"]: s["id"] for s in listener["slots"]} == ids
    shown = verb(app, "status", "app").stdout
    assert f"{app.address}: rr, 2 workers, 6 handed over\n" in shown
    assert "  SLOT      PID    HANDED  ACTIVE  QUEUED  SKIPPED  REFUSED\n" in shown
    for number, pid in app.pids.items():
        assert f"  {number:4} {pid:8} {3:9} {'-':>7} {0:7} {0:8} {0:8}\n" in shown


def test_status_of_a_shared_socket(umbel, port):
    run = umbel("-n", 2, "--name", "app", "--policy", "shared", "--", "node", "app.js", port)
    run.wait_listening(2)
    (listener,) = status(run)["listeners"]
    assert listener["policy"] == "shared" and listener["queued"] == 0
    assert [listener[m] for m in ("handed", "skipped", "refused")] == [None] * 3
    for slot in listener["slots"]:
        assert [slot[m] for m in ("handed", "skipped", "refused")] == [None] * 3
    shown = verb(run, "status", "app").stdout
    assert f"tcp://[::]:{port}: shared, 2 workers\n\n" in shown


def test_status_of_what_is_steered(umbel, port):
    run = umbel("-n", 2, "--name", "app", "--policy", "spread", "--", "node", "app.js", port)
    run.wait_listening(2)
    wait_until(lambda: all(s["steered"] for s in status(run)["listeners"][0]["slots"]), "both to be steered to")
    assert len([x for x in verb(run, "status", "app").stdout.splitlines() if x.endswith(" steered")]) == 2


def test_what_c_workers_have_in_hand(umbel, port, connect):
    run = umbel("-n", 2, "--name", "app", "--", SERVE_C, f"tcp://:{port}")
    run.wait_listening(2)
    clients = connect(port, 2)
    for client in clients:
        assert client.recv(100)

    def active(of):
        return [s["active"] for s in of]

    wait_until(lambda: active(status(run)["listeners"][0]["slots"]) == [1, 1], "one in hand of each")
    assert active(w["connections"] for w in status(run)["workers"]) == [1, 1]
    for client in clients:
        client.close()
    wait_until(lambda: active(status(run)["listeners"][0]["slots"]) == [0, 0], "none in hand")


def test_clients(umbel, port, connect):
    """All come from one address: as behind a proxy."""
    run = umbel("-n", 2, "--name", "app", "--policy", "sticky", "--", "node", "app.js", port)
    run.wait_listening(2)
    connect(port, 20)
    found = status(run)["listeners"][0]["clients"]
    assert (found["connections"], found["busiest"]) == (20, 20) and "127.0.0.1" in found["address"]
    assert "warning: 100 % of the connections come from " in verb(run, "status", "app").stdout
    assert policy(run, "rr")
    assert "warning" not in verb(run, "status", "app").stdout


class Fake:
    """An app that answers every request with one status."""

    def __init__(self, home, **listener):
        self.home, self.status = home, {
            "name": "app", "pid": 1, "version": "0", "state": "ready", "policy": "sticky", "slots": [],
            "workers": [{"slot": n, "id": 10 + n, "pid": 100 + n, "connections": {}} for n in (1, 2)],
            "listeners": [{"address": "tcp://:1", "policy": "sticky", "workers": 2, "handed": 0, **listener}]}
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(home / "app.sock"))
        self.socket.listen()
        self.thread = threading.Thread(target=self.answer)
        self.thread.start()

    def answer(self):
        client, _ = self.socket.accept()
        with client, client.makefile("rb") as lines:
            assert lines.readline()
            client.sendall(json.dumps({"ok": True, "status": self.status}).encode() + b"\n")
        self.socket.close()

    def shown(self):
        done = verb(self, "status", "app")
        self.thread.join()
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.partition("\n\n")[0].splitlines()[2:]  # its head has two


@pytest.mark.parametrize("connections, busiest, name, percent", [
    (20, 11, "sticky", 55), (20, 10, "sticky", None), (19, 19, "sticky", None), (20, 20, "rr", None),
    (1000, 830, "sticky", 83), (1000, 830, "spread", None), (21, 21, "sticky", 100)])
def test_the_warning_of_a_proxy(home, connections, busiest, name, percent):
    shown = Fake(home, policy=name, clients={"connections": connections, "busiest": busiest,
                                             "address": "10.0.0.7"}).shown()
    warning = [f"warning: {percent} % of the connections come from 10.0.0.7 (a proxy?): sticky sends them all to "
               "one slot; see docs/STATE.md"]
    assert shown == [f"tcp://:1: {name}, 2 workers", *(warning if percent else [])]


def test_udp_has_no_table(home):
    slots = [{"slot": n, "id": 10 + n, "handed": 0} for n in (1, 2)]
    assert Fake(home, address="udp://:1", policy="spread", queued=300, slots=slots).shown() == [
        "udp://:1: spread, 2 workers, 300 bytes in the kernel's queue"]


def test_the_table_of_a_listener(home):
    seat = {"handed": 7, "skipped": 1, "refused": 2, "active": None, "queued": 3, "steered": True}
    shown = Fake(home, policy="sticky", handed=9, queued=4, pending=1, clients=None, slots=[
        {"slot": 1, "id": 11, **seat}, {"slot": 2, "id": 12, **seat, "active": 5, "steered": False}]).shown()
    assert shown == [
        "tcp://:1: sticky, 2 workers, 9 handed over, 4 in the kernel's queue, 1 wait for another worker",
        "  SLOT      PID    HANDED  ACTIVE  QUEUED  SKIPPED  REFUSED",
        "     1      101         7       -       3        1        2  steered",
        "     2      102         7       5       3        1        2"]
