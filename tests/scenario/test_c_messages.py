"""Messages and descriptors between a C primary and its workers, in C and in Node."""
import pytest
from c_programs import TESTS, program  # noqa: F401

NODE = ["node", "stream.js"]
MIB = 1 << 20


def stream(program, count, size, max_message=0, max_queue=0, worker=()):
    run = program(TESTS / "stream", count, size, max_message, max_queue, *worker)
    return run, run.wait(30)


@pytest.mark.parametrize("worker", [[], NODE], ids=["c", "node"])
def test_many(program, worker):
    run, status = stream(program, 100000, 100, worker=worker)
    assert status == 0
    assert run.find(r"^primary: over, 100000 sent, 100000 received")
    assert run.find(r"^worker: over, 100000 sent, 100000 received")


@pytest.mark.parametrize("worker", [[], NODE], ids=["c", "node"])
def test_full_queue(program, worker):
    """-EAGAIN in the primary (queue of 64 KiB) and, in C, in the worker too (of 64 MiB)."""
    count, size = (2000, 50000) if not worker else (20000, 100)
    run, status = stream(program, count, size, max_queue=65536, worker=worker)
    assert status == 0
    assert int(run.find(rf"^primary: over, {count} sent, {count} received, (\d+) times full")[0][1])
    if not worker:
        assert int(run.find(rf"^worker: over, {count} .*, (\d+) times full")[0][1])


@pytest.mark.parametrize("worker", [[], NODE], ids=["c", "node"])
def test_large_is_refused(program, worker):
    run, status = stream(program, 1, 20_000_000, worker=worker)
    assert status == 1
    if worker:  # Node has no limit: the primary ends such a worker
        assert run.find(r"^primary: broke the protocol: a message of more than 16777216 bytes")
    else:
        assert run.find(r"^worker: send at 0: Message too long$")


@pytest.mark.parametrize("worker", [[], NODE], ids=["c", "node"])
def test_large_is_delivered(program, worker):
    run, status = stream(program, 2, 20_000_000, 32 * MIB, worker=worker)
    assert status == 0
    assert run.find(r"^primary: over, 2 sent, 2 received")


def test_smaller_limit(program):
    """settings.max_message holds for the worker too."""
    run, status = stream(program, 1, 3000, 2000)
    assert status == 1
    assert run.find(r"^worker: send at 0: Message too long$")


def test_descriptors_between_c(program):
    run = program(TESTS / "descriptors")
    assert run.wait() == 0
    assert [line for line in run.output() if " read " in line] == [
        "the primary read ''",
        "the primary read 'through a pipe'",
        "the primary read 'the worker was here'",
        "the worker read 'the primary was here'",
    ]


def test_descriptors_to_and_from_node(program):
    run = program(TESTS / "descriptors", "node", "descriptors.js")
    assert run.wait() == 0
    assert run.find(r"^cannot send \{.take.*not supported")
    assert [line for line in run.output() if " read " in line] == [
        "the primary read 'node was here'",
        "the primary read 'node and the primary were here'",
    ]
