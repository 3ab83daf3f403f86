"""Signals that end a training early, with its best model saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class Signals:
    """Lets a signal end a training after its step; a second one ends it at once.

    Until the training first calls `requested` there is nothing to save, and one signal is enough.
    Outside the main thread, Python handles no signals.

    Attributes:
        received: the signal that came, or None.
    """

    def __init__(self, *names: str, error: Callable[[signal.Signals], BaseException]) -> None:
        """Prepare to handle signals while this is entered.

        Args:
            names: of the signals; Windows has no SIGHUP.
            error: returns what to raise where a signal ends the training at once.
        """
        self.received: signal.Signals | None = None
        self._names, self._error = names, error
        self._asked = False
        self._before: dict[int, Any] = {}

    def requested(self) -> bool:
        """Return whether the training should stop."""
        self._asked = True
        return self.received is not None

    def __enter__(self) -> Signals:
        if threading.current_thread() is not threading.main_thread():
            return self
        for name in self._names:
            number = getattr(signal, name, None)
            if number and signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                self._before[number] = signal.signal(number, self._handle)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received or not self._asked:
            raise self._error(signal.Signals(number))
        self.received = signal.Signals(number)

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
