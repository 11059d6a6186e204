"""What a program is found to be, and why: `umbel status` says it. Whatever it is, its workers share the port."""
import os
import shutil
import socket
import sys

import pytest
from c_programs import EXAMPLES, TESTS
from control import status, verb
from harness import PROGRAMS, ROOT, SLOW, get, wait_until
from intercepting import FORBID
from test_usage_settings import NODE_MAJOR

PLAIN = PROGRAMS / "plain"
NOT_NODE = "not Node's: met at bind(), or on the channel if it speaks it"
SPEAKS = "it speaks on the channel"

# A launcher as it comes from npm: a Node script, whose child is the program.
LAUNCHER = """#!/usr/bin/env node
const child = require('child_process').spawn(process.execPath, process.argv.slice(2), {stdio: 'inherit'});
for (const name of ['SIGTERM', 'SIGINT']) process.on(name, () => child.kill(name));
child.on('exit', (code) => process.exit(code ?? 1));
"""


@pytest.fixture
def project(tmp_path):
    """A directory with a script, a package that npm starts, and a launcher among its modules."""
    (tmp_path / "package.json").write_text('{"name": "plain", "scripts": {"start": "exec node server.js"}}')
    shutil.copy(PLAIN / "server.js", tmp_path / "plain.js")
    (tmp_path / "server.js").write_text("process.argv[2] = process.env.PORT; require('./plain.js');")
    (tmp_path / "script").write_text("#!/usr/bin/env node\n" + (PLAIN / "server.js").read_text())
    bin_ = tmp_path / "node_modules" / ".bin"
    bin_.mkdir(parents=True)
    (bin_ / "tsx").write_text(LAUNCHER)
    shutil.copy(bin_ / "tsx", bin_ / "starts")
    for file in (tmp_path / "script", bin_ / "tsx", bin_ / "starts"):
        file.chmod(0o755)
    return tmp_path


def launched(name):
    return f"{name} is a launcher: what it starts is met at bind()"


NO_SCRIPT = "node without a script is nobody's worker in Node's cluster: met at bind()"
REQUIRE = "process.argv[2] = 'PORT'; require('./plain.js')"  # of -e there is no argv[1]
IMPORT = "process.argv[2] = 'PORT'; await import(process.cwd() + '/plain.js')"

# Their words in the project's directory, PORT in the place of the port; what they are, and why.
CASES = {
    "node": (("node", "plain.js", "PORT"), "node", "the program is node"),
    "node -e": (("node", "-e", REQUIRE), "intercept", NO_SCRIPT),
    "node --eval=": (("node", "--no-warnings", f"--eval={REQUIRE}"), "intercept", NO_SCRIPT),
    "node -p": (("node", "-p", f"{REQUIRE}; 1"), "intercept", NO_SCRIPT),
    "node -e, a module": (("node", "--input-type=module", "-e", IMPORT), "intercept", NO_SCRIPT),
    "node -e and words": (("node", "-e", "require('./plain.js')", "a", "PORT"), "node", "the program is node"),
    "node --test": (("node", "--test", "server.js"), "intercept", launched("node --test")),
    "node --watch": (("node", "--watch", "server.js"), "intercept", launched("node --watch")),
    "node --run": (("node", "--run", "start"), "intercept", launched("node --run")),
    "script": (("./script", "PORT"), "node", "a script whose #! line says node"),
    "npm start": (("npm", "start", "--silent"), "intercept", launched("npm")),
    "npx": (("npx", "--no", "starts", "plain.js", "PORT"), "intercept", launched("npx")),
    "tsx": (("./node_modules/.bin/tsx", "plain.js", "PORT"), "intercept", launched("tsx")),
    "sh -c": (("sh", "-c", "node plain.js PORT"), "intercept", NOT_NODE),
    "sh -c exec": (("sh", "-c", "exec node plain.js PORT"), "intercept", NOT_NODE),
    "env": (("env", "A=1", "node", "plain.js", "PORT"), "intercept", NOT_NODE),
    "python": ((sys.executable, "-m", "http.server", "PORT"), "intercept", NOT_NODE),
    "libumbel, shared": ((EXAMPLES / "hello", "PORT"), "intercept", SPEAKS),
    "libumbel, static": ((TESTS / "hello_static", "PORT"), "intercept", SPEAKS),
    "the protocol": ((sys.executable, ROOT / "examples" / "worker.py", "PORT"), "intercept", SPEAKS),
}


