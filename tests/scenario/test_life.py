"""A worker's life and its slot's: what is a crash, what follows it, when it is given up."""
import os
import signal
import time

import pytest
from c_programs import TESTS, greeting
from control import Events, ask, exits, slot, slot_states, status, verb, wait_slot
from harness import SLOW, get, wait_until, who

# However slow the machine is, what ends in these tests ends soon after it was ready.
LONG_PROOF = ("--min-uptime", "1m")

BACKOFF = r"^umbel: slot (\d+): (\d+) crashes in a row, next start in (\d+\.\d) s$"


def life(umbel, port, *words, n=1, options=(), slot=None, file=None, **popen):
    """A run of life.js, named app."""
    env = [] if slot is None else ["--env", f"LIFE_SLOT={slot}"]
    env += [] if file is None else ["--env", f"LIFE_WHILE={file}"]
    return umbel("-n", n, "--name", "app", *options, *env, "--", "node", "life.js", port, *words, **popen)


def kill_and_wait(run, number, slot=1):
    """Signals the worker in the slot; the pid of its ready successor."""
    pid = run.slots(listening=True)[slot]
    os.kill(pid, number)
    return run.wait_successor(slot, pid)


# ---- what is a crash ----

@pytest.mark.parametrize("how, end", [("throws", "exited with 1"), ("quits", "exited with 0")])
def test_before_it_listened(umbel, port, how, end):
    run = life(umbel, port, how, options=["--max-failures", 3])
    assert run.wait() == 1
    assert len(run.find(rf"^umbel: slot 1 pid \d+ {end} after ")) == 3
    assert [m.group(1, 2) for m in run.find(BACKOFF)] == [("1", "2")]  # none after the first and the last
    run.wait_for("^umbel: slot 1 failed: 3 workers in a row ended before they were ready$")


def test_a_program_that_is_no_server_is_told_so(umbel, port):
    run = life(umbel, port, "quits", options=["--max-failures", 1])
    assert run.wait() == 1
    assert run.find("^umbel: app: .*exited with 0 .*umbel is for servers", "stderr")


def test_soon_after_it_was_ready(umbel, port):
    """A crash, but no failure to start: the slot is never given up for it."""
    run = life(umbel, port, "ends", 300, options=["--max-failures", 2, *LONG_PROOF])
    for count in (2, 3, 4):
        assert run.wait_for(BACKOFF, count=count - 1).group(1, 2) == ("1", str(count))
    assert run.find(r"^umbel: slot 1 pid \d+ exited with 3 after ")
    assert not run.find("failed")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_from_outside_is_no_crash(umbel, port, number):
    run = life(umbel, port)
    run.wait_listening(1)
    for _ in range(4):
        kill_and_wait(run, number)
    assert not run.find(BACKOFF)
    assert (slot(run, 1)["crashes"], slot(run, 1)["restarts"]) == (0, 4)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
def test_a_signal_of_the_kernel_is_a_crash(umbel, port, number):
    run = life(umbel, port, options=LONG_PROOF)
    run.wait_listening(1)
    kill_and_wait(run, number)
    assert slot(run, 1)["crashes"] == 1
    assert not run.find(BACKOFF)
    kill_and_wait(run, number)
    assert run.find(BACKOFF)[0].group(1, 2) == ("1", "2")
    assert run.find(rf"killed by {number.name} after")


def test_a_c_worker_that_crashes(umbel, port):
    # A sanitizer in it would catch the signal, and speak.
    run = umbel("-n", 1, *LONG_PROOF, "--env", "ASAN_OPTIONS=handle_segv=0", "--",
                TESTS / "serve", f"tcp://:{port}")
    run.wait_listening(1)
    for _ in range(2):
        kill_and_wait(run, signal.SIGABRT)  # of SEGV the sanitizer would tell a story of its own
    assert run.find(BACKOFF)[0].group(1, 2) == ("1", "2")


def test_min_uptime_zero(umbel, port):
    """Ending after it was ready is no crash, however soon."""
    run = life(umbel, port, options=["--min-uptime", "0"])
    run.wait_listening(1)
    for _ in range(3):
        kill_and_wait(run, signal.SIGSEGV)
    assert slot(run, 1)["crashes"] == 0 and not run.find(BACKOFF)


