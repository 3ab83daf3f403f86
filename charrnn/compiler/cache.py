"""Cache compiled code, decide when to compile, and tell a user about it.

Importing a module compiles, loads and writes nothing: `c_function` and `compile_on_call` wait for
the first use. The cache is a folder of the user's own, because whoever can write there can run
code; where none is usable, a temporary folder serves this process alone. Cached code contains other
compiled functions, whose source numba does not check: so each version of all those sources has a
folder of its own.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
from numba.core import event

from charrnn.compiler.scalar_math import EXACT, OPTIONS
from charrnn.storage.cache_dir import cache_dir, writable

_PACKAGE = Path(__file__).parents[1]
_COMPILED = [
    f"compiler/{name}.py"
    for name in ("thread_pool", "matmul", "matmul_blocks", "layer_norm", "scalar_math")
]
_COMPILED += [
    "inference/instructions.py",
    *(f"decoding/{name}.py" for name in ("step", "constraints", "filters", "choice", "compiled")),
    *(f"adaptive/{name}.py" for name in ("memory", "counts", "mixer")),
]
_lock = threading.RLock()


@functools.cache
def folder() -> Path:
    """Return the cache folder of this version of charrnn; the first call creates it."""
    sources = (_PACKAGE.joinpath(name).read_bytes() for name in _COMPILED)
    version = hashlib.sha256(b"\0".join(sources)).hexdigest()[:16]
    # Resolved, because numba keeps what it compiles by the path of the source.
    return writable(cache_dir("kernels") / version).resolve()


@contextlib.contextmanager
def in_folder() -> Iterator[None]:
    """Let functions that numba decorates inside this context cache their code in `folder`."""
    with _lock:
        before = numba.config.CACHE_DIR  # type: ignore[attr-defined]
        setattr(numba.config, "CACHE_DIR", str(folder()))  # noqa: B010 - not in its types
        try:
            yield
        finally:
            setattr(numba.config, "CACHE_DIR", before)  # noqa: B010


class CFunction:
    """A C function, compiled or loaded from the cache when its address is first asked for.

    Args:
        signature: its type, as numba writes it.
        function: its body, in the Python that numba compiles.
    """

    def __init__(self, signature: str, function: Callable[..., None]) -> None:
        self._signature, self._function = signature, function
        self._compiled: Any = None

    @property
    def address(self) -> int:
        """Where the function is in memory."""
        if self._compiled is None:
            with in_folder():
                make = numba.cfunc(self._signature, cache=True, error_model="numpy")
                self._compiled = self._compiled or make(self._function)
        return int(self._compiled.address)


_declared: list[CFunction] = []


def c_function(signature: str) -> Callable[[Callable[..., None]], CFunction]:
    """Return a decorator that makes a `CFunction` with this signature."""

    def declare(function: Callable[..., None]) -> CFunction:
        _declared.append(CFunction(signature, function))
        return _declared[-1]

    return declare


def compile_declared() -> None:
    """Compile or load every `c_function` of the modules imported so far.

    A caller that has something to fall back on does this early: a compiler that fails does so here.
    """
    for function in _declared:
        function.address  # noqa: B018 - compiles


def compile_on_call(
    function: Callable[..., Any], options: dict[str, Any] = OPTIONS
) -> Callable[..., Any]:
    """Make a function that is compiled, or loaded from the cache, when Python first calls it."""

    @functools.cache
    def compiled() -> Any:
        with in_folder():
            return numba.njit(**options)(function)

    return functools.wraps(function)(lambda *arguments: compiled()(*arguments))


def compile_exactly(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make such a function whose arithmetic is done as it is written."""
    return compile_on_call(function, EXACT)


class _CompileListener(event.Listener):
    """Call a function when numba starts its first compiler pass."""

    def __init__(self, notify: Callable[[], object]) -> None:
        self._notify = functools.cache(notify)

    def on_start(self, event: Any) -> None:
        """Notify; numba calls this under its compiler lock, so from one thread at a time."""
        self._notify()

    def on_end(self, event: Any) -> None:
        """Ignore the end of a pass."""


@contextlib.contextmanager
def notify_compiling(notify: Callable[[], object]) -> Iterator[None]:
    """Call `notify` once, as soon as any thread compiles; loading cached code does not count.

    Args:
        notify: called before the first function is compiled.
    """
    # Not "numba:compile": C functions are compiled without that event.
    with event.install_listener("numba:run_pass", _CompileListener(notify)):
        yield
