"""Contract: a worker's life as its primary is told it, and messages."""
from contract import both, primary, start_primary  # noqa: F401


def test_basic(both):
    """fork, online, listening, exit in this order; the id, the state, no NODE_UNIQUE_ID in env."""
    def scenario(primary):
        [worker] = primary.start("basic.js")
        worker.next("listening")
        shown = worker.show()
        worker.message()
        worker.send("exit 7")
        code = worker.wait_gone()
        return shown, worker.show(), code

    told = both(scenario)
    assert told["worker 1"] == [
        ["fork"], ["online"],
        ["message", {"id": 1, "isWorker": True, "isPrimary": False, "env": [], "port": "port 0"}, False],
        ["listening", {"addressType": 4, "address": "127.0.0.1", "port": "port 0"}],
        ["disconnect", False], ["exit", 7, None, False]]
    assert told["result"] == [
        {"connected": True, "dead": False, "exitedAfterDisconnect": False},
        {"connected": False, "dead": True, "exitedAfterDisconnect": False}, [7, None, False]]


def test_message(both):
    """Any JSON value arrives as it was, both ways."""
    values = ["text", 1, -1.5, True, None, [], {}, {"cmd": "NODE_"}, ["ä€𝄞", {"a": {"b": "\n"}}]]

    def scenario(primary):
        [worker] = primary.start("echo.js")
        assert worker.message() == "hello"
        return [worker.ask(value) for value in values]

    assert both(scenario)["result"] == values
