"""The fixtures of tests/scenario, and what the table needs to know about each test."""
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "scenario")]

from scenario.conftest import *  # noqa: E402, F403
from scenario.conftest import pytest_configure as configure_scenarios  # noqa: E402


def pytest_configure(config):
    configure_scenarios(config)
    config.addinivalue_line(
        "markers", "row(program, checked, package, result, remark): a part of a line of docs/PROGRAMS.md")


@pytest.fixture(autouse=True)
def row(request, record_property):
    """table.py finds it in the report. A line is all tests of one program."""
    for mark in request.node.iter_markers("row"):
        for name, value in mark.kwargs.items():
            record_property(name, value or "")