@pytest.mark.parametrize("options, is_crash", [((), False), (("--min-uptime", "1m"), True)],
                         ids=["default", "1m"])
def test_min_uptime(umbel, port, options, is_crash):
    run = life(umbel, port, options=options)
    run.wait_listening(1)
    ready = time.monotonic()
    wait_until(lambda: time.monotonic() > ready + 1.2, "the default to be over")
    kill_and_wait(run, signal.SIGSEGV)
    assert slot(run, 1)["crashes"] == int(is_crash)


def test_who_proved_itself_starts_anew(umbel, port):
    run = life(umbel, port, options=["--min-uptime", "2s"])
    run.wait_listening(1)
    kill_and_wait(run, signal.SIGSEGV)
    assert slot(run, 1)["crashes"] == 1
    wait_until(lambda: slot(run, 1)["crashes"] == 0, "its two seconds to be over")
    kill_and_wait(run, signal.SIGSEGV)
    assert not run.find(BACKOFF)


# ---- back-off ----

def test_backoff_doubles(umbel, port):
    run = life(umbel, port, options=LONG_PROOF)
    run.wait_listening(1)
    events = Events(run)
    waits = []
    for _ in range(4):
        os.kill(run.slots()[1], signal.SIGSEGV)
        died = events.wait_for("exit")
        waits.append(events.wait_for("fork")["time_ms"] - died["time_ms"])
        events.wait_for("ready")
    events.close()
    said = [(m[2], float(m[3])) for m in run.find(BACKOFF)]
    assert [crashes for crashes, _ in said] == ["2", "3", "4"]
    assert waits[0] < 80  # at once
    for wait, (_, seconds), ms in zip(waits[1:], said, (100, 200, 400)):
        assert 0.8 * ms - 2 <= wait <= 1.2 * ms + 100 * SLOW
        assert abs(1000 * seconds - wait) <= 50 + 100 * SLOW
        assert 0.8 * ms - 50 <= 1000 * seconds <= 1.2 * ms + 50


def test_status_in_backoff(umbel, port):
    """What it says, and that other slots go on."""
    run = life(umbel, port, "ends", 0, n=2, slot=2, options=LONG_PROOF)
    run.wait_listening(2)
    state = wait_slot(run, 2, "backoff")
    assert state["crashes"] >= 2 and state["restarts"] >= 1
    assert 0 <= state["next_start_ms"] <= 36000
    assert slot(run, 1) == {"slot": 1, "state": "serving", "restarts": 0, "crashes": 0,
                            "next_start_ms": None}
    assert set(who(port, 5)) == {run.slots()[1]}
    assert run.stop() == 0  # in the back-off or not


# ---- given up ----

def test_one_slot_fails_and_the_others_serve(umbel, port):
    run = life(umbel, port, "throws", n=3, slot=2, options=["--max-failures", 2])
    run.wait_for("^umbel: slot 2 failed: 2 workers in a row ended before they were ready$")
    pids = run.wait_listening(2)
    assert set(pids) == {1, 3}
    assert slot_states(run) == {1: "serving", 2: "failed", 3: "serving"}
    assert set(who(port, 10)) == set(pids.values())
    assert len(run.find("^umbel: slot 2 pid .* started")) == 2
    assert run.stop() == 0


def test_five_is_the_default(umbel, port):
    run = life(umbel, port, "throws")
    assert run.wait() == 1
    assert len(run.find(r"^umbel: slot 1 pid \d+ started")) == 5


def test_max_failures_zero_never_gives_up(umbel, port):
    run = life(umbel, port, "throws", n=1, options=["--max-failures", 0])
    assert run.wait_for(BACKOFF, count=5, timeout=30)[2] == "6"
    assert run.stop() == 0


def test_all_failed(umbel, port):
    run = life(umbel, port, "throws", n=2, options=["--max-failures", 2])
    assert run.wait() == 1
    errors = run.output("stderr")
    (reason,) = [i for i, line in enumerate(errors) if line.startswith("umbel: app: ")]
    assert "failed" in errors[reason] and "exited with 1" in errors[reason]
    evidence = [line for line in errors[reason + 1:] if line.startswith("    ")]
    assert any("there is no configuration" in line for line in evidence)
    assert 3 < len(evidence) <= 50
    assert run.output("stdout")[-1] == "umbel: stopped"


