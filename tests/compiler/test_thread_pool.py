"""Threads beside the caller's: each call runs in all of them at once, and nobody is left behind."""

from __future__ import annotations

import functools
import multiprocessing
import sys
import threading
import time
import weakref
from typing import Any

import numpy as np
import pytest
from numba import carray, cfunc
from waiting import HANGS, wait_until

from charrnn.compiler import thread_pool
from charrnn.compiler.scalar_math import pointer, take
from charrnn.compiler.thread_functions import give_way, look


@functools.cache
def _meet() -> Any:
    """Return a C function, compiled when a test first needs it.

    Table: how many came, how many are to come, a number; who came last adds to the number.
    Nobody leaves before all are there, as in a program whose steps wait for each other.
    """

    @cfunc("void(voidptr)")
    def compiled(data: Any) -> None:
        table = carray(data, (3,), np.int64)
        mine = take(table.ctypes.data)
        while look(table.ctypes.data) < table[1]:
            give_way()
        if mine == table[1] - 1:
            table[2] += 10

    return compiled


def meet(threads: int) -> list[int]:
    table = np.array([0, threads, 7], np.int64)
    thread_pool.together(_meet().address, table.ctypes.data, threads)
    return table.tolist()


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("rest", [0.0, 0.0005, 0.02])
def test_all_threads_run_every_time(threads: int, rest: float) -> None:
    # at once, while they look out for more or are about to go, and when they have gone
    for _ in range({0.0: 300, 0.0005: 100}.get(rest, 5)):
        assert meet(threads) == [threads, threads, 17]
        time.sleep(rest)


def test_idle_threads_end() -> None:
    meet(3)
    slots = thread_pool._pool(2)._slots
    wait_until(lambda: slots[:, 0].tolist() == [thread_pool.GONE] * 2)


def test_a_polling_thread_is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_pool, "_pool", lambda others: made)
    made = thread_pool._Pool(1)
    started: list[int] = []
    submit = made._threads.submit
    made._threads.submit = lambda *call: started.append(1) or submit(*call)  # type: ignore[assignment, func-returns-value]
    for _ in range(1000):
        meet(2)
    assert 1 <= len(started) < 500


def test_slots_live_as_long_as_a_thread_polls_them() -> None:
    def outlives() -> bool:
        made = thread_pool._Pool(1)
        slots = weakref.ref(made._slots.base)
        table = np.array([0, 2, 7], np.int64)
        made.run(_meet().address, table.ctypes.data)
        del made
        return slots() is not None

    assert any(outlives() for _ in range(50))  # a busy machine may come back to it late


@pytest.mark.parametrize("late", [False, True])
def test_an_interrupt_leaves_no_thread_waiting(monkeypatch: pytest.MonkeyPatch, late: bool) -> None:
    monkeypatch.setattr(thread_pool, "_pool", lambda others: made)
    made = thread_pool._Pool(2)
    submit = made._threads.submit
    left = [1]

    def interrupted(*call: Any) -> None:
        if late:
            submit(*call)
        if left:
            left.pop()
            raise KeyboardInterrupt
        if not late:
            submit(*call)

    made._threads.submit = interrupted  # type: ignore[assignment, method-assign]
    table = np.array([0, 3, 7], np.int64)
    with pytest.raises(KeyboardInterrupt):
        thread_pool.together(_meet().address, table.ctypes.data, 3)
    assert table.tolist() == [3, 3, 17]
    for _ in range(100):
        assert meet(3) == [3, 3, 17]


def test_threads_that_cannot_start_are_an_error_and_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start, left = threading.Thread.start, [1]

    def some(thread: threading.Thread) -> None:
        if not left:
            raise RuntimeError("can't start new thread")
        left.pop()
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", some)
    with pytest.raises(RuntimeError, match="can't start"):
        thread_pool._Pool(2)


def test_several_callers_take_turns() -> None:
    found: list[list[int]] = []
    callers = [
        threading.Thread(target=lambda: found.extend(meet(3) for _ in range(100))) for _ in range(4)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert found == [[3, 3, 17]] * 400


def _meet_in_child(answer: Any) -> None:
    answer.put(meet(2))


@pytest.mark.skipif(sys.platform == "win32", reason="nothing is forked there")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forking where there are threads
def test_a_forked_process_has_threads_of_its_own() -> None:
    meet(2)
    context: Any = multiprocessing.get_context("fork")
    answer = context.SimpleQueue()
    child = context.Process(target=_meet_in_child, args=(answer,))
    child.start()
    child.join(HANGS)
    alive = child.is_alive()
    child.kill()
    assert not alive
    assert answer.get() == [2, 2, 17]


def test_one_thread_is_the_caller() -> None:
    @cfunc("void(voidptr)")
    def add(data: Any) -> None:
        table = carray(data, (2,), np.int64)
        numbers = carray(pointer(table[1]), (1,), np.int64)
        numbers[0] += 1

    numbers = np.zeros(1, np.int64)
    table = np.array([0, numbers.ctypes.data], np.int64)
    before = threading.active_count()
    thread_pool.together(add.address, table.ctypes.data, 1)
    assert (numbers[0], threading.active_count()) == (1, before)
