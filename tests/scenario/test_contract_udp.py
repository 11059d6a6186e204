"""Contract: UDP. The workers share the primary's one socket. Each test has the name of Node's own, mostly
test-cluster-dgram-*.js and test-dgram-*.js."""
import socket
import threading

import pytest
from contract import VERSION, both, primary, start_primary, workers  # noqa: F401
from harness import SLOW
from test_contract_errors import busy  # noqa: F401

LOCAL = {"port": 0, "address": "127.0.0.1"}


def port_of(answer):
    return answer["listening"]["port"]


class Client:
    """A UDP socket that a worker can answer."""

    def __init__(self, port=0, host="127.0.0.1"):
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect((host, port)) if port else self.socket.bind((host, 0))
        self.socket.settimeout(20 * SLOW)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def ask(self):
        """Who has answered."""
        self.socket.send(b"who?")
        return self.socket.recv(100).decode()

    def port(self):
        return self.socket.getsockname()[1]


def test_dgram_1(both):
    """Four workers share one port; each leaves it to the others when it has had its ten packets."""
    def scenario(primary):
        four = workers(primary, 4)
        where = {"port": port_of(four[0].ask(["bind", "a", "udp4", LOCAL, {"limit": 10}])),
                 "address": "127.0.0.1"}
        for worker in four[1:]:
            worker.ask(["bind", "a", "udp4", where, {"limit": 10}])
        with Client(where["port"]) as client:
            told = [client.ask() for _ in range(40)]
        assert [w.message() for w in four] == [{"enough": "a"}] * 4
        return {w: told.count(w) for w in sorted(set(told))}

    assert both(scenario)["result"] == {"1": 10, "2": 10, "3": 10, "4": 10}
