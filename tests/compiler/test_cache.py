"""Where compiled code is cached, and who is notified when code is compiled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from charrnn.compiler import cache

with cache.notify_compiling(lambda: print("compiling")):
    from charrnn.compiler import codegen
    module = codegen.load('''
from numba import cfunc, njit

@njit(cache=True)
def double(x):
    return 2 * x

@cfunc("float64(float64)", cache=True)
def triple(x):
    return 3 * x
''')
    if sys.argv[1] == "dispatcher":
        module.double(2)
"""


def _run(home: Path, what: str) -> str:
    places = {"XDG_CACHE_HOME": str(home), "LOCALAPPDATA": str(home), "HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, what],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | places,
        timeout=100,
    )
    return done.stdout


def test_compiling_is_notified_once_and_loading_from_the_cache_never(tmp_path: Path) -> None:
    assert _run(tmp_path, "callback") == "compiling\n"
    assert _run(tmp_path, "callback") == ""
    assert _run(tmp_path, "dispatcher") == "compiling\n"
    assert _run(tmp_path, "dispatcher") == ""
