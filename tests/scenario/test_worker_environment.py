"""What a worker starts with: environment, descriptors, signals, limits, process group."""
import json
import os
import resource

import pytest
from harness import get, wait_until


def read_workers(run, port, count):
    """{pid: environment} of the workers, as the programs see it."""
    pids = run.wait_listening(count)
    answers = [json.loads(get(port, "/env")) for _ in range(count)]
    by_slot = {int(answer["UMBEL_SLOT"]): answer for answer in answers}
    assert set(by_slot) == set(pids)
    return by_slot


def test_environment(umbel, port, token):
    run = umbel("-n", 2, "--env", "COLOUR=blue", "--env", "FORMULA=a=b", "--env", "EMPTY=",
                "--", "node", "app.js", port)
    for slot, env in read_workers(run, port, 2).items():
        assert env["NODE_APP_INSTANCE"] == str(slot - 1)
        assert env["UMBEL_WORKER"] == str(slot)
        assert (env["COLOUR"], env["FORMULA"], env["EMPTY"]) == ("blue", "a=b", "")
        assert env["UMBEL_TEST"] == token
        assert env["PATH"] == os.environ["PATH"]
        hidden = {"NODE_UNIQUE_ID", "NODE_CHANNEL_FD", "NODE_CHANNEL_SERIALIZATION_MODE",
                  "UMBEL_HOME", "UMBEL_DEBUG_FDS"}
        assert not hidden & set(env)


def test_environment_of_a_primary_is_not_inherited(umbel, port, environment):
    environment.update(NOTIFY_SOCKET="/nowhere", LISTEN_FDS="1", WATCHDOG_USEC="1",
                       NODE_CHANNEL_FD="77", NODE_UNIQUE_ID="9", UMBEL_SLOT="9", NODE_ENV="test")
    run = umbel("-n", 1, "--", "node", "app.js", port)
    env = read_workers(run, port, 1)[1]
    assert not {"LISTEN_FDS", "WATCHDOG_USEC"} & set(env)
    assert env["NOTIFY_SOCKET"].startswith("@")  # its own
    assert env["NODE_ENV"] == "test"


def test_a_successor_has_the_slot_and_another_number(umbel, port):
    run = umbel("-n", 1, "--", "node", "app.js", port)
    pid = run.wait_listening(1)[1]
    os.kill(pid, 9)
    run.wait_successor(1, pid)
    env = json.loads(get(port, "/env"))
    assert (env["UMBEL_SLOT"], env["NODE_APP_INSTANCE"], env["UMBEL_WORKER"]) == ("1", "0", "2")


@pytest.mark.parametrize("share, descriptors", [("none", "0 1 2"), ("node", "0 1 2 3")])
def test_descriptors(umbel, share, descriptors):
    with open("/dev/zero", "rb") as stray:
        run = umbel("-n", 2, "--share", share, "--", "sh", "-c", "echo ready; exec sleep 600",
                    pass_fds=[stray.fileno()])
        run.wait_for("ready", count=2)
        for pid in run.slots().values():
            wait_until(lambda: " ".join(sorted(os.listdir(f"/proc/{pid}/fd"))) == descriptors,
                       f"nothing but {descriptors}")  # sleep itself opens libraries for a moment
            assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"


def test_process_group(umbel):
    run = umbel("-n", 2, "--share", "none", "--", "sh", "-c", "echo ready; exec sleep 600")
    run.wait_for("ready", count=2)
    for pid in run.slots().values():
        assert os.getpgid(pid) == pid
        assert os.getsid(pid) == os.getsid(0)


def test_signals_are_reset(umbel):
    # The primary itself is started with some ignored and blocked ones, as nohup and shells do.
    run = umbel("-n", 1, "--share", "none", "--", "sh", "-c",
                "grep -E 'Sig(Blk|Ign)' /proc/self/status; exec sleep 600",
                before=["env", "--ignore-signal=PIPE,QUIT", "--block-signal=USR1,CHLD"])
    run.wait_for(r"^\[1\] SigBlk:\s+0+$")
    run.wait_for(r"^\[1\] SigIgn:\s+0+$")


def test_descriptor_limit_is_the_users(umbel):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    run = umbel("-n", 1, "--share", "none", "--", "sh", "-c", "ulimit -n; exec sleep 600",
                before=["prlimit", "--nofile=200:"])
    run.wait_for(r"^\[1\] 200$")
    assert resource.prlimit(run.pid, resource.RLIMIT_NOFILE) == (hard, hard)


def test_working_directory(umbel, tmp_path):
    run = umbel("-n", 1, "--share", "none", "--", "sh", "-c", "pwd; exec sleep 600", cwd=tmp_path)
    run.wait_for(rf"^\[1\] {tmp_path}$")
