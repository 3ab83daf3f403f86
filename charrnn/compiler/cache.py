"""Where compiled code is kept: per user, or for this process alone where that cannot be.

Never in a folder that others could write to: what lies there is executed. Compiled functions have
others inside them, whose text their own file does not show; so each version of all those texts has
a folder of its own.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
import platformdirs
from numba.core import event

_PACKAGE = Path(__file__).parents[1]
_COMPILED = [
    f"compiler/{name}.py" for name in ("thread_pool", "matmul", "layer_norm", "scalar_math")
]
_COMPILED += ["inference/instructions.py", "decoding/filters.py", "decoding/compiled.py"]


@functools.cache
def folder() -> Path:
    """The folder of this version of charrnn."""
    texts = (_PACKAGE.joinpath(name).read_bytes() for name in _COMPILED)
    version = hashlib.sha256(b"\0".join(texts)).hexdigest()[:16]
    kept = platformdirs.user_cache_path("charrnn") / "kernels" / version
    with contextlib.suppress(OSError):
        kept.mkdir(parents=True, exist_ok=True)
        if os.access(kept, os.W_OK):
            return kept
    private = tempfile.mkdtemp(prefix="charrnn-kernels-")
    atexit.register(shutil.rmtree, private, ignore_errors=True)
    return Path(private)


setattr(numba.config, "CACHE_DIR", str(folder()))  # noqa: B010 - not in its types


class _CompileListener(event.Listener):
    """Calls a function at the first compiler pass that numba starts."""

    def __init__(self, notify: Callable[[], object]) -> None:
        self._notify = functools.cache(notify)

    def on_start(self, event: Any) -> None:
        self._notify()

    def on_end(self, event: Any) -> None:
        pass


@contextlib.contextmanager
def notify_compiling(notify: Callable[[], object]) -> Iterator[None]:
    """Call `notify` once, as soon as numba compiles anything; loading cached code does not count.

    Args:
        notify: called before the first function is compiled.
    """
    # Not "numba:compile": C callbacks are compiled without that event.
    with event.install_listener("numba:run_pass", _CompileListener(notify)):
        yield
