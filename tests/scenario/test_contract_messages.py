"""Contract: messages both ways, without descriptors of the test's interest. Each test has the name of
Node's own."""
from contract import both, primary, start_primary  # noqa: F401


def start(primary):
    """Our preload would tell the primary of servers that are the worker's own."""
    [worker] = primary.start("messages.js", preload=False)
    assert worker.message() == "ready"
    return worker


def test_worker_events(both):
    """A message is told to process and to cluster.worker; so is an error."""
    def scenario(primary):
        worker = start(primary)
        worker.send(["events"])
        return worker.ask(["none"])

    assert both(scenario)["result"] == ["worker made up", "process made up", "worker none"]


def test_send_cb(both):
    """The callback of send() gets no error."""
    def scenario(primary):
        worker = start(primary)
        return worker.ask(["callback", "text"]), worker.message()

    assert both(scenario)["result"] == ["text", {"error": None}]


def test_send_returns_boolean(both):
    """send() is true until two wait behind a descriptor that is not acknowledged."""
    def scenario(primary):
        worker = start(primary)
        worker.send(["three"])
        return [worker.next("message") for _ in range(4)]

    assert both(scenario)["result"] == [[1, True], [2, True], [3, True],
                                        [{"returned": [True, True, False]}, False]]


def test_recv_handle(both):
    """Three messages in a row: the second one has the descriptor."""
    def scenario(primary):
        worker = start(primary)
        worker.send(["between"])
        return [worker.next("message") for _ in range(3)]

    assert both(scenario)["result"] == [["one", False], ["two", True], ["three", False]]


def test_send_after_close(primary):
    """send() to one that is disconnected is an error, on either side, and nobody dies of it."""
    worker = start(primary)
    worker.send(["send after close"])
    code = worker.wait_gone()
    worker.send("too late")
    error = worker.next("error")
    assert code == (42, None, True)
    assert error == ("ERR_IPC_CHANNEL_CLOSED" if primary.kind == "node" else "EPIPE")


def test_send_utf8(both):
    """Characters of many bytes arrive whole, wherever the channel cuts them."""
    text = "ßü€𝄞" * 20000

    def scenario(primary):
        worker = start(primary)
        return worker.ask(["echo", text]) == text

    assert both(scenario)["result"] is True


def test_internal(both):
    """A command that begins with NODE_ is nobody's message; NODE_ alone, or inside, is one."""
    internal = [{"cmd": "NODE_WHATEVER"}, {"cmd": "NODE_CLUSTER_", "act": "online"}]
    users = [{"cmd": "NODE_"}, {"cmd": "MY_NODE_X"}, {"cmd": 7}, ["NODE_X"], "NODE_X", {"CMD": "NODE_X"}]

    def scenario(primary):
        worker = start(primary)
        worker.send(["raw", [*internal, *users, "end"]])
        told = [worker.message() for _ in range(len(users) + 1)]
        for value in users:  # and to the worker, which sends them back
            assert worker.ask(["echo", value]) == value
        return told

    assert both(scenario)["result"] == [*users, "end"]


def test_invalid_message(primary):
    """An answer to nothing hurts neither side. Ours does not let a program send commands of Node's."""
    worker = start(primary)
    nonsense = {"cmd": "NODE_CLUSTER", "ack": -1}
    worker.send(nonsense)
    if primary.kind == "umbel":
        assert worker.next("error") == "EINVAL"
    worker.send(["raw", [nonsense, "still there"]])
    assert worker.message() == "still there"
    assert worker.ask(["echo", 1]) == 1
