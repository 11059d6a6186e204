"""Contract: what kills a primary of Node's, and what it does wrong, costs ours at most the worker that did
it. More of the kind: test_channel.py, test_regressions.py, test_handoff.py."""
import errno
import sys

import pytest
from contract import start_primary  # noqa: F401
from harness import wait_until
from test_contract_disconnect import LEFT, connect

BREACHES = ["garbage", "empty", "broken", "binary", "two_values", "wrong_key", "spare_ack",
            "spare_nack", "no_message", "count_of_no_key", "close_of_no_key"]
# And what is answered.
HARMLESS = {"duplicate_keys": [], "no_act": [], "unknown_act": [], "unknown_command": [],
            "spare_accepted": [], "spare_close": [], "as_primary": [], "told_to_leave": [],
            "stray_descriptor": [], "many_strays": [], "count_unasked": [],
            "count_of_long_key": [],
            **dict.fromkeys(["duplicate_query", "wrong_types", "no_seq"], ["NODE_CLUSTER"]),
            "no_descriptor": ["NODE_HANDLE_NACK"],
            **dict.fromkeys(["unknown_type", "type_of_number", "regular_file", "regular_server",
                             "regular_dgram", "native", "two_descriptors", "handle_in_handle",
                             "ack_in_handle"], ["NODE_HANDLE_ACK"]),
            "count_of_nothing": ["NODE_SOCKET_COUNT"], "close_of_nothing": ["NODE_SOCKET_ALL_CLOSED"]}
BREACH = "driver: broke the protocol: "


@pytest.fixture
def raw(start_primary):
    """raw(N): that many workers that speak for themselves, listening, and their port (policy none: they
    have asked for it only)."""
    def start(count=2, **settings):
        primary = start_primary("umbel", before=["env", f"UMBEL_TEST_NODE={sys.executable}"])
        workers = primary.start("raw.py", count=count, **settings)
        if settings.get("policy") == "none":
            return primary, workers, None
        [port] = {worker.next("listening")["port"] for worker in workers}
        return primary, workers, port

    return start


def told(port):
    """Who serves a connection."""
    with connect(port) as client:
        return client.recv(100).decode().strip()


def check(port, *workers):
    """They are well, and all that serve."""
    for worker in workers:
        assert worker.ask("are you well?") == "are you well?"
    ids = {str(worker.id) for worker in workers}
    assert {told(port) for _ in range(4 * len(workers))} == ids


def breaches(primary):
    return [text for text in primary.output("stderr") if text.startswith(BREACH)]


# ---- what a worker says ----

@pytest.mark.parametrize("kind", BREACHES)
def test_a_breach_ends_its_worker(raw, kind):
    primary, (bad, good), port = raw()
    bad.send(["do", kind])
    assert bad.wait_gone() == (None, "SIGKILL", False)
    wait_until(lambda: len(breaches(primary)) == 1, "the reason")
    check(port, good)


def said_until(worker, last):
    """All its messages up to that one."""
    said = []
    while not said or said[-1] != last:
        said.append(worker.message())
    return said


@pytest.mark.parametrize("kind", HARMLESS)
def test_nonsense_is_not_heard(raw, kind):
    primary, (strange, good), port = raw()
    strange.send(["do", kind])
    strange.send("one")
    said = said_until(strange, "one")
    strange.send("two")
    said += said_until(strange, "two")
    heard = [value["heard"]["cmd"] for value in said if isinstance(value, dict) and "heard" in value]
    assert heard == HARMLESS[kind]
    check(port, strange, good)
    assert not breaches(primary)


def test_answers_about_sockets_that_are_none(raw):
    """NODE_SOCKET_GET_COUNT and NODE_SOCKET_NOTIFY_CLOSE are answered, so that a server's close() ends."""
    primary, [worker], port = raw(1)
    key = {"key": "no such key"}
    worker.send(["do", "count_of_nothing"])
    assert worker.message() == {"heard": {"cmd": "NODE_SOCKET_COUNT", **key, "count": 0}}
    worker.send(["do", "close_of_nothing"])
    assert worker.message() == {"heard": {"cmd": "NODE_SOCKET_ALL_CLOSED", **key}}


def test_answers_that_are_not_read(raw):
    """They end who asked, before they fill the memory."""
    primary, (deaf, good), port = raw(max_message=65536, max_queue=65536)
    deaf.send(["do", "deaf"])
    assert deaf.wait_gone() == (None, "SIGKILL", False)
    wait_until(lambda: len(breaches(primary)) == 1, "the reason")
    check(port, good)


