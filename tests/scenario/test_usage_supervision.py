"""Bad input for what supervises: one line saying what and why, exit status 2, nothing left behind."""
import subprocess

import pytest
from control import status, verb
from harness import SLOW, UMBEL
from test_control import Client
from test_usage import SERVE, check_refused

TIMES = ["grace", "ready-timeout", "soak", "min-uptime", "lame-duck", "recycle-age"]
BAD_TIMES = ["soon", "-1s", "1.5s", "5 s", "5d", "", "s", "99999999999999999999", "1000000h"]

BAD = [
    *(((f"--{option}", text), f"--{option} {text}") for option in TIMES for text in BAD_TIMES),
    *(((option, text), f"{option} {text}")
      for option in ("--recycle-memory", "--max-memory-restart")
      for text in ("much", "-1", "0", "", "1.5G", "5X", "M", "10MM", "99999999999999999999", "99999999999T")),
    *(((option, text), f"{option} {text}")
      for option in ("--max-failures", "--recycle-connections")
      for text in ("many", "-1", "1.5", "", "5x", "+5", "4294967296", "99999999999999999999")),
    *((("--surge", text), f"--surge {text}") for text in ("0", "-1", "some", "", "1025", "maximum")),
    *((("--restart", text), f"--restart {text}") for text in ("sometimes", "", "Always", "no")),
    *((("--stop-signal", text), f"--stop-signal {text}")
      for text in ("NOPE", "", "0", "-9", "65", "term", "SIG", "SIGSIGINT")),
    *((("--stop-exit-codes", text), f"'{word}'")
      for text, word in (("x", "x"), ("", ""), ("256", "256"), ("1,,2", ""), ("1,", ""), ("-1", "-1"),
                         ("0 3", "0 3"), ("1,two", "two"))),
    *(((option,), option) for option in [
        *(f"--{name}" for name in TIMES), "--recycle-memory", "--recycle-connections", "--max-failures",
        "--restart", "--stop-exit-codes", "--stop-signal", "--surge"]),  # nothing after it
    *(((f"{option}=yes",), option) for option in (
        "--signal-first", "--wait-ready", "--shutdown-with-message", "--no-node-preload")),
]


@pytest.mark.parametrize("arguments, word", BAD, ids=[" ".join(words) for words, _ in BAD])
def test_refused(umbel, arguments, word):
    complete = len(arguments) == 2 or "=" in arguments[0]
    check_refused(umbel(*arguments, *(SERVE if complete else ())), word)


@pytest.mark.parametrize("arguments", [
    ("--grace", "0"), ("--ready-timeout", "2m"), ("--soak", "0"), ("--min-uptime", "1h"),
    ("--recycle-age", "500h"), ("--recycle-memory", "300m"), ("--max-memory-restart", "1G"),
    ("--recycle-connections", "4294967295"), ("--max-failures", "4294967295"), ("--surge", "max"),
    ("--surge", "1024"), ("--restart", "on-failure"), ("--stop-exit-codes", "0,255"),
    ("--stop-signal", "SIGUSR2"), ("--stop-signal", "64"), ("--lame-duck", "0")], ids=" ".join)
def test_taken(umbel, arguments):
    run = umbel("-n", 1, *arguments, "--", "sh", "-c", "exec sleep 1000")
    run.wait_for("^umbel: slot 1 pid .* started$")
    assert run.stop() == 0
    assert not [line for line in run.output("stderr") if "descriptors:" not in line]


# ---- the verbs ----

@pytest.fixture
def app(umbel):
    run = umbel("-n", 1, "--name", "app", "--", "sh", "-c", "exec sleep 1000")
    run.wait_for("^umbel: slot 1 pid .* started$")
    return run


