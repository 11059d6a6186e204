"""Another program of the same user in our group: it bound with SO_REUSEPORT after us, so the kernel counts its
sockets among ours. It accepts nothing here: whoever is steered to it waits for ever."""
import socket

import pytest
from control import verb
from crowd import Crowd, addresses
from harness import wait_until
from policies import STEERED, app, each_kind, wait_steered  # noqa: F401

THERE = "another program of this user listens there too"
GONE = "no other program listens there any more"
CLIENTS = addresses(64)


class Stranger:
    """Its sockets at the address of a program that listens on all."""

    def __init__(self, port):
        self.port, self.sockets = port, []

    def join(self, count=1):
        for _ in range(count):
            s = socket.socket(socket.AF_INET6)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            s.bind(("::", self.port))
            s.listen(64)
            s.setblocking(False)
            self.sockets.append(s)

    def leave(self, number=0):
        self.sockets.pop(number).close()

    def has_nothing(self):
        for s in self.sockets:
            with pytest.raises(BlockingIOError):
                s.accept()
        return True


@pytest.fixture
def stranger(port):
    each = Stranger(port)
    yield each
    for s in each.sockets:
        s.close()


def scale(run, count):
    done = verb(run, "scale", "app", str(count))
    assert done.returncode == 0, done.stderr
    run.wait_listening(count)
    wait_steered(run, *range(1, count + 1))


def all_serve(run, port, stranger):
    """Each worker is reached, and nobody else is."""
    with Crowd(port, sources=CLIENTS) as crowd:
        crowd.go(256)
        assert not crowd.failures
        assert set(crowd.pids()) == set(run.slots().values())
    assert stranger.has_nothing()


@pytest.mark.parametrize("policy", STEERED)
@each_kind
def test_between_two_of_ours(app, port, kind, policy, stranger):
    """Said once, however often it comes before it has gone; those that are added after it have their own indexes."""
    run, _ = app(kind, 2, policy)
    stranger.join()
    scale(run, 3)
    run.wait_for(THERE)
    stranger.join()
    scale(run, 4)
    all_serve(run, port, stranger)
    assert len(run.find(THERE)) == 1
    stranger.leave(0)
    scale(run, 5)
    all_serve(run, port, stranger)
    assert not run.find(GONE)


@each_kind
def test_gone(app, port, kind, stranger):
    """The last of ours takes the place of one that leaves: nothing but the timer would notice."""
    run, _ = app(kind, 1, "spread")
    stranger.join()
    scale(run, 3)
    stranger.leave()
    run.wait_for(GONE)
    all_serve(run, port, stranger)


@each_kind
def test_several_at_once(app, port, kind, stranger):
    """Which of them was first is not known, so the order is made anew when one leaves, and when all do."""
    run, _ = app(kind, 2, "spread")
    stranger.join(4)
    scale(run, 4)
    all_serve(run, port, stranger)
    stranger.leave(2)
    stranger.leave(0)
    scale(run, 5)
    all_serve(run, port, stranger)
    stranger.leave()
    stranger.leave()
    run.wait_for(GONE)
    wait_steered(run, 1, 2, 3, 4, 5)
    all_serve(run, port, stranger)


def test_through_a_reload_and_back(app, port, stranger):
    """Sides leave while it is the last of the group, and come."""
    run, pids = app("c", 3, "spread")
    stranger.join()
    assert verb(run, "reload", "app").returncode == 0
    stranger.join()
    scale(run, 2)
    all_serve(run, port, stranger)
    scale(run, 3)
    all_serve(run, port, stranger)
    assert not set(pids.values()) & set(run.slots().values())


def test_at_another_address(app, port):
    """A group of its own: what goes to that address is its own, and it is no stranger."""
    run, _ = app("c", 2, "spread")
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        s.bind(("127.0.0.9", port))
        s.listen()
        scale(run, 3)
        with Crowd(port) as crowd:
            crowd.go(64)
            assert not crowd.failures and set(crowd.pids()) == set(run.slots().values())
    assert not run.find(THERE)


def test_leaving_makes_room(app, port, stranger):
    """A slot that goes retires its side in the midst of strangers."""
    run, _ = app("c", 4, "spread")
    stranger.join(2)
    scale(run, 5)
    stranger.join()
    scale(run, 2)
    wait_until(stranger.has_nothing, "nothing")
    all_serve(run, port, stranger)
    scale(run, 4)
    all_serve(run, port, stranger)
