"""A network namespace for one run: only there the kernel's counters speak of us alone."""
import fcntl
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

ADDRESS = socket.inet_aton("127.0.0.1")
LOOPBACK = 1  # the first interface of a namespace


def is_private():
    return os.environ.get("TORTURE_NETWORK") == "private"


def make_private():
    """Starts this program again in a namespace of its own; where that is forbidden it goes on without."""
    if "TORTURE_NETWORK" not in os.environ:
        for words in (["unshare", "--net"], ["unshare", "--net", "--map-root-user"]):
            if subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0:
                os.environ["TORTURE_NETWORK"] = "private"
                os.execvp(words[0], [*words, sys.executable, *sys.argv])
        os.environ["TORTURE_NETWORK"] = "shared"
    if is_private():
        start_loopback()
        acknowledge_at_once()
        remember_ended_connections()


def start_loopback():
    """As `ip link set lo up`."""
    up, running, set_flags = 0x1, 0x40, 0x8914
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, set_flags, struct.pack("16sH14x", b"lo", up | running))


def acknowledge_at_once():
    """As `ip route replace local 127.0.0.0/8 dev lo table local ... quickack 1`, and for 127.0.0.1.

    When the client's FIN is to be acknowledged later and that moment falls into the server's close(), the
    kernel sends the server's FIN, then the late acknowledgement. The client's TIME_WAIT answers that, and
    the answer finds no socket: a reset that means nothing, some in 100,000 connections of any server. So
    nothing is acknowledged later."""
    for network, bits in (("127.0.0.0", 8), ("127.0.0.1", 32)):
        _replace_route(socket.inet_aton(network), bits)


def remember_ended_connections():
    """More of them than there are when all is well: 131072. Above that the kernel forgets a connection as it ends,
    and answers what comes of it then with a reset: tens of thousands, which harm nobody."""
    Path("/proc/sys/net/ipv4/tcp_max_tw_buckets").write_text("2000000")


def _replace_route(network, bits):
    def attribute(kind, value):
        return struct.pack("HH", 4 + len(value), kind) + value

    table_local, by_kernel, scope_host, type_local = 255, 2, 254, 2
    dst, oif, prefsrc, metrics, quickack = 1, 4, 7, 8, 15
    route = struct.pack("8BI", socket.AF_INET, bits, 0, 0, table_local, by_kernel, scope_host, type_local, 0)
    route += attribute(dst, network) + attribute(oif, struct.pack("I", LOOPBACK))
    route += attribute(prefsrc, ADDRESS)
    route += attribute(metrics, attribute(quickack, struct.pack("I", 1)))
    new_route, request_ack_replace = 24, 0x1 | 0x4 | 0x100
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as s:
        s.send(struct.pack("IHHII", 16 + len(route), new_route, request_ack_replace, 1, 0) + route)
        (error,) = struct.unpack_from("i", s.recv(4096), 16)
    assert error == 0, f"the route of the loopback: {os.strerror(-error)}"