BAD_WORDS = [
    ("scale",), ("scale", "app"), ("scale", "app", "1", "2"), ("scale", "no/name", "1"), ("scale", "", "1"),
    ("why",), ("why", "app", "x"), ("why", "app", "0"), ("why", "app", "-1"), ("why", "app", "1", "2"),
    ("why", "app", "1025"), ("why", "app", "--jsn"), ("why", "no/name"),
    ("events",), ("events", "app", "x"), ("events", "no/name"), ("events", "app", "--follow"),
    ("reload",), ("reload", "no/name"), ("reload", "app", "x"), ("reload", "app", "--nonsense"),
    ("reload", "app", "--canary"), ("reload", "app", "--canary", "0x"), ("reload", "app", "--canary", "-1"),
    ("reload", "app", "--canary", "1025"), ("reload", "app", "--hold", "soon"),
    ("reload", "app", "--canary", "1", "--hold", "-1s"), ("reload", "app", "--env", "NOVALUE"),
    ("reload", "app", "--env", "=x"), ("reload", "app", "--env"), ("reload", "app", "--continue", "--undo"),
    ("reload", "app", "--canary", "1", "--continue"), ("reload", "app", "--undo", "--env", "A=B"),
]


@pytest.mark.parametrize("words", BAD_WORDS, ids=" ".join)
def test_bad_words(app, words):
    before = app.output()
    done = verb(app, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("umbel: ")
    assert app.output() == before and status(app)["reload"] is None


@pytest.mark.parametrize("words", [("scale", "other", "1"), ("why", "other"), ("events", "other"),
                                   ("reload", "other"), ("reload", "other", "--undo")], ids=" ".join)
def test_no_such_app(app, words):
    done = verb(app, *words)
    assert (done.returncode, done.stdout) == (3, "")
    assert len(done.stderr.splitlines()) == 1 and "other" in done.stderr


@pytest.mark.parametrize("option", ["--undo", "--continue"])
def test_no_reload_to_end(app, option):
    done = verb(app, "reload", "app", option)
    assert done.returncode not in (0, 3) and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "reload" in done.stderr


@pytest.mark.parametrize("request_, word", [
    ('{"request":"scale"}', "workers"), ('{"request":"scale","workers":-1}', "0"),
    ('{"request":"scale","workers":"many"}', "max"), ('{"request":"scale","workers":1.5}', "number"),
    ('{"request":"scale","add":99999999999}', "1024"),
    ('{"request":"scale","add":9223372036854775807}', "1024"), ('{"request":"scale","add":null}', "number"),
    ('{"request":"reload","canary":-1}', "canary"), ('{"request":"reload","canary":"1"}', "canary"),
    ('{"request":"reload","hold_ms":9999999999}', "hold_ms"), ('{"request":"reload","env":{"A":"B"}}', "env"),
    ('{"request":"reload","env":["A"]}', "env"), ('{"request":"reload","env":[1]}', "env"),
    ('{"request":"reload","environment":"A=B"}', "environment"),
    ('{"request":"reload_end"}', "reload"), ('{"request":"reload_end","undo":true}', "reload"),
    ('{"request":"why","slot":"x"}', "slot"), ('{"request":"why","slot":null}', "slot")])
def test_bad_requests(app, request_, word):
    """As nobody who uses the verbs would ask."""
    answer = Client(app).ask(request_.encode())
    assert answer["ok"] is False and word in answer["error"]
    now = status(app)
    assert len(now["workers"]) == 1 and now["reload"] is None


def test_help_names_every_option():
    text = subprocess.run([UMBEL, "help", "run"], capture_output=True, text=True, timeout=10 * SLOW).stdout
    for option in [*TIMES, "recycle-memory", "recycle-connections", "max-failures", "restart", "surge",
                   "stop-exit-codes", "stop-signal", "signal-first", "wait-ready", "shutdown-with-message",
                   "no-node-preload"]:
        assert f"--{option}" in text
    all_verbs = subprocess.run([UMBEL, "help"], capture_output=True, text=True, timeout=10 * SLOW).stdout
    assert all(f"\numbel {v} " in all_verbs for v in ("reload", "scale", "why", "events"))
