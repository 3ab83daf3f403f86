"""Hash or write blocks of bytes in a thread of their own, while the caller makes the next ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from charrnn.storage.files import Block

_LARGE = 2**17  # bytes handed over at a time
_MAX_WAITING = 8  # calls of the function that may be waiting


class BlockWorker:
    """Calls a function with blocks, in their order, in one thread.

    Hashing and writing release the interpreter lock, so the caller's work hides them. Use it as a
    context manager: if Ctrl-C comes while the thread is being started, nothing else knows the
    thread, and it would keep the process alive.
    """

    def __init__(self, take: Callable[[Block], object]) -> None:
        self._take = take
        self._thread = ThreadPoolExecutor(1, "charrnn-blocks")
        self._collected = bytearray()
        self._waiting: deque[Future[object]] = deque()

    def __enter__(self) -> BlockWorker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def put(self, block: bytes | memoryview) -> None:
        """Add a block, which nobody may change any more; wait if the thread is far behind.

        Raises:
            Exception: what the function raised.
        """
        if not self._collected and len(block) >= _LARGE:
            self._send(block)
            return
        self._collected += block
        if len(self._collected) >= _LARGE:
            self._send_collected()

    def finish(self) -> None:
        """Return when the function has taken all blocks.

        Raises:
            Exception: what the function raised.
        """
        if self._collected:
            self._send_collected()
        while self._waiting:
            self._waiting.popleft().result()

    def close(self) -> None:
        """End the thread and drop the blocks that the function has not taken."""
        self._thread.shutdown(cancel_futures=True)

    def _send_collected(self) -> None:
        collected, self._collected = self._collected, bytearray()
        self._send(collected)

    def _send(self, block: Block) -> None:
        if len(self._waiting) == _MAX_WAITING:
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(self._take, block))
