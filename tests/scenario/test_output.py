"""What workers write comes out in whole lines with the slot in front."""
import os
import re
import signal

from harness import SLOW, get, processes, wait_until

# Five workers that end, and the run does: however slow the machine is, none of them was ready.
ENDS = ["-n", 1, "--share", "none", "--ready-after", "30s"]


def test_lines_are_whole(umbel):
    run = umbel("-n", 3, "--", "node", "lines.js", 40, 5)
    run.wait_for(r"^\[\d\] done$", count=3, timeout=20)
    pids = run.slots()
    for slot, pid in pids.items():
        own = [line for line in run.output("stdout") if line.startswith(f"[{slot}] ")]
        assert own == [f"[{slot}] {pid} line {i} of 40" for i in range(40)] + [f"[{slot}] done"]
    rest = [line for line in run.output("stdout") if not line.startswith(("[1] ", "[2] ", "[3] "))]
    assert all(line.startswith("umbel: ") for line in rest)


def test_each_stream_stays_itself(umbel):
    run = umbel("-n", 1, "--share", "none", "--", "node", "tell.js", "both")
    assert run.wait() == 1
    for stream in ("stdout", "stderr"):
        assert run.output(stream).count(f"[1] to {stream}") == 5
    assert not run.find("to stdout", "stderr") and not run.find("to stderr", "stdout")


def test_a_last_line_without_an_end_comes_out(umbel):
    run = umbel(*ENDS, "--", "node", "tell.js", "no-newline")
    assert run.wait() == 1
    out = run.output("stdout")
    assert out.count("[1] one") == out.count("[1] the last") == 5


def test_a_very_long_line(umbel):
    run = umbel(*ENDS, "--", "node", "tell.js", "long")
    assert run.wait() == 1
    out = run.output("stdout")
    assert out.count("[1] after") == 5
    parts = [line for line in out if line.startswith("[1] x")]
    assert all(re.fullmatch(r"\[1\] x+.{0,80}", line) for line in parts)
    assert 5 * 1000 <= sum(line.count("x") for line in parts) <= 5 << 20


def test_a_grandchild_that_keeps_the_pipe_does_not_keep_us(umbel, token):
    """A worker's own child may hold its stdout open for ever."""
    run = umbel("-n", 1, "--share", "none", "--", "sh", "-c",
                "setsid sleep 600 & echo child $!; exec sleep 600")
    child = int(run.wait_for(r"^\[1\] child (\d+)$")[1])
    try:
        run.send()
        assert run.process.wait(10 * SLOW) == 0
    finally:
        os.kill(child, signal.SIGKILL)
        wait_until(lambda: not processes(token), "the child to end")


def test_a_reader_that_is_slow_loses_nothing(umbel, port):
    """Nobody reads for a while: lines wait, in order, and requests do not."""
    run = umbel("-n", 2, "--", "node", "app.js", port)
    pids = run.wait_listening(2)
    run.reading.clear()
    pid = int(get(port, "/flood?lines=40000"))
    assert {int(get(port)) for _ in range(10)} == set(pids.values())
    run.reading.set()
    slot = next(slot for slot in pids if pids[slot] == pid)
    run.wait_for(rf"^\[{slot}\] flood 39999 ", timeout=20)
    numbers = [int(m[1]) for m in run.find(rf"^\[{slot}\] flood (\d+) x{{80}}$")]
    assert numbers == list(range(40000))
    assert run.slots() == pids
