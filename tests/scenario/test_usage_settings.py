"""What workers are: directory, user, passed sockets, policy, debugger ports, kinds of unix sockets. Bad values:
one line saying what and why, exit status 2."""
import grp
import json
import os
import pwd
import shutil
import socket
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest
from control import status, verb
from harness import PROGRAMS, SLOW, wait_until
from test_usage import SERVE, check_refused

NODE_MAJOR = int(subprocess.run(["node", "--version"], capture_output=True, text=True).stdout[1:].split(".")[0])

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may make workers somebody else's")

BAD = [
    *((("--policy", text), f"--policy {text}: it must be auto, rr, least, sticky, spread or shared")
      for text in ("", "none", "RR", "leas", "rr,shared")),
    *((("--pass-fd", text), f"--pass-fd {text}: it must be the number of an open socket")
      for text in ("", "x", "-1", "1x", "1.5", "2147483648", "99999999999999999999")),
    (("--pass-fd", "999"), "--pass-fd 999: no such descriptor is open here"),
    (("--pass-fd", "0"), "--pass-fd 0: it is no socket"),
    (("--cwd", "/no/such/directory"), "--cwd /no/such/directory: No such file or directory"),
    (("--cwd", ""), "--cwd : No such file or directory"),
    (("--cwd", "package.json"), "--cwd package.json: it is no directory"),
    *((("--user", text), f"--user {text}: there is no such user")
      for text in ("", "no-such-user", "-1", "4294967295", "0x0")),
    *((("--group", text), f"--group {text}: there is no such group")
      for text in ("", "no-such-group", "-1", "4294967295", "1.0")),
    (("--user", "4294967294"), "--user 4294967294: nobody has this number, so --group is needed too"),
    (("--policy", "shared", "--recycle-connections", "5"),
     "--recycle-connections: only under rr and least are they counted"),
]


@pytest.mark.parametrize("arguments, words", BAD, ids=[" ".join(arguments) for arguments, _ in BAD])
def test_refused(umbel, arguments, words):
    check_refused(umbel(*arguments, *SERVE), words)


@pytest.mark.parametrize("option", ["--policy", "--pass-fd", "--cwd", "--user", "--group"])
def test_without_a_value(umbel, option):
    check_refused(umbel(option), f"{option} needs a value")


def test_too_many_passed(umbel):
    with socket.socket() as s:
        fd = s.fileno()
        run = umbel(*["--pass-fd", fd] * 65, *SERVE, pass_fds=[fd])
        check_refused(run, "--pass-fd: at most 64")


# ---- directory ----

def test_cwd(umbel, tmp_path):
    (tmp_path / "program").write_text("#!/bin/sh\npwd\nexec sleep 600\n")
    (tmp_path / "program").chmod(0o755)
    for name, words in ("a", ("sh", "-c", "pwd; exec sleep 600")), ("b", ("./program",)):
        run = umbel("--name", name, "-n", 1, "--share", "none", "--cwd", tmp_path, "--", *words)
        run.wait_for(rf"^\[1\] {tmp_path}$")


def test_cwd_relative(umbel):
    run = umbel("-n", 1, "--share", "none", "--cwd", "..", "--", "sh", "-c", "pwd; exec sleep 600")
    run.wait_for(rf"^\[1\] {PROGRAMS.parent}$")


def test_cwd_is_where_relative_paths_of_unix_sockets_begin(umbel, tmp_path):
    run = umbel("-n", 2, "--cwd", tmp_path, "--", "node", PROGRAMS / "listens.js", '{"path": "app.sock"}')
    run.wait_listening(2)
    assert run.address() == f"unix://{tmp_path}/app.sock"
    assert who(tmp_path / "app.sock") == set(run.slots().values())


# ---- user and group ----

IDS = "echo ids $(id -u) $(id -g) $(id -G); exec sleep 600"


def ids(umbel, *arguments):
    """[uid, gid, {groups}] of a worker, whose primary is in group 4242 too."""
    run = umbel("-n", 1, "--share", "none", *arguments, "--", "sh", "-c", IDS, before=["setpriv", "--groups=4242"])
    uid, gid, groups = run.wait_for(r"^\[1\] ids (\d+) (\d+) (.*)$").groups()
    return [int(uid), int(gid), set(map(int, groups.split()))]


def somebody():
    """A user that is not root."""
    return next(user for user in pwd.getpwall() if user.pw_uid and user.pw_gid)


