"""Servers of many languages that know nothing of umbel, at length: docs/PROGRAMS.md. The short form is
tests/scenario/test_intercept_programs.py."""
import pytest
from intercepting import app, home, user  # noqa: F401
from plain_programs import PLAIN
from test_intercept_programs import check_killed, check_program, place  # noqa: F401

REQUESTS = 20000

each_program = pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.row(
        program=name, package=plain.deb and f"deb:{plain.deb}", result="works", remark=plain.remark))
    for name, plain in PLAIN.items()])
each_user = pytest.mark.parametrize("user", [
    pytest.param("root", marks=pytest.mark.row(checked="as root")),
    pytest.param("nobody", marks=pytest.mark.row(checked="as nobody"))], indirect=True)


@pytest.mark.deadline(300)
@each_user
@each_program
def test_program(app, port, place, name):
    check_program(app, port, place, name, REQUESTS)


@pytest.mark.deadline(300)
@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.row(
        program=name, package=f"deb:{PLAIN[name].deb}", result="works", remark=PLAIN[name].remark,
        checked="20 x kill -9 under load: only what the dead had accepted fails"))
    for name in ("`python3 -m http.server`", "Go net/http, static")])
def test_killed_twenty_times(app, port, place, name):
    check_killed(app, port, place, name, 20)
