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


def test_memory_is_given_back_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    libc = Libc()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: libc)
    machine.give_memory_back()
    assert libc.calls == [("malloc_trim", 0, 0)]


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    machine.give_memory_back()
    with machine.freed_memory_kept():
        pass


def test_at_most_one_thread_for_each_core_is_used_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 4)
    said: list[str] = []
    assert [machine.usable_threads(asked, said.append) for asked in (None, 1, 4)] == [None, 1, 4]
    assert said == []
    assert machine.usable_threads(999, said.append) == 4
    assert said == ["--threads 999: 4 are used, one for each core of this machine"]


def test_a_machine_is_busy_whose_load_is_above_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 4)
    monkeypatch.setattr("os.getloadavg", lambda: (4.0, 9.0, 9.0), raising=False)
    assert machine.busy() is None
    monkeypatch.setattr("os.getloadavg", lambda: (7.81, 1.0, 1.0), raising=False)
    assert machine.busy() == "other programs keep this machine busy (load 7.8, 4 cores)"
    monkeypatch.delattr("os.getloadavg")  # Windows has none
    assert machine.busy() is None


def test_cores_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.cores() >= 1
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 3, 5}, raising=False)
    assert machine.cores() == 3
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert machine.cores() == 1
