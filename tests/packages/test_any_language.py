"""Servers of many languages that know nothing of umbel, at length: docs/PROGRAMS.md. The short form is
tests/scenario/test_intercept_programs.py."""
import pytest
from control import verb
from crowd import Stream
from intercepting import app, check_all_used, home, user  # noqa: F401
from plain_programs import PLAIN, check_there
from test_intercept_programs import check_killed, check_program, place  # noqa: F401

REQUESTS = 20000


def each_program(checked, names=PLAIN):
    """For tests of a program: a part of its line of the page."""
    return pytest.mark.parametrize("name", [
        pytest.param(name, marks=pytest.mark.row(
            program=name, package=PLAIN[name].deb and f"deb:{PLAIN[name].deb}", checked=checked, result="works",
            remark=PLAIN[name].remark))
        for name in names])


@pytest.mark.deadline(300)
@pytest.mark.parametrize("user", ["root", "nobody"], indirect=True)
@each_program("serves")
def test_program(app, port, place, name):
    check_program(app, port, place, name, REQUESTS)


@pytest.mark.deadline(300)
@each_program("reloads")
def test_reload(app, port, place, name):
    """None of these has to do anything for it, and most have no graceful stop."""
    plain = PLAIN[name]
    check_there(plain)
    run, pids = app(*plain.command(port, place), options=plain.options, cwd=place)
    stream = Stream(port, parallel=16)
    try:
        done = verb(run, "reload", "app")
        load = stream.stop()
    finally:
        stream.kill()
    assert done.returncode == 0, done.stderr
    assert not load.failed, load.said
    assert load.requests > 100
    assert not set(run.slots().values()) & set(pids.values())
    check_all_used(port, run.slots().values())


@pytest.mark.deadline(300)
@each_program("20 x kill -9 under load: what fails is what the dead had accepted",
              ["`python3 -m http.server`", "Go net/http, static"])
def test_killed_twenty_times(app, port, place, name):
    check_killed(app, port, place, name, 20)
