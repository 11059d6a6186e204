#!/usr/bin/env python3
"""A server that knows nothing of umbel, and finds its sockets as systemd gives them (sd_listen_fds(3)). Each answer is
its pid. It says what it found as one line of JSON. Words: `open` leaves the sockets open at an exec, so that nothing
shows that it took them, but with `copies` that it has some, with `watched` that they are in an epoll set; `slow` waits
a second before it begins."""
import json
import os
import select
import socket
import sys
import time

FIRST = 3


def found():
    """sd_listen_fds()."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        sys.exit(f"LISTEN_PID is {os.environ.get('LISTEN_PID')}, not {os.getpid()}")
    return [socket.socket(fileno=FIRST + i) for i in range(int(os.environ["LISTEN_FDS"]))]


def describe(s):
    name = s.getsockname()
    return {"family": s.family.name, "type": s.type.name, "name": name if isinstance(name, str) else list(name[:2]),
            "blocks": os.get_blocking(s.fileno()), "listens": s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)}


def answer(s):
    pid = f"{os.getpid()}\n".encode()
    if s.type == socket.SOCK_DGRAM:
        _, client = s.recvfrom(2048)
        s.sendto(pid, client)
        return
    try:
        client, _ = s.accept()
    except BlockingIOError:  # another worker was faster
        return
    with client:
        client.settimeout(20)
        try:
            client.recv(4096)
            client.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + pid)
        except OSError:
            pass


def main():
    sockets = found()
    variables = {name: os.environ[name] for name in sorted(os.environ)
                 if name.startswith("LISTEN_") or name in ("PORT", "UMBEL_CHANNEL", "UMBEL_SLOT", "UMBEL_GENERATION")}
    descriptors = sorted(int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}"))
    said = [describe(s) for s in sockets]
    if "slow" in sys.argv:
        time.sleep(1)
    for s in sockets:
        s.setblocking(False)
        os.set_inheritable(s.fileno(), "open" in sys.argv)
    print(json.dumps({"environment": variables, "descriptors": descriptors, "sockets": said}), flush=True)
    copies = [s.dup() for s in sockets if "copies" in sys.argv]  # noqa: F841
    poll = select.epoll() if "watched" in sys.argv else select.poll()
    for s in sockets:
        poll.register(s, select.POLLIN)  # EPOLLIN is the same
    by_number = {s.fileno(): s for s in sockets}
    while True:
        for fd, _ in poll.poll():
            answer(by_number[fd])


main()