@pytest.mark.parametrize("case", CASES)
def test_found(umbel, project, port, case):
    words, kind, why = CASES[case]
    words = [str(word).replace("PORT", str(port)) for word in words]
    if not os.path.exists(words[0]) and not shutil.which(words[0]) and not words[0].startswith("./"):
        pytest.skip(f"{words[0]} is not here")
    if case == "node --run" and NODE_MAJOR < 22:
        pytest.skip("this Node has no --run")
    run = umbel("-n", 2, "--name", "app", "--cwd", project, "--env", f"PORT={port}", "--env", "npm_config_offline=true",
                "--env", "npm_config_update_notifier=false", "--env", f"npm_config_cache={project}/cache", "--", *words,
                cwd=project)
    run.wait_listening(2, timeout=30)
    seen = status(run)
    assert (seen["share"], seen["share_why"]) == (kind, why)
    (listener,) = seen["listeners"]
    assert listener["workers"] == 2 and listener["address"].endswith(f":{port}")
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.settimeout(20 * SLOW)
        s.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert s.recv(100)
    assert f"share {kind}: {why}\n" in verb(run, "status", "app").stdout


@pytest.mark.parametrize("kind", ["node", "channel", "intercept", "listen-fds", "none"])
def test_chosen(umbel, kind):
    run = umbel("-n", 1, "--name", "app", "--share", kind, "--", "sleep", 600)
    run.wait_for("started")
    seen = wait_until(lambda: status(run), "its status")
    assert (seen["share"], seen["share_why"]) == (kind, "chosen by --share")
    assert [w["kind"] for w in seen["workers"]] == [kind]
    assert run.stop() == 0


@pytest.mark.parametrize("words", [["-"], [], ["-e", "0"]])
def test_node_without_a_server(umbel, words):
    """It has nothing to read, or ends by itself: that is said, and its text is not the app's name."""
    run = umbel("-n", 1, "--", "node", *words)
    assert run.wait(60) == 1
    assert run.find("^umbel: node: its slot has failed: .*without ever listening: umbel is for servers", "stderr")


def test_node_without_a_script_all_the_same(umbel, port):
    """Where the operator insists: it cannot work, and that is said once."""
    text = f"require('http').createServer().listen({port})"
    run = umbel("-n", 2, "--share", "node", "--max-failures", 1, "--", "node", "-e", text)
    assert run.wait(60) == 1
    assert len(run.find("^umbel: share: node makes a worker of a script only")) == 1


def test_nobody_is_there(umbel):
    run = umbel("-n", 1, "--name", "app", "--when-empty", "queue", "--restart", "never", "--", "true")
    run.wait_for("exited with 0|left")
    seen = wait_until(lambda: (s := status(run)) and not s["workers"] and s, "nobody to be left")
    assert (seen["share"], seen["share_why"]) == ("auto", "no worker is there")


def test_where_the_filter_is_forbidden(umbel, port):
    """It is said, and who understands LISTEN_FDS has what he needs all the same."""
    run = umbel("-n", 3, "--name", "app", "--listen", f"tcp://:{port}", "--", sys.executable, PROGRAMS / "listen_fds.py",
                before=[FORBID, "seccomp"])
    pids = set(run.wait_listening(3).values())
    run.wait_for(r"^umbel: share: no seccomp filter: .*LISTEN_FDS")
    seen = set()
    wait_until(lambda: seen.add(int(get(port))) or seen >= pids, "all to answer")
    assert seen == pids


def test_why_nothing_is_shared(umbel):
    run = umbel("-n", 1, "--name", "app", "--", "sleep", 600, before=[FORBID, "seccomp"])
    run.wait_for("no seccomp filter")
    seen = wait_until(lambda: (s := status(run))["workers"] and s, "a worker")
    assert "there is no seccomp filter" in seen["share_why"]