def failed_slot(umbel, port, tmp_path):
    """A run in which slot 2 has failed, and what was wrong with it is mended."""
    file = tmp_path / "broken"
    file.touch()
    run = life(umbel, port, "throws", n=2, slot=2, file=file, options=["--max-failures", 2, "--soak", "100ms"])
    run.wait_for("^umbel: slot 2 failed")
    run.wait_listening(1)
    file.unlink()
    return run


@pytest.mark.parametrize("words", [("reload", "app"), ("scale", "app", 2), ("scale", "app", 3)],
                         ids=["reload", "scale", "scale up"])
def test_a_failed_slot_is_left(umbel, port, tmp_path, words):
    run = failed_slot(umbel, port, tmp_path)
    done = verb(run, *words)
    assert done.returncode == 0, done.stderr
    wait_slot(run, 2, "serving")
    count = 3 if words[-1] == 3 else 2
    pids = run.wait_listening(count)
    assert set(who(port, 12)) == set(pids.values())
    assert slot(run, 2)["crashes"] == 0


def test_a_failed_slot_is_scaled_away(umbel, port, tmp_path):
    run = failed_slot(umbel, port, tmp_path)
    assert verb(run, "scale", "app", 1).returncode == 0
    assert {k: v for k, v in slot_states(run).items() if v != "empty"} == {1: "serving"}


# ---- who is followed ----

def test_restart_on_failure(umbel, port):
    run = life(umbel, port, n=2, options=["--restart", "on-failure"])
    pids = run.wait_listening(2)
    with pytest.raises(OSError):
        get(port, "/exit?code=3")
    slot_3 = int(run.wait_for(r"slot (\d) pid \d+ exited with 3")[1])
    pids[slot_3] = run.wait_successor(slot_3, pids[slot_3])
    with pytest.raises(OSError):
        get(port, "/exit?code=0")
    slot_0 = int(run.wait_for(r"slot (\d) pid \d+ exited with 0")[1])
    wait_slot(run, slot_0, "empty")
    assert set(who(port, 5)) == {pids[3 - slot_0]}
    os.kill(pids[3 - slot_0], signal.SIGKILL)  # no exit status 0
    run.wait_successor(3 - slot_0, pids[3 - slot_0])
    assert run.stop() == 0
    assert len(run.find("started$")) == 4


def test_restart_on_failure_all_well(umbel, port):
    run = life(umbel, port, n=1, options=["--restart", "on-failure"])
    run.wait_listening(1)
    with pytest.raises(OSError):
        get(port, "/exit?code=0")
    assert run.wait() == 0
    assert run.find("^umbel: every worker has ended, and none is to follow$", "stdout")
    assert not [line for line in run.output("stderr") if "descriptors:" not in line]


@pytest.mark.parametrize("code, status", [(0, 0), (3, 1)])
def test_restart_never(umbel, port, code, status):
    run = life(umbel, port, n=1, options=["--restart", "never"])
    run.wait_listening(1)
    with pytest.raises(OSError):
        get(port, f"/exit?code={code}")
    assert run.wait() == status
    assert run.find("every worker has ended, and none is to follow", "stderr" if status else "stdout")
    assert len(run.find("started$")) == 1


def test_restart_never_before_it_listened(umbel, port):
    run = life(umbel, port, "throws", n=2, slot=1, options=["--restart", "never"])
    pid = run.wait_listening(1)[2]
    wait_slot(run, 1, "empty")
    assert set(who(port, 3)) == {pid}
    assert len(run.find("started$")) == 2


def test_stop_exit_codes(umbel, port):
    run = life(umbel, port, n=1, options=["--stop-exit-codes", "0,7"])
    pid = run.wait_listening(1)[1]
    with pytest.raises(OSError):
        get(port, "/exit?code=3")
    run.wait_successor(1, pid)
    with pytest.raises(OSError):
        get(port, "/exit?code=7")
    run.wait_for("every worker has ended, and none is to follow")
    assert run.wait() == 0  # the last end was one that is wanted so
    assert len(run.find("started$")) == 2


