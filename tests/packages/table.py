"""docs/PROGRAMS.md from a report of the tests beside this file (JUnit XML, in which conftest.py has put what
each test is a part of). Only what was run is in it."""
import json
import platform
import subprocess
import xml.etree.ElementTree as ElementTree
from datetime import date
from pathlib import Path

HERE = Path(__file__).resolve().parent

HEAD = """# Programs

Programs that do not know umbel, run by it as they stand. `make test-programs` runs them again (packages of npm
in the versions of [package-lock.json](../tests/packages/package-lock.json), what is not Node from Debian's
packages) and writes this page. Rows that say "does not work" are tested too: that it does not, and how.

{how}

"""

GROUPS = {"test_any_language": """## Any language

Servers run as they are started everywhere; the sources are in [plain](../tests/programs/plain). Each row is
`umbel run -n 3 -- php -S 0.0.0.0:8000` and so on. "Serves" is: three workers on one port, all of them used; `ab
-c 32 -n 20000` without a failed request; the stop ends with status 0, and no process, port, file or descriptor
is left; once by root, and once by nobody, a user without any right. "Reloads" is: `umbel reload` replaces all
three while 16 clients connect again and again, none of whom fails. Versions are those of Debian's packages.
Some of them run in `make test` too
([test_intercept_programs.py](../tests/scenario/test_intercept_programs.py)).""",
          "test_packages": """## Packages from npm

Each row is `umbel run -n 2 -- node app.js` and so on; the programs are in [apps](../tests/packages/apps) and,
below, in [tutorials](../tests/packages/tutorials), and the tests beside them say the options. "Serves, reloads,
stops" is: 20 connections, 10 to each worker (as it says itself where its page tells the pid, and as `umbel
status` counts); `umbel reload`, under a light load (two clients that keep their connection, two with one for
each request), replaces both without a failed request; the stop ends with status 0, and no process, port, file
or descriptor is left. Express, Koa, an ES module and a tutorial's program run in `make test` too, some ten
seconds on an idle machine ([test_node_apps.py](../tests/scenario/test_node_apps.py)).""",
          "test_tutorials": """## Tutorials

Programs in the manner of the Node documentation and of tutorials on `cluster`, which fork where
`cluster.isPrimary`, or `isMaster`, is true, and serve where it is not. Under umbel only the latter runs."""}


def first_line(command):
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.partition("\n")[0].strip()


def versions(package):
    """Of a package of npm, or of one of Debian's: deb:NAME."""
    if package and package.startswith("deb:"):
        found = first_line(["dpkg-query", "-W", "-f", "${Version}", package.removeprefix("deb:")])
        return found or "-"
    if not package:
        return "-"
    return json.loads((HERE / "node_modules" / package / "package.json").read_text())["version"]


def collect(report):
    """{group: {program: its tests}}"""
    groups = {}
    for case in ElementTree.parse(report).iter("testcase"):
        found = {p.get("name"): p.get("value") for p in case.iter("property")}
        if not found.get("program"):
            continue
        found["failed"] = case.find("failure") is not None or case.find("error") is not None
        found["skipped"] = case.find("skipped") is not None
        group = case.get("classname").rpartition(".")[2]
        groups.setdefault(group, {}).setdefault(found["program"], []).append(found)
    return groups


def line(program, tests):
    package = next((t["package"] for t in tests if t["package"]), None)
    results = [t["result"] for t in tests if t["result"] != "works"]
    result = results[0] if results else "works"
    if any(t["skipped"] for t in tests):
        result = "not tried"
    failed = [t["checked"] for t in tests if t["failed"]]
    if failed:
        result = f"**FAILS**: {'; '.join(failed)}"
    checked = "; ".join(dict.fromkeys(t["checked"] for t in tests))
    remark = ". ".join(dict.fromkeys(t["remark"] for t in tests if t["remark"]))
    return f"| {program} | {versions(package)} | {checked} | {result} | {remark} |"


def write(report, path, umbel):
    groups = collect(report)
    how = (f"{date.today()}, Node {first_line(['node', '--version'])}, {platform.system()} {platform.machine()}, "
           f"{first_line([umbel, 'version'])}.")
    parts = [HEAD.format(how=how)]
    for group in (g for g in GROUPS if g in groups):
        programs = groups[group]
        parts.append(f"{GROUPS[group]}\n\n| program | version | what was checked | result | remark |\n"
                     "|---|---|---|---|---|\n")
        parts += [line(program, tests) + "\n" for program, tests in programs.items()]
        parts.append("\n")
    path.write_text("".join(parts).rstrip("\n") + "\n")
