"""docs/CONTRACT.md names tests: all of the contract, and none that is not there."""
import re
from pathlib import Path

from harness import ROOT

HERE = Path(__file__).parent
NAMED = re.compile(r"`(\w+)::(test_\w+)`")
DEFINED = re.compile(r"^def (test_\w+)\(", re.M)


def defined_in(file):
    return set(DEFINED.findall(file.read_text()))


def test_each_is_there_and_named():
    contract = {file.stem.removeprefix("test_contract_"): defined_in(file)
                for file in HERE.glob("test_contract_*.py") if file != Path(__file__)}
    tables = "\n".join(line for line in (ROOT / "docs" / "CONTRACT.md").read_text().splitlines()
                       if line.startswith("|"))
    named = set(NAMED.findall(tables))
    for file, test in named:
        there = contract[file] if file in contract else defined_in(HERE / f"{file}.py")
        assert test in there, f"{file}::{test} is named, and not there"
    left_out = {(file, test) for file, tests in contract.items() for test in tests} - named
    assert not left_out, "not named"