def test_stop_exit_codes_of_one_slot(umbel, port):
    run = life(umbel, port, "quits", n=2, slot=2, options=["--stop-exit-codes", "0"])
    pid = run.wait_listening(1)[1]
    wait_slot(run, 2, "empty")
    assert set(who(port, 3)) == {pid}
    assert run.stop() == 0


# ---- the start-up deadline, and being ready ----

def test_not_ready_in_time(umbel, port):
    """ready.c is ready when a signal says so: only one of the two gets it in time."""
    run = umbel("-n", 2, "--name", "app", "--ready-timeout", "2s", "--max-failures", 1, "--",
                TESTS / "ready", f"tcp://:{port}")
    pids = run.wait_listening(2)
    os.kill(pids[1], signal.SIGUSR2)
    run.wait_for(rf"^umbel: slot 2 pid {pids[2]} killed by SIGKILL after \d\.\d s: not ready in time$")
    assert slot_states(run) == {1: "serving", 2: "failed"}
    (r,) = exits(run)
    assert (r["slot"], r["signal"], r["late"]) == (2, "KILL", True)
    assert (r["asked"], r["was_ready"]) == (False, False)
    assert 1990 <= r["up_ms"] <= 2000 + 500 * SLOW
    assert {int(greeting(port)) for _ in range(3)} == {pids[1]}


def test_a_node_program_that_is_not_ready_in_time(umbel, port):
    run = life(umbel, port, "hangs", options=["--ready-timeout", "300ms", "--max-failures", 2])
    assert run.wait() == 1
    assert len(run.find(r"^umbel: slot 1 pid \d+ killed by SIGKILL after \d+\.\d s: not ready in time$")) == 2


def test_no_ready_timeout(umbel, port):
    run = life(umbel, port, "hangs", options=["--ready-timeout", "0"])
    run.wait_for("started")
    (worker,) = wait_until(lambda: [w for w in status(run)["workers"] if w["uptime_s"] > 1.5],
                           "a worker of that age")
    assert worker["state"] == "starting" and not run.find("killed")


def state_of(run):
    (worker,) = status(run)["workers"]
    return worker["state"]


def test_wait_ready(umbel, port):
    run = life(umbel, port, "waits", options=["--wait-ready"])
    pid = run.wait_listening(1)[1]
    assert (state_of(run), slot_states(run), status(run)["ready"]) == ("starting", {1: "filling"}, False)
    os.kill(pid, signal.SIGUSR2)
    wait_slot(run, 1, "serving")
    assert (state_of(run), status(run)["ready"]) == ("ready", True)
    assert set(who(port, 3)) == {pid}


def test_wait_ready_in_vain(umbel, port):
    run = life(umbel, port, options=["--wait-ready", "--ready-timeout", "3s", "--max-failures", 1])
    assert run.wait() == 1
    assert run.find("listens on") and run.find("not ready in time")


def test_ready_without_wait_ready_is_a_message(umbel, port):
    run = life(umbel, port, "waits")
    pid = run.wait_listening(1)[1]
    assert state_of(run) == "ready"
    events = Events(run)
    os.kill(pid, signal.SIGUSR2)
    assert events.wait_for("message")["message"] == "ready"
    events.close()


def test_umbel_ready(umbel, port):
    run = umbel("-n", 1, "--name", "app", "--", TESTS / "ready", f"tcp://:{port}")
    pid = run.wait_listening(1)[1]
    assert (state_of(run), slot_states(run), status(run)["ready"]) == ("starting", {1: "filling"}, False)
    os.kill(pid, signal.SIGUSR2)
    wait_slot(run, 1, "serving")
    assert state_of(run) == "ready"
    assert int(greeting(port)) == pid


def test_umbel_ready_in_vain(umbel, port):
    run = umbel("-n", 1, "--name", "app", "--ready-timeout", "3s", "--max-failures", 1, "--",
                TESTS / "ready", f"tcp://:{port}")
    assert run.wait() == 1
    assert run.find("listens on") and run.find("not ready in time")
