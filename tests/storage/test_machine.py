"""What charrnn asks of the C library."""

import ctypes
import sys

import pytest

from charrnn.storage import machine


class Libc:
    """Records calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int]] = []

    def mallopt(self, parameter: int, value: int) -> int:
        self.calls.append(("mallopt", parameter, value))
        return 1

    def malloc_trim(self, pad: int) -> int:
        self.calls.append(("malloc_trim", pad, 0))
        return 1


def test_freed_memory_is_kept_within_the_block_and_given_back_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    libc = Libc()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: libc)
    with machine.freed_memory_kept():
        inside = list(libc.calls)
    assert inside == [("mallopt", -3, 2**30), ("mallopt", -1, 2**31 - 1)]
    after = libc.calls[len(inside) :]
    assert after == [("mallopt", -3, 2**25), ("mallopt", -1, 2**26), ("malloc_trim", 0, 0)]


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    with machine.freed_memory_kept():
        pass