def another_group(gid):
    return next(group for group in grp.getgrall() if group.gr_gid not in (0, gid))


@needs_root
@pytest.mark.parametrize("by", ["name", "number"])
def test_user(umbel, by):
    user = somebody()
    word = user.pw_name if by == "name" else user.pw_uid
    groups = set(os.getgrouplist(user.pw_name, user.pw_gid))
    assert ids(umbel, "--user", word) == [user.pw_uid, user.pw_gid, groups]


@needs_root
@pytest.mark.parametrize("order", [1, -1])
def test_user_and_group(umbel, order):
    user = somebody()
    group = another_group(user.pw_gid)
    options = [("--user", user.pw_name), ("--group", group.gr_name)][::order]
    groups = set(os.getgrouplist(user.pw_name, group.gr_gid))
    assert ids(umbel, *options[0], *options[1]) == [user.pw_uid, group.gr_gid, groups]


@needs_root
def test_group_alone_leaves_no_other_group(umbel):
    group = another_group(0)
    assert ids(umbel, "--group", group.gr_gid) == [0, group.gr_gid, {group.gr_gid}]


@needs_root
def test_a_number_that_is_nobodys(umbel):
    taken = {user.pw_uid for user in pwd.getpwall()}
    number = next(n for n in range(54321, 65000) if n not in taken)
    assert ids(umbel, "--user", number, "--group", number) == [number, number, {number}]


@needs_root
def test_user_without_the_right_to(umbel):
    """A primary that may not change the user says so, and its workers do not run as it instead."""
    user = somebody()
    run = umbel("-n", 1, "--user", user.pw_name, "--share", "none", "--", "sh", "-c", IDS,
                before=["setpriv", "--bounding-set=-setuid,-setgid"])
    assert run.wait() == 2
    assert run.find(r"^umbel: .*cannot start sh: user: Operation not permitted$", "stderr")
    assert not run.find(r"^\[1\]")


@pytest.fixture
def public():
    """A directory that every user may read, with listens.js. pytest's own are only for its user."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    shutil.copy(PROGRAMS / "listens.js", path)
    yield path
    shutil.rmtree(path)


@needs_root
def test_the_primary_binds_nothing_for_a_user_that_the_user_could_not(umbel, public, port):
    floor = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    refused = [{"path": str(public / "app.sock")}, *([{"port": floor - 1}] if floor > 1 else [])]
    for number, where in enumerate(refused):
        run = umbel("--name", f"refused{number}", "-n", 1, "--cwd", public, "--user", somebody().pw_name,
                    "--", "node", "listens.js", json.dumps(where))
        run.wait_for("error EACCES bind")
        run.wait_for(r"^umbel: slot 1 pid \d+: cannot listen on .*: Permission denied$", stream="stderr")
    run = umbel("--name", "taken", "-n", 2, "--cwd", public, "--user", somebody().pw_name, "--", "node",
                "listens.js", json.dumps({"port": port}))
    run.wait_listening(2)
    assert who(port) == set(run.slots().values())


# ---- passed sockets ----

def ask(where):
    """The pid of the worker that answers there: a port, a path, or an abstract name."""
    if isinstance(where, int):
        s = socket.create_connection(("127.0.0.1", where))
    else:
        s = socket.socket(socket.AF_UNIX)
        s.connect(where if isinstance(where, bytes) else str(where))
    with s:
        s.settimeout(20 * SLOW)
        return int(s.makefile().readline())


def who(where):
    """Who answers ten connections, which go in turn."""
    return {ask(where) for _ in range(10)}


@pytest.mark.parametrize("policy", ["rr", "shared"])
def test_pass_fd(umbel, policy):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        fd, (_, port) = s.fileno(), s.getsockname()
        run = umbel("-n", 2, "--policy", policy, "--pass-fd", fd, "--", "node", "listens.js",
                    json.dumps({"fd": fd}), pass_fds=[fd])
        pids = set(run.wait_listening(2).values())
        assert run.address() == f"tcp://127.0.0.1:{port}"
        assert who(port) == pids if policy == "rr" else who(port) <= pids
        assert run.stop() == 0


def test_pass_fd_listens_already_and_is_a_unix_socket(umbel, tmp_path):
    path = tmp_path / "ours.sock"
    with socket.socket(socket.AF_UNIX) as s, socket.socket() as other:
        s.bind(str(path))
        s.listen()
        run = umbel("-n", 2, "--pass-fd", other.fileno(), "--pass-fd", s.fileno(), "--", "node", "listens.js",
                    json.dumps({"fd": s.fileno()}), pass_fds=[s.fileno(), other.fileno()])
        pids = run.wait_listening(2).values()
        assert who(path) == set(pids)
        assert run.stop() == 0
        assert path.exists()  # it is not the primary's to remove


def test_a_descriptor_that_was_not_passed(umbel):
    """The program has an error event, the operator a line that says which option; nothing else happens."""
    with socket.socket() as s, socket.socket() as passed:
        s.bind(("127.0.0.1", 0))
        fd, (_, port) = s.fileno(), s.getsockname()
        run = umbel("-n", 1, "--pass-fd", passed.fileno(), "--", "node", "listens.js", json.dumps({"fd": fd}),
                    pass_fds=[fd, passed.fileno()])
        run.wait_for("error EINVAL")
        run.wait_for("cannot listen", stream="stderr")
        errors = [line for line in run.output("stderr") if "descriptors:" not in line]
        [pid] = run.slots().values()
        assert errors == [f"umbel: slot 1 pid {pid}: cannot listen on descriptor {fd}: it was not passed on "
                          "(--pass-fd, settings.pass_fds)"]
        with socket.socket() as client:
            assert client.connect_ex(("127.0.0.1", port))
        assert run.process.poll() is None


# ---- policy ----

def listening_inodes(port):
    """The sockets in the kernel that listen on this port."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    found = {int(line[9]) for line in lines if line[1].endswith(f":{port:04X}") and line[3] == "0A"}
    assert found, f"nobody listens on {port}"
    return found


