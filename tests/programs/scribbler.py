"""A worker that writes nonsense into its scoreboard, and tries to take it away. In slot 1, while FILE is not
there; otherwise it is PROGRAM. Connections are closed. usage: scribbler.py PORT FILE PROGRAM [ARGS]"""
import array
import fcntl
import json
import mmap
import os
import random
import select
import socket
import sys
from pathlib import Path

port, file, *program = sys.argv[1:]
if os.environ["UMBEL_SLOT"] != "1" or os.path.exists(file):
    os.execv(program[0], program)
Path(file).touch()
channel = socket.socket(fileno=int(os.environ["UMBEL_CHANNEL"]))
fds = []


def send(**message):
    channel.sendall(json.dumps(message).encode() + b"\n")


def read(rest=bytearray()):
    while b"\n" not in rest:
        chunk, more, _, _ = socket.recv_fds(channel, 1 << 16, 8)
        fds.extend(more)
        if not chunk:
            sys.exit()
        rest += chunk
    line, _, after = bytes(rest).partition(b"\n")
    rest[:] = after
    message = json.loads(line)
    if message["cmd"] != "NODE_HANDLE":
        return message, None
    send(cmd="NODE_HANDLE_ACK")
    return message["msg"], fds.pop(0)


def refused(act, *args):
    try:
        act(*args)
    except PermissionError:
        return
    print("the page can be taken away", flush=True)


def scribble(page):
    for value in (0, 1, 2**20, 2**32, 2**63 - 1, 2**63, 2**64 - 1, random.getrandbits(64)):
        for at in range(0, 56, 8):
            page[at:at + 8] = array.array("Q", [value]).tobytes()
            yield
    page[:] = random.randbytes(4096)
    yield


send(cmd="NODE_CLUSTER", act="online", seq=0)
send(cmd="NODE_UMBEL_HELLO", version=1, scoreboard=True, descriptors=50)
send(cmd="NODE_CLUSTER", act="queryServer", address="127.0.0.1", port=int(port), addressType=4, index=0, seq=1)
lane = page = None
while True:
    message, fd = read()
    if message["cmd"] == "NODE_UMBEL_LANE":
        lane = socket.socket(fileno=fd)
    elif message["cmd"] == "NODE_UMBEL_SCOREBOARD":
        refused(os.ftruncate, fd, 0)
        refused(os.ftruncate, fd, 1 << 20)
        refused(fcntl.fcntl, fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
        page = mmap.mmap(fd, 4096)
    elif message.get("ack") == 1:
        assert message["errno"] in (None, 0)
        break
send(cmd="NODE_CLUSTER", act="listening", address="127.0.0.1", port=int(port), addressType=4, index=0, seq=2)
print("scribbles", flush=True)
while True:
    for _ in scribble(page):
        for ready in select.select([channel, lane], [], [], 0.001)[0]:
            if ready is channel:
                sys.exit()  # told to leave
            _, given, _, _ = socket.recv_fds(lane, 8, 8)
            for fd in given:
                os.close(fd)
