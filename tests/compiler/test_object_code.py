"""Object code: what is kept can be called without numba, and what is damaged is compiled again."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba import carray, cfunc
from waiting import HANGS

from charrnn.compiler import object_code
from charrnn.generator import Generator
from charrnn.model import model_file
from charrnn.model.model_file import Model

pytestmark = pytest.mark.skipif(not object_code.usable(), reason="object code is kept on Linux")


@pytest.fixture(scope="module")
def code() -> bytes:
    """A function that adds the square root of each of three numbers to the first."""

    @cfunc("void(voidptr)")
    def add(data: Any) -> None:
        numbers = carray(data, (3,), np.float64)
        copies = np.empty(3)  # takes memory as numba's own functions do
        for i in range(3):
            copies[i] = np.sqrt(numbers[i])
        numbers[0] += copies.sum()

    return object_code.code_of(add)


def called(address: int | None) -> list[float]:
    assert address
    numbers = np.array([1.0, 4.0, 9.0])
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)(numbers.ctypes.data)
    return numbers.tolist()


def test_code_is_kept_and_can_be_called(tmp_path: Path, code: bytes) -> None:
    path = tmp_path / "add.o"
    object_code.save(path, code)
    first, second = object_code.load(path), object_code.load(path)
    assert first != second
    path.unlink()
    for address in (first, second, first):
        assert called(address) == [7.0, 4.0, 9.0]


def test_missing_and_damaged_code_is_not_loaded(tmp_path: Path, code: bytes) -> None:
    path = tmp_path / "add.o"
    assert object_code.load(path) is None
    object_code.save(path, code)
    whole = path.read_bytes()
    assert whole[32:] == code
    for content in (b"", whole[:31], whole[:-1], whole[:200] + b"?" + whole[201:], b"?" + whole):
        path.write_bytes(content)
        assert object_code.load(path) is None


def test_code_with_an_unknown_symbol_is_not_loaded(tmp_path: Path, code: bytes) -> None:
    path = tmp_path / "add.o"
    known = b"numba_gil_ensure"
    assert known in code
    object_code.save(path, code.replace(known, b"numba_gil_missin"))
    assert object_code.load(path) is None


@pytest.mark.parametrize("helpers", [{"numba._missing": ""}, {"numba.core.sigutils": ""}])
def test_code_is_not_kept_beside_an_unknown_numba(
    monkeypatch: pytest.MonkeyPatch, helpers: dict[str, str]
) -> None:
    monkeypatch.setattr(object_code, "_HELPERS", helpers)
    monkeypatch.setattr(object_code, "_helpers", object_code._helpers.__wrapped__)
    assert not object_code.usable.__wrapped__()
    monkeypatch.undo()
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert not object_code.usable.__wrapped__()


def test_code_belongs_to_settings_of_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {object_code.identity.__wrapped__()}
    monkeypatch.setenv("NUMBA_OPT", "1")
    found.add(object_code.identity.__wrapped__())
    monkeypatch.setattr(object_code, "_processor", lambda: ("other", "+sse2"))
    found.add(object_code.identity.__wrapped__())
    assert len(found) == 3
    assert all(len(name) == 16 and int(name, 16) for name in found)


@pytest.mark.parametrize("kind", ["text", "pairs"])
def test_a_text_is_written_without_numba_once_code_is_kept(
    kind: str, tiny_model: Model, make_pair_model: Callable[..., Model], tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    model = tiny_model if kind == "text" else make_pair_model("helo")
    model_file.save(path, model)
    method, given = ("sample", {"seed": 1}) if kind == "text" else ("answer", {})
    # Compiles what is missing.
    wanted = getattr(Generator(model), method)("he", length=9, **given).text
    program = f"""
import sys
import charrnn
text = charrnn.load({str(path)!r}).{method}("he", length=9, **{given}).text
assert "numba._helperlib" in sys.modules and "numba" not in sys.modules
sys.stdout.write(text)
import numba  # after its own modules were used
assert numba.njit(lambda x: [x, x])(2) == [2, 2]
"""
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=HANGS)
    assert (ended.stdout, ended.stderr) == (wanted, "")
