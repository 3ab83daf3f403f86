"""Many jobs in several processes: in order, few at a time, and nothing is left of them."""

from __future__ import annotations

import itertools
import operator
import os
import signal
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from waiting import wait_until

from charrnn.decoding.workers import AHEAD, in_order
from charrnn.errors import OptionError, RunError, file_name


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_order_and_few_jobs_are_taken_ahead(processes: int) -> None:
    taken: list[int] = []

    def jobs() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            yield number

    found = in_order(operator.neg, jobs(), processes)
    for number in range(20):
        assert next(found) == -number
        assert len(taken) <= number + 1 + AHEAD * processes
    assert list(found) == []


@pytest.mark.parametrize("processes", [1, 2])
def test_what_is_there_comes_before_a_job_that_may_not_come_soon(processes: int) -> None:
    taken: list[int] = []

    def jobs() -> Iterator[int | None]:
        for number in range(3):
            taken.append(number)
            yield number
            yield None

    found = in_order(operator.neg, jobs(), processes)
    for number in range(3):
        assert next(found) == -number
        assert len(taken) == number + 1
    assert list(found) == []


@pytest.mark.parametrize("processes", [1, 2])
def test_what_is_there_comes_before_an_error_of_the_jobs(processes: int) -> None:
    def jobs() -> Iterator[int]:
        yield from range(3)
        raise OptionError("no more")

    found = in_order(operator.neg, jobs(), processes)
    assert [next(found) for _ in range(3)] == [0, -1, -2]
    with pytest.raises(OptionError, match="no more"):
        next(found)


def _who(job: int) -> int:
    return os.getpid()


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return True


@pytest.mark.skipif(os.name != "posix", reason="looks for processes by their ids")
def test_no_process_is_left_when_an_endless_stream_of_jobs_is_closed() -> None:
    found = in_order(_who, itertools.count(), 2)
    workers = {next(found) for _ in range(4)}
    assert os.getpid() not in workers
    found.close()  # type: ignore[attr-defined]
    wait_until(lambda: not any(map(_lives, workers)))


def test_an_error_of_a_job_is_raised_here() -> None:
    with pytest.raises(OptionError, match="must be the name of a file"):
        list(in_order(partial(file_name, what="--out"), [3], 2))


@pytest.mark.skipif(os.name != "posix", reason="kills")
def test_a_process_that_is_killed_is_one_sentence() -> None:
    found = in_order(_who, itertools.count(), 2)
    with pytest.raises(RunError, match="was killed, perhaps for lack of memory"):  # noqa: PT012
        os.kill(next(found), signal.SIGKILL)
        list(found)


@pytest.mark.skipif(os.name != "posix", reason="kills")
def test_processes_end_while_they_hand_over_more_than_a_pipe_takes() -> None:
    """Nothing waits for the rest of a result: neither when it is closed nor when one is killed."""
    for _ in range(3):
        found = in_order(bytes, itertools.repeat(10**7), 2)
        assert len(next(found)) == 10**7
        found.close()  # type: ignore[attr-defined]
    found = in_order(_who_and_much, itertools.repeat(10**7), 2)
    with pytest.raises(RunError, match="one of the processes was killed"):  # noqa: PT012
        os.kill(next(found)[0], signal.SIGKILL)
        list(found)


def _who_and_much(size: int) -> tuple[int, bytes]:
    return os.getpid(), bytes(size)


class _Deadly:
    """Ends the process that reads it from a pickle."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return os._exit, (1,)


def test_a_process_that_dies_while_it_starts_is_one_sentence() -> None:
    """Though there is more to tell it than fits into a pipe."""
    work: Any = (_Deadly(), bytes(10**6))
    with pytest.raises(RunError, match="one of the processes was killed"):
        list(in_order(work, range(9), 2))