def test_shared_sockets_that_are_not_acknowledged(raw):
    """There is an end to them, also when each is given up again."""
    primary, (hoarder, good), _ = raw(policy="none")
    assert hoarder.ask("ready?") == "ready?"
    hoarder.send(["do", "hoard"])
    told = hoarder.message()
    assert 0 < told["shared"] <= 64 and told["last"] == -errno.EMFILE
    assert [worker.ask("and now?") for worker in (hoarder, good)] == ["and now?"] * 2


def test_descriptors_that_are_not_acknowledged(raw):
    """There is an end to them, and the sender is told to wait."""
    primary, (mute, good), port = raw()
    assert mute.ask(["next", "mute_for_good"]) == "as told"
    for _ in range(128):
        mute.give("udp", "for you")
    primary.command("give", mute.id, "udp", "one more")
    assert mute.next("error") == "EAGAIN"
    good.give("udp", "for you")


def test_a_connection_that_comes_back_for_ever(raw):
    """Nobody refuses it, and nobody takes it: it is closed in the end."""
    primary, workers, port = raw()
    for worker in workers:
        assert worker.ask(["next", "bounce"]) == "as told"
    with connect(port) as client:
        assert client.recv(100) == b""
    def offers(events):
        return sum(e[0] == "message" and e[2] == "did bounce" for e in events)

    primary.wait(lambda events: offers(events) >= 4, "4 offers")
    assert offers(primary.events()) <= 16 and not breaches(primary)


@pytest.mark.parametrize("way", ["ack_twice", "accept_first"])
def test_too_many_answers_to_a_connection(raw, way):
    """They end the worker, and the client is served by another."""
    primary, (bad, good), port = raw()
    assert bad.ask(["next", way]) == "as told"
    with connect(port) as first, connect(port) as second:
        assert bad.wait_gone() == (None, "SIGKILL", False)
        answers = {client.recv(100).decode().strip() for client in (first, second)}
    assert str(good.id) in answers
    wait_until(lambda: len(breaches(primary)) == 1, "the reason")
    check(port, good)


def test_accepted_twice(raw):
    """The second answer is one to nothing."""
    primary, workers, port = raw()
    assert workers[0].ask(["next", "accept_twice"]) == "as told"
    assert told(port) and told(port)
    assert workers[0].message() == "did accept_twice"
    check(port, *workers)
    assert not breaches(primary)


# ---- the faults of Node's primary ----

@pytest.mark.parametrize("way", ["nack", "refuse"])
def test_nack_of_a_connection(raw, way):
    """Another worker serves the client, and the one that had no room is given others."""
    primary, workers, port = raw()
    assert workers[0].ask(["next", way]) == "as told"
    assert "" not in [told(port) for _ in range(3)]
    assert workers[0].message() == f"did {way}"
    check(port, *workers)
    assert not breaches(primary)


def test_nack_by_the_only_worker(raw):
    """Then the connection is closed, not offered for ever, and it is given the next."""
    primary, [worker], port = raw(1)
    for way in ("nack", "refuse"):
        assert worker.ask(["next", way]) == "as told"
        assert told(port) == ""
        assert worker.message() == f"did {way}"
        check(port, worker)


@pytest.mark.parametrize("kind", ["server", "udp"])
def test_a_descriptor_that_is_never_acknowledged(raw, kind):
    """It holds up neither messages nor disconnect."""
    primary, [worker], port = raw(1)
    assert worker.ask(["next", "mute"]) == "as told"
    worker.give(kind, "for you")
    assert worker.message() == "did mute"
    assert worker.ask("and then?") == "and then?"
    worker.disconnect()
    assert worker.wait_gone() == LEFT


def test_death_with_a_descriptor_on_its_way(raw):
    """Disconnect is told, not only exit."""
    primary, [worker], port = raw(1)
    assert worker.ask(["next", "mute"]) == "as told"
    worker.give("server", "for you")
    assert worker.message() == "did mute"
    worker.kill("SIGKILL")
    assert worker.wait_gone() == (None, "SIGKILL", False)


def test_death_with_connections_on_their_way(raw):
    """Another worker serves them."""
    primary, (dying, good), port = raw()
    assert dying.ask(["next", "mute"]) == "as told"
    with connect(port) as first, connect(port) as second:
        assert dying.message() == "did mute"
        dying.kill("SIGKILL")
        assert dying.wait_gone() == (None, "SIGKILL", False)
        assert [client.recv(100).decode().strip() for client in (first, second)] == [str(good.id)] * 2
