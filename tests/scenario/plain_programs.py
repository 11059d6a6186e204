"""Servers of many languages that know nothing of umbel: what each needs, and its command. tests/packages runs all of
them at length, the tests here those that are small and mostly there."""
import fcntl
import os
import shutil
import subprocess
import sys
from collections import namedtuple

import pytest
from harness import PROGRAMS, ROOT
from intercepting import BINDINGS

FILES = PROGRAMS / "plain"
BUILT = ROOT / "build" / "tests" / "plain"  # nothing of umbel is in them

# needs: commands; command(port, directory): its words. options: of `umbel run`. The directory is its own, and it may
# write there. deb: Debian's package that says its version.
Plain = namedtuple("Plain", "needs command options deb remark", defaults=((), None, ""))


def build_once(name, *command, **env):
    """The program, built there by command from the sources here."""
    BUILT.mkdir(parents=True, exist_ok=True)
    with open(BUILT / f"{name}.lock", "w") as lock:  # several tests at once may want it
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (BUILT / name).exists():
            done = subprocess.run(list(map(str, command)), cwd=FILES, env=os.environ | env, capture_output=True,
                                  text=True)
            assert done.returncode == 0, done.stderr
    return BUILT / name


def go(port, cgo):
    name = f"go{cgo}"
    return [build_once(name, "go", "build", "-o", BUILT / name, "server.go", CGO_ENABLED=str(cgo), GO111MODULE="off",
                       GOCACHE=str(BUILT / "cache")), port]


def java(port, _):
    build_once("Server.class", "javac", "-d", BUILT, "Server.java")
    return ["java", "-Xmx64m", "-cp", BUILT, "Server", port]


def nginx(port, directory):
    (directory / "nginx.conf").write_text((FILES / "nginx.conf").read_text().replace("PORT", str(port)))
    return [shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin"), "-p", directory, "-e", "stderr",
            "-c", directory / "nginx.conf"]


def page(directory):
    (directory / "index.html").write_text("0\n")
    return directory


PLAIN = {
    "`python3 -m http.server`": Plain(
        [], lambda port, directory: [sys.executable, "-m", "http.server", "-d", page(directory), port], deb="python3"),
    "gunicorn -w 1": Plain(
        ["gunicorn"], lambda port, _: ["gunicorn", "-w", 1, "-b", f"0.0.0.0:{port}", "--chdir", FILES, "wsgi:app"],
        deb="gunicorn"),
    "uvicorn": Plain(
        ["uvicorn"], lambda port, _: ["uvicorn", "--log-level", "warning", "--port", port, "--app-dir", FILES,
                                      "asgi:app"], deb="uvicorn"),
    "Go net/http, static": Plain(["go"], lambda port, _: go(port, 0), deb="golang-go", remark="CGO_ENABLED=0"),
    "Go net/http, dynamic": Plain(["go", "gcc"], lambda port, _: go(port, 1), deb="golang-go"),
    "php -S": Plain(["php"], lambda port, _: ["php", "-q", "-S", f"0.0.0.0:{port}", "-t", FILES], deb="php-cli"),
    "ruby WEBrick": Plain(["ruby"], lambda port, _: ["ruby", FILES / "webrick.rb", port], deb="ruby-webrick"),
    "puma, single mode": Plain(
        ["puma"], lambda port, _: ["puma", "-q", "-w", 0, "-b", f"tcp://0.0.0.0:{port}", FILES / "config.ru"],
        deb="puma"),
    "java, com.sun.net.httpserver": Plain(["java", "javac"], java, deb="default-jdk-headless"),
    "node, `--share intercept`": Plain(
        ["node"], lambda port, _: ["node", FILES / "server.js", port], options=("--share", "intercept"),
        remark="By itself umbel runs it as a Node worker"),
    "busybox httpd": Plain(
        ["busybox"], lambda port, directory: ["busybox", "httpd", "-f", "-p", port, "-h", page(directory)],
        deb="busybox", remark="It forks for each connection"),
    "nginx, master_process off": Plain(["nginx"], nginx, deb="nginx"),
    "C, binds in a thread": Plain([], lambda port, _: [BINDINGS, "thread", port]),
    "C, forks after binding": Plain([], lambda port, _: [BINDINGS, "fork", port], remark="Its children accept"),
}


def check_there(plain):
    for need in plain.needs:
        if not shutil.which(need, path=f"{os.environ['PATH']}:/usr/sbin"):
            pytest.skip(f"{need} is not here")
