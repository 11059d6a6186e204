"""In the foreground of a terminal: Ctrl-C, resizing, closing the window."""
import fcntl
import os
import signal
import struct
import termios
import threading

import pytest
from harness import get, processes, wait_until


def start(umbel, port, count=2):
    run = umbel("-n", count, "--", "node", "app.js", port, tty=True)
    run.wait_listening(count)
    return run


def begin_request(run, port, answers, ms):
    request = threading.Thread(target=lambda: answers.append(get(port, f"/slow?ms={ms}")),
                               daemon=True)
    request.start()
    run.wait_for(r"^\[\d\] slow begins")
    return request


def test_ctrl_c_stops_gracefully(umbel, port):
    run, answers = start(umbel, port), []
    request = begin_request(run, port, answers, 3000)
    os.write(run.master, b"\x03")
    assert run.wait() == 0
    request.join()
    assert len(answers) == 1
    assert run.find("^umbel: stopped$")
    assert len(run.find("descriptors: ")) == 1


def test_ctrl_c_twice_ends_at_once(umbel, port):
    run = start(umbel, port)
    threading.Thread(target=lambda: pytest.raises(OSError, get, port, "/slow?ms=20000"),
                     daemon=True).start()
    run.wait_for(r"^\[\d\] slow begins")
    os.write(run.master, b"\x03")
    run.wait_for("umbel: stopping")
    os.write(run.master, b"\x03")
    run.wait(5)


def test_resizing_changes_nothing(umbel, port):
    run = start(umbel, port)
    pids = run.slots()
    for rows in (10, 60, 24):
        fcntl.ioctl(run.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 80, 0, 0))
    assert {int(get(port)) for _ in range(10)} == set(pids.values())
    assert run.slots() == pids
    assert not run.find("stopping")
    assert run.stop() == 0


def test_closing_it_stops_gracefully(umbel, port, token):
    run, answers = start(umbel, port), []
    request = begin_request(run, port, answers, 2000)
    run.hang_up()
    assert run.wait() == 0
    request.join()
    assert len(answers) == 1
    wait_until(lambda: not processes(token), "the workers to end")


def test_a_resize_sent_by_a_process_is_none(umbel, port):
    run = start(umbel, port)
    pids = run.slots()
    run.send(signal.SIGWINCH)
    assert {int(get(port)) for _ in range(10)} == set(pids.values())
    assert run.slots() == pids


def test_a_worker_cannot_write_escapes_to_it(umbel):
    run = umbel("-n", 1, "--share", "none", "--", "node", "tell.js", "escape", tty=True)
    run.wait_for("before")
    run.wait()
    assert b"\x1b]0;" not in run.raw


def test_no_colour_without_one(umbel, port):
    run = umbel("-n", 2, "--", "node", "app.js", port)
    run.wait_listening(2)
    assert run.stop() == 0
    assert not any("\x1b" in line for line in run.output())
