"""A worker that does what no worker should, once: in slot 1, while FILE is not there. Otherwise it is
PROGRAM. usage: rogue.py KIND PORT FILE PROGRAM [ARGS]"""
import errno
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

kind, port, file, *program = sys.argv[1:]
if os.environ["UMBEL_SLOT"] != "1" or os.path.exists(file):
    os.execv(program[0], program)
Path(file).touch()
channel = socket.socket(fileno=int(os.environ["UMBEL_CHANNEL"]))


def send(**message):
    channel.sendall(json.dumps(message).encode() + b"\n")


def query(act, seq, port=0, address="127.0.0.1"):
    send(cmd="NODE_CLUSTER", act=act, index=seq, address=address, port=port, addressType=4, seq=seq)


def say(text):
    print(text, flush=True)


def wait_for_end():
    while channel.recv(1 << 16):
        pass


def escape():
    """Out of its process group, deaf for SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.setpgid(0, os.getpgid(os.getppid()))
    say("escaped")
    while True:
        time.sleep(100)


def flood():
    """Its child, in a session of its own, says more than anybody can read; it ends itself."""
    begun, begin = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        noise = (b"1" * 99 + b"\n") * 2000
        os.write(begin, b"x")
        try:
            while True:
                channel.sendall(noise)
        except OSError:
            os._exit(0)
    os.read(begun, 1)
    say(f"flooded by {pid}")
    os._exit(0)


def ports():
    """Asks for 2000."""
    answers, rest, asked = [], b"", 0
    while len(answers) < 2000:
        while asked < 2000 and asked < len(answers) + 20:
            asked += 1
            query("queryServer", asked)
        *lines, rest = (rest + channel.recv(1 << 16)).split(b"\n")
        answers += [json.loads(line) for line in lines]
    errors = [answer.get("errno") or 0 for answer in answers]
    say(f"{errors.count(0)} opened, {errors.count(-errno.EMFILE)} times EMFILE")
    wait_for_end()


def steps():
    """What only a child without a program says, with escape sequences; then it ends as such a child."""
    for step in ("\x1b[31mEVIL\x07", "exec\x1b[2J", "exec"):
        send(cmd="NODE_UMBEL_EXEC", step=step, errno=2)
    os._exit(1)


def ack():
    send(cmd="NODE_HANDLE_ACK")
    wait_for_end()


def accepted():
    """Accepts a connection for which it has not sent NODE_HANDLE_ACK."""
    query("queryServer", 1, int(port), None)
    channel.recv(1 << 16)
    query("listening", 2, int(port), None)
    newconn = json.loads(socket.recv_fds(channel, 1 << 16, 1)[0].split(b"\n")[0])
    send(cmd="NODE_CLUSTER", ack=newconn["msg"]["seq"], accepted=True, seq=3)
    wait_for_end()


if kind != "steps":
    send(cmd="NODE_CLUSTER", act="online", seq=0)
globals()[kind]()
