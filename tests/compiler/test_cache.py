"""Compiled code: where it is cached, that imports write nothing, and who hears that it compiles."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from waiting import HANGS

from charrnn.compiler import cache, object_code
from charrnn.inference import instructions

# Uses every way in which code is compiled; prints what is notified in each of three contexts.
USE_ALL = """
import json, threading
import numpy as np
from charrnn.cells import CELLS, Layer
from charrnn.compiler import cache, thread_pool
from charrnn.inference import distribution, instructions, step_codegen

def use():
    distribution.frequencies(np.zeros((1, 3), np.float32))  # a function called by Python
    cache.compile_declared()  # C functions
    for function in step_codegen.compiled_step(Layer(CELLS["elman"]), False).functions:
        function.address  # of a module that charrnn writes
    instructions.read(np.zeros(64, np.float32), 1, 2)  # in two threads

def notified(run):
    sentences = []
    with cache.notify_compiling(lambda: sentences.append("compiling")):
        run()
    return sentences

def in_a_thread(run):
    sentences = []
    thread = threading.Thread(target=lambda: sentences.extend(notified(run)))
    thread.start()
    thread.join()
    return sentences

inner = []
outer = notified(lambda: inner.extend(in_a_thread(use)))
print(json.dumps([inner, outer, notified(use)]))
"""

# Compiles one function of a module that charrnn writes.
USE_MODULE = """
from charrnn.compiler import cache

with cache.notify_compiling(lambda: print("compiling")):
    from charrnn.compiler import codegen
    (function,) = codegen.c_functions('''
import numpy as np
from numba import carray
from charrnn.compiler.cache import c_function

@c_function("void(voidptr)")
def triple(data):
    carray(data, (1,), np.float64)[0] *= 3
''', "triple")
    assert function.address
"""


def run(text: str, home: Path) -> str:
    """What a program prints whose user has this home folder."""
    names = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "LOCALAPPDATA", "HOME")
    given = dict.fromkeys(names, str(home)) | {"OMP_NUM_THREADS": "1"}
    given["PYTHONDONTWRITEBYTECODE"] = "1"
    ended = subprocess.run(
        [sys.executable, "-c", text],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **given},
        timeout=HANGS,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def caches(folder: Path) -> set[Path]:
    """Files and folders of compiled code, and the folders that would hold it."""
    found = {path.relative_to(folder) for path in folder.rglob("*")}
    return {path for path in found if {"charrnn", "numba"} & set(path.parts)}


def test_compiling_is_notified_once_and_loading_is_not(tmp_path: Path) -> None:
    # All C functions but one are there: to compile them takes long.
    assert instructions.__name__  # it declares functions
    cache.compile_declared()
    folder = tmp_path / "charrnn" / "kernels" / cache.folder().name
    folder.mkdir(parents=True)
    for path in cache.folder().glob("charrnn.*.o"):
        if "lookup" not in path.name:
            shutil.copy(path, folder)
    cold: Any = json.loads(run(USE_ALL, tmp_path))
    assert cold == [["compiling"], ["compiling"], []]
    files = caches(tmp_path)
    kept = {".o"} if object_code.usable() else {".nbi", ".nbc"}
    assert {path.suffix for path in files} >= {".py", *kept}
    assert json.loads(run(USE_ALL, tmp_path)) == [[], [], []]
    assert caches(tmp_path) == files


def test_modules_that_charrnn_writes_are_cached(tmp_path: Path) -> None:
    assert run(USE_MODULE, tmp_path) == "compiling\n"
    assert run(USE_MODULE, tmp_path) == ""


def test_the_cache_folder_of_other_functions_does_not_change() -> None:
    from numba import config

    before = config.CACHE_DIR  # type: ignore[attr-defined]
    with cache.in_folder():
        assert str(cache.folder()) == config.CACHE_DIR  # type: ignore[attr-defined]
    assert before == config.CACHE_DIR  # type: ignore[attr-defined]


@pytest.mark.parametrize("usable", [True, False])
def test_code_is_cached_where_only_the_user_can_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, usable: bool
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    home = tmp_path / "home"
    if usable:
        home.mkdir()
    else:
        home.write_text("a file: nothing can be made in it")
    look = "from charrnn.compiler.cache import folder; print(folder())"
    folder = Path(run(look, home).rstrip("\n"))
    assert folder.is_relative_to(home) is usable
    if not usable and sys.platform != "win32":
        assert folder.parents[2] == tmp_path
        assert folder.parents[1].stat().st_mode & 0o077 == 0  # other users cannot enter it


def test_every_file_that_is_compiled_belongs_to_the_version_of_the_cache() -> None:
    """Object code is loaded without a look at its source."""
    package = Path(cache.__file__).parents[1]
    compiled = set()
    for path in package.rglob("*.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
                ("numba", "charrnn.compiler.scalar_math", "charrnn.compiler.matmul")
            ):
                compiled.add(path.relative_to(package).as_posix())
    assert len(compiled) > 8
    assert compiled <= set(cache._COMPILED)
    assert [name for name in cache._COMPILED if not (package / name).is_file()] == []
