"""Workers that are over a limit are replaced: successor first, a few at a time, and not all at once."""
import re

import pytest
from c_programs import TESTS, Talk
from control import slot, slot_states, status, why
from harness import LISTENS, SLOW, get, wait_until, who

RECYCLED = re.compile(r"^umbel: slot (\d+): pid (\d+) is recycled: (.*)$")
LEFT = re.compile(r"^umbel: slot (\d+) pid (\d+) (left|killed|exited)")


def serve_one(port):
    talk = Talk(port)
    assert talk.ask("x") == "done\n"
    return talk.pid


def recycled(run):
    return run.find(RECYCLED.pattern)


def check_order(run, surge=1):
    """Each recycled worker left after its successor had listened, and so many at a time went."""
    going = {}  # slot: (pid, whether its successor listens)
    for line in run.output("stdout"):
        if m := RECYCLED.match(line):
            assert int(m[1]) not in going
            going[int(m[1])] = [int(m[2]), False]
            assert len(going) <= surge, line
        elif (m := LISTENS.match(line)) and int(m[1]) in going:
            going[int(m[1])][1] = True
        elif (m := LEFT.match(line)) and int(m[1]) in going and going[int(m[1])][0] == int(m[2]):
            assert m[3] == "left", line
            assert going.pop(int(m[1]))[1], f"before its successor listened: {line}"


def ends_of(run, count, load):
    """Goes on with the load until so many recycled workers have left; each answer is a pid that ran."""
    pids = set()

    def over():
        pids.add(load())
        return len(run.find(LEFT.pattern)) >= count
    wait_until(over, f"{count} recycled workers to leave", 40)
    return pids


@pytest.mark.parametrize("kind", ["node", "c"])
def test_connections(umbel, port, kind):
    command = ["node", "app.js", port] if kind == "node" else [TESTS / "serve", f"tcp://:{port}"]
    run = umbel("-n", 2, "--name", "app", "--recycle-connections", 50, "--soak", "100ms", "--", *command)
    first = set(run.wait_listening(2).values())
    load = (lambda: int(get(port))) if kind == "node" else lambda: serve_one(port)
    answered = ends_of(run, 4, load)  # nobody was refused, or load() would have failed
    check_order(run)
    assert first < answered
    assert {int(m[1]) for m in recycled(run)} == {1, 2}
    assert all(int(re.fullmatch(r"it was handed (\d+) connections", m[3])[1]) >= 45 for m in recycled(run))
    records = [r for r in why(run) if r["event"] == "exit"]
    assert all(r["asked"] and r["handed"] >= 45 for r in records)
    assert not run.find("crashes in a row")


def test_below_the_limit_nobody_goes(umbel, port):
    run = umbel("-n", 2, "--name", "app", "--recycle-connections", 1000, "--recycle-age", "1h",
                "--recycle-memory", "4G", "--", TESTS / "serve", f"tcp://:{port}")
    pids = run.wait_listening(2)
    assert {serve_one(port) for _ in range(100)} == set(pids.values())
    wait_until(lambda: all(w["uptime_s"] > 2.2 for w in status(run)["workers"]), "two looks at the limits")
    assert run.slots() == pids and not recycled(run)


def test_a_request_in_progress_is_finished(umbel, port):
    run = umbel("-n", 1, "--name", "app", "--recycle-age", "1s", "--soak", "100ms", "--", TESTS / "serve",
                f"tcp://:{port}")
    pid = run.wait_listening(1)[1]
    talk = Talk(port)
    assert talk.pid == pid
    run.wait_successor(1, pid)
    wait_until(lambda: [w for w in status(run)["workers"] if w["pid"] == pid and w["state"] == "draining"],
               "the old one to drain")
    assert talk.ask("x") == "done\n"
    run.wait_for(rf"^umbel: slot 1 pid {pid} left")
    check_order(run)


def test_age(umbel, port):
    """By default one at a time."""
    run = umbel("-n", 3, "--name", "app", "--recycle-age", "2s", "--soak", "100ms", "--", TESTS / "serve",
                f"tcp://:{port}")
    run.wait_listening(3)
    ends_of(run, 6, lambda: serve_one(port))
    check_order(run)
    assert {int(m[1]) for m in recycled(run)} == {1, 2, 3}
    assert all(float(re.fullmatch(r"it is (\d+\.\d) s old", m[3])[1]) >= 1.8 for m in recycled(run))


def test_jitter(umbel, port):
    """Started at the same time, allowed to go at the same time, and yet they do not."""
    run = umbel("-n", 8, "--name", "app", "--recycle-age", "10s", "--surge", "max", "--soak", "100ms", "--",
                TESTS / "serve", f"tcp://:{port}")
    pids = set(run.wait_listening(8).values())
    wait_until(lambda: len(recycled(run)) == 8, "eight to be recycled", 20)
    assert {int(m[2]) for m in recycled(run)} == pids
    times = [r["time_ms"] for r in why(run) if r.get("what") == "recycle"]
    assert 100 < max(times) - min(times) < 1000 + 500 * SLOW
    ages = [float(re.search(r"(\d+\.\d) s", m[3])[1]) for m in recycled(run)]
    assert min(ages) >= 9.0 and max(ages) <= 10.1 + 0.5 * SLOW


@pytest.mark.parametrize("option", ["--recycle-memory", "--max-memory-restart"])
def test_memory(umbel, port, option):
    run = umbel("-n", 2, "--name", "app", option, "200M", "--soak", "100ms", "--", "node", "grows.js", port)
    pids = run.wait_listening(2)
    large = int(get(port, "/grow?mib=190"))
    (number,) = [n for n, pid in pids.items() if pid == large]
    ends_of(run, 1, lambda: int(get(port)))
    check_order(run)
    (m,) = recycled(run)
    assert (int(m[1]), int(m[2])) == (number, large)
    assert float(re.fullmatch(r"it uses (\d+\.\d) MiB", m[3])[1]) >= 180
    after = run.wait_listening(2)
    assert after[3 - number] == pids[3 - number] and after[number] != large
    assert set(who(port, 6)) == set(after.values())


def test_a_successor_that_crashes(umbel, port, tmp_path):
    """Who is over the limit goes on."""
    file = tmp_path / "broken"
    run = umbel("-n", 2, "--name", "app", "--recycle-connections", 20, "--env", f"LIFE_WHILE={file}", "--",
                "node", "life.js", port, "throws")
    pids = run.wait_listening(2)
    file.touch()
    wait_until(lambda: get(port) and len(run.find("the successor did not come up: tried again in 30 s$")) == 2,
               "both successors to crash", 40)
    assert {w["slot"]: w["pid"] for w in status(run)["workers"]} == pids
    assert set(who(port, 30)) == set(pids.values())
    assert slot_states(run) == {1: "serving", 2: "serving"}
    assert slot(run, 1)["crashes"] == 0 and not run.find("crashes in a row")
    assert len(recycled(run)) == 2  # not again and again
    assert run.stop() == 0


def test_stopped_in_the_middle(umbel, port):
    """The successor is there, its soak is not over: all go, and that is all."""
    run = umbel("-n", 1, "--name", "app", "--recycle-age", "1s", "--soak", "1m", "--", TESTS / "serve",
                f"tcp://:{port}")
    pid = run.wait_listening(1)[1]
    successor = run.wait_successor(1, pid)
    assert slot_states(run) == {1: "replacing"}
    assert [w["pid"] for w in status(run)["workers"]] == [pid, successor]
    assert {serve_one(port) for _ in range(4)} == {pid}  # until it has proved itself it is given nothing
    assert run.stop() == 0
    assert len(run.find(LEFT.pattern)) == 2
