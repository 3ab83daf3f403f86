"""Signals that end a training early, with its best model saved."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any, ClassVar


class Signals:
    """Lets Ctrl-C, SIGTERM and SIGHUP end a training after its step; a second one ends it at once.

    Until the training first calls `requested` there is nothing to save, and one signal is enough.

    Attributes:
        code: the exit code of the signal that came, or 0.
    """

    CODES: ClassVar = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 143}

    def __init__(self) -> None:
        self.code = 0
        self._asked = False
        self._before: dict[int, Any] = {}

    def requested(self) -> bool:
        """Return whether the training should stop."""
        self._asked = True
        return self.code != 0

    def __enter__(self) -> Signals:
        for name in self.CODES:
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number and signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                self._before[number] = signal.signal(number, self._handle)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        code = self.CODES[signal.Signals(number).name]
        if self.code or not self._asked:
            raise SystemExit(code)
        self.code = code

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
