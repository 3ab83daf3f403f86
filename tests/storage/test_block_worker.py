from __future__ import annotations

import subprocess
import sys
import threading

import pytest
from waiting import HANGS

from charrnn.storage import block_worker
from charrnn.storage.block_worker import BlockWorker


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_worker, "_LARGE", 8)


@pytest.mark.usefixtures("small")
def test_blocks_arrive_whole_and_in_order() -> None:
    taken: list[bytes] = []
    worker = BlockWorker(lambda block: taken.append(bytes(block)))
    blocks = [bytes([number]) * (number % 7) for number in range(200)]
    for block in blocks:
        worker.put(block)
    worker.finish()
    assert b"".join(taken) == b"".join(blocks)
    assert all(len(block) >= 8 for block in taken[:-1])  # some at a time, however small they come


@pytest.mark.usefixtures("small")
def test_a_large_block_is_passed_on_uncopied_and_in_order() -> None:
    taken: list[object] = []
    worker = BlockWorker(taken.append)
    large = bytes(range(9))
    for block in (large, b"abc", large, large):
        worker.put(block)
    worker.finish()
    assert taken == [large, b"abc" + large, large]
    assert taken[0] is large
    assert taken[2] is large


@pytest.mark.usefixtures("small")
def test_a_caller_that_is_far_ahead_waits() -> None:
    go, taken = threading.Event(), []

    def slow(block: bytearray) -> None:
        assert go.wait(HANGS)
        taken.append(block)

    worker = BlockWorker(slow)
    for _ in range(block_worker._MAX_WAITING):
        worker.put(bytes(8))
    threading.Timer(0.05, go.set).start()
    worker.put(bytes(8))
    assert go.is_set()
    worker.finish()
    assert len(taken) == block_worker._MAX_WAITING + 1


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("blocks", [1, 100])
def test_an_error_in_the_thread_is_raised_in_the_caller(blocks: int) -> None:
    def full(block: bytearray) -> None:
        raise OSError(28, "No space left on device")

    worker = BlockWorker(full)

    def write() -> None:
        for _ in range(blocks):
            worker.put(bytes(8))
        worker.finish()

    with pytest.raises(OSError, match="No space left"):
        write()
    worker.close()


# Ctrl-C in the moment in which a thread starts: its executor does not know it yet.
INTERRUPTED = """
import threading
start = threading.Thread.start
def interrupted(thread):
    start(thread)
    raise KeyboardInterrupt
threading.Thread.start = interrupted
from charrnn.text import corpus
corpus.from_text("a text")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such exit code")
def test_an_interrupt_while_a_thread_starts_ends_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, timeout=HANGS)
    assert b"KeyboardInterrupt" in done.stderr
    assert done.returncode != 0
