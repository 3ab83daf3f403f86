"""Threads that share a window's parts: torch's own, or a pool's where those cannot be had."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numba import carray, cfunc

from charrnn.compiler.scalar_math import pointer, take
from charrnn.network import openmp


@functools.cache
def _square() -> Any:
    """Return a C function, compiled when a test first needs it.

    Table: parts taken, how many there are, the address of one number for each.
    """

    @cfunc("void(voidptr)")
    def compiled(data: Any) -> None:
        table = carray(data, (3,), np.int64)
        parts = table[1]
        numbers = carray(pointer(table[2]), (parts,), np.int64)
        part = take(table.ctypes.data)
        while part < parts:
            numbers[part] += part * part
            part = take(table.ctypes.data)

    return compiled


def squares(parts: int, threads: int) -> tuple[list[int], int]:
    """Every part's number, and how many threads came."""
    numbers = np.zeros(parts, np.int64)
    table = np.array([0, parts, numbers.ctypes.data], np.int64)
    openmp.run(_square().address, table.ctypes.data, threads)
    return numbers.tolist(), int(table[0]) - parts


@pytest.fixture(params=["openmp", "pool"])
def starter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    openmp._starter.cache_clear()
    if request.param == "pool":
        monkeypatch.setattr(openmp, "_find_openmp", lambda: None)
    elif openmp._find_openmp() is None:
        pytest.skip("torch's threads cannot be had here")
    yield
    openmp._starter.cache_clear()


@pytest.mark.usefixtures("starter")
@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("parts", [1, 2, 3, 1000])
def test_every_part_runs_once(parts: int, threads: int) -> None:
    for _ in range(20):
        numbers, came = squares(parts, threads)
        assert numbers == [part * part for part in range(parts)]
        assert 1 <= came <= threads  # every thread that comes finds an end


@pytest.mark.usefixtures("starter")
def test_the_threads_of_torch_work_as_before() -> None:
    a = torch.arange(90000.0).view(300, 300) / 90000
    wanted = a @ a
    torch.set_num_threads(2)
    try:
        for _ in range(5):
            squares(4, 3)
            torch.testing.assert_close(a @ a, wanted)
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_one_thread_needs_no_starter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openmp, "_starter", None)
    assert squares(5, 1) == ([0, 1, 4, 9, 16], 1)


def test_files_that_are_not_runtimes_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "__file__", str(tmp_path / "torch" / "__init__.py"))
    assert openmp._find_openmp() is None  # no folder at all
    libraries = tmp_path / "torch" / "lib"
    libraries.mkdir(parents=True)
    (libraries / "libgomp.so.1").write_text("no library")
    assert openmp._find_openmp() is None
