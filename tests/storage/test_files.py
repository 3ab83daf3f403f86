from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from charrnn.storage import files


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_LARGE", 8)


@pytest.mark.usefixtures("small")
def test_what_is_put_beside_arrives_whole_and_in_order() -> None:
    taken: list[bytes] = []
    beside = files.Beside(lambda block: taken.append(bytes(block)))
    blocks = [bytes([number]) * (number % 7) for number in range(200)]
    for block in blocks:
        beside.put(block)
    beside.finish()
    assert b"".join(taken) == b"".join(blocks)
    assert all(len(block) >= 8 for block in taken[:-1])  # some at a time, however small they come


@pytest.mark.usefixtures("small")
def test_a_large_block_is_handed_on_as_it_is_and_in_its_turn() -> None:
    taken: list[object] = []
    beside = files.Beside(taken.append)
    large = bytes(range(9))
    for block in (large, b"abc", large, large):
        beside.put(block)
    beside.finish()
    assert taken == [large, b"abc" + large, large]
    assert taken[0] is large
    assert taken[2] is large


@pytest.mark.usefixtures("small")
def test_who_is_far_ahead_waits() -> None:
    go, taken = threading.Event(), []

    def slow(block: bytearray) -> None:
        assert go.wait(20)
        taken.append(block)

    beside = files.Beside(slow)
    for _ in range(files._BEHIND):
        beside.put(bytes(8))
    threading.Timer(0.05, go.set).start()
    beside.put(bytes(8))
    assert go.is_set()
    beside.finish()
    assert len(taken) == files._BEHIND + 1


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("blocks", [1, 100])
def test_what_fails_beside_is_raised_here(blocks: int) -> None:
    def full(block: bytearray) -> None:
        raise OSError(28, "No space left on device")

    beside = files.Beside(full)

    def write() -> None:
        for _ in range(blocks):
            beside.put(bytes(8))
        beside.finish()

    with pytest.raises(OSError, match="No space left"):
        write()
    beside.leave()


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
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, timeout=60)
    assert b"KeyboardInterrupt" in done.stderr
    assert done.returncode != 0