def has_socket(pid, inode):
    def target(entry):
        try:
            return os.readlink(entry)
        except FileNotFoundError:  # a connection that has ended
            return ""
    return f"socket:[{inode}]" in [target(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]


@pytest.mark.parametrize("variable, options, policy", [
    (None, (), "rr"), (None, ("--policy", "rr"), "rr"), (None, ("--policy", "shared"), "shared"),
    ("none", (), "spread"), ("none", ("--policy", "rr"), "rr"), ("none", ("--policy", "auto"), "spread"),
    ("rr", (), "rr"), ("NONE", (), "rr"), ("rr", ("--policy", "shared"), "shared")])
def test_policy(umbel, environment, port, variable, options, policy):
    """The workers share the one listening socket, or each has one of its own. The primary has all."""
    environment.pop("NODE_CLUSTER_SCHED_POLICY", None)
    if variable:
        environment["NODE_CLUSTER_SCHED_POLICY"] = variable
    run = umbel("-n", 2, *options, "--name", "app", "--", "node", "listens.js",
                json.dumps({"host": "127.0.0.1", "port": port}))
    pids = run.wait_listening(2).values()
    inodes = listening_inodes(port)
    assert all(has_socket(run.pid, inode) for inode in inodes)
    owned = [[inode for inode in inodes if has_socket(pid, inode)] for pid in pids]
    if policy == "shared":
        assert owned == [list(inodes)] * 2 and len(inodes) == 1
    else:
        assert [len(own) for own in owned] == [1, 1] and owned[0] != owned[1]
    answer = status(run)
    assert (answer["policy"], [s["policy"] for s in answer["listeners"]]) == (policy, [policy])
    assert who(port) == set(pids) if policy == "rr" else who(port) <= set(pids)


def test_the_last_worker_of_a_shared_socket_is_followed(umbel, port):
    """The socket stays in the primary: nobody is refused while the successor boots."""
    run = umbel("-n", 1, "--policy", "shared", "--", "node", "listens.js",
                json.dumps({"host": "127.0.0.1", "port": port}))
    [pid] = run.wait_listening(1).values()
    inodes = listening_inodes(port)
    os.kill(pid, 9)
    successor = ask(port)
    assert successor != pid and listening_inodes(port) == inodes


# ---- the debugger ----

def debugger_ports(run, count):
    """{slot: port} of so many lines."""
    pattern = r"^\[(\d+)\] Debugger listening on ws://[^/]*:(\d+)/"
    run.wait_for(pattern, timeout=20, count=count)
    return {int(m[1]): int(m[2]) for m in run.find(pattern)}


@pytest.mark.parametrize("how", ["argument", "separate", "variable"])
def test_inspect(umbel, environment, port, how):
    words = {"argument": [f"--inspect=127.0.0.1:{port}"], "variable": [],
             "separate": ["--inspect", "--inspect-port", port]}[how]
    if how == "variable":
        environment["NODE_OPTIONS"] = f"--inspect=127.0.0.1:{port}"
    run = umbel("-n", 2, "--", "node", *words, "listens.js", '{"port": 0}')
    pids = run.wait_listening(2)
    assert debugger_ports(run, 2) == {1: port + 1, 2: port + 2}
    os.kill(pids[1], 9)
    run.wait_successor(1, pids[1])
    assert debugger_ports(run, 3)[1] == port + 1  # the lowest that is free


def test_inspect_in_a_reload(umbel, port):
    """A successor is there beside its predecessor, and has a port of its own."""
    run = umbel("-n", 1, "--soak", "0", "--name", "app", "--", "node", f"--inspect={port}", "listens.js",
                '{"port": 0}')
    run.wait_listening(1)
    assert verb(run, "reload", "app").returncode == 0
    for count in (1, 2):
        found = run.wait_for(r"Debugger listening on ws://[^/]*:(\d+)/", count=count)
        assert int(found[1]) == port + count


def test_inspect_of_the_program_is_its_own(umbel):
    run = umbel("-n", 1, "--", "node", "listens.js", '{"port": 0}', "--inspect")
    run.wait_listening(1)
    assert not run.find("Debugger")


# ---- unix sockets ----

@pytest.mark.parametrize("preload", [True, False])
def test_abstract(umbel, token, preload):
    """Up to 21 Node pads an abstract name with zeros. Which Node it is tells the preload."""
    name = b"\0" + token.encode()
    padded = preload and NODE_MAJOR < 22
    run = umbel("-n", 2, *([] if preload else ["--no-node-preload"]), "--", "node", "listens.js",
                json.dumps({"path": name.decode()}))
    pids = set(run.wait_listening(2).values())
    assert run.address() == f"unix://@{token}"
    assert who(name.ljust(108, b"\0") if padded else name) == pids
    with socket.socket(socket.AF_UNIX) as client:
        assert client.connect_ex(name if padded else name.ljust(108, b"\0"))


@pytest.mark.parametrize("policy", ["rr", "shared"])
@pytest.mark.parametrize("more, mode", [
    ({}, 0o700), ({"readableAll": True}, 0o744), ({"writableAll": True}, 0o722),
    ({"readableAll": True, "writableAll": True}, 0o766)])
def test_readable_and_writable_for_all(umbel, tmp_path, policy, more, mode):
    path = tmp_path / "app.sock"
    run = umbel("-n", 2, "--policy", policy, "--", "node", "listens.js", json.dumps({"path": str(path), **more}),
                umask=0o077)
    run.wait_listening(2)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert run.stop() == 0
    assert not path.exists()


# ---- sockets that a worker binds itself ----

def test_exclusive(umbel):
    """Each worker has a port of its own, and is ready with it, because the preload says so."""
    run = umbel("-n", 2, "--name", "app", "--", "node", "listens.js",
                '{"port": 0, "host": "127.0.0.1", "exclusive": true}')
    pids = run.wait_listening(2)
    ports = {int(m[1]): int(m[2]) for m in run.find(r"slot (\d) .* listens on tcp://127\.0\.0\.1:(\d+)$")}
    assert len(set(ports.values())) == 2
    assert {slot: ask(port) for slot, port in ports.items()} == pids
    wait_until(lambda: status(run)["state"] == "ready", "the app to be ready")
    assert status(run)["listeners"] == []


# ---- what a program says to listen() ----

@pytest.mark.parametrize("said, outcome", [
    ('{"port": 0, "host": "127.0.0.1", "backlog": 1.5}', r"listens on tcp://127\.0\.0\.1:"),
    ('{"port": 0, "host": "127.0.0.1", "backlog": 1e19}', r"listens on tcp://127\.0\.0\.1:"),
    ('{"fd": 3.5}', "error EINVAL bind"),
    ('{"fd": 1099511627776}', "error EINVAL bind"),
    ('{"path": "/no/such/directory/socket"}', "error EACCES bind"),
])
def test_odd_words_cost_an_answer(umbel, said, outcome):
    """As under Node's primary: it listens, or its 'error' says why; the worker lives on."""
    run = umbel("-n", 1, "--", "node", "listens.js", said)
    run.wait_for(outcome)
    assert not run.find("broke the protocol|killed by")
