"""Cache compiled code, decide when to compile, and tell a user about it.

Importing a module compiles, loads and writes nothing: a `CFunction` and `compile_on_call` wait for
the first use. The cache is a folder of the user's own, because whoever can write there can run
code; where none is usable, a temporary folder serves this process alone. Compiled code contains
other compiled functions, whose source is not checked when it is loaded: so each version of all
those sources has a folder of its own. numba is only imported where something is compiled.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from charrnn.compiler import object_code
from charrnn.errors import RunError
from charrnn.storage.cache_dir import cache_dir, trusted

_PACKAGE = Path(__file__).parents[1]
# Files with the bodies of C functions, with what compiled code contains, and what it depends on.
_COMPILED = [
    *("cells/layer.py", "compiler/cross_entropy.py", "compiler/layer_norm.py"),
    *("compiler/matmul.py", "compiler/matmul_blocks.py", "compiler/nadamw.py"),
    *("compiler/panels.py", "compiler/processor.py", "compiler/row_products.py"),
    *("compiler/scalar_math.py", "compiler/thread_functions.py", "compiler/thread_pool.py"),
    "compiler/window_math.py",
    *("inference/distribution.py", "inference/instructions.py", "inference/row_functions.py"),
    *("inference/pair_functions.py", "inference/pair_instructions.py"),
    *("counts/groups.py", "counts/mixing.py", "counts/table.py"),
    "inference/count_functions.py",
    *("decoding/choice.py", "decoding/choice_rows.py", "decoding/compiled.py"),
    *("decoding/constraints.py", "decoding/filters.py", "decoding/step.py"),
    *("adaptive/counts.py", "adaptive/memory.py", "adaptive/mixer.py", "adaptive/reading.py"),
]
_lock = threading.RLock()
_notified: list[Callable[[], object]] = []  # who hears that something is compiled


@functools.cache
def folder() -> Path:
    """Return the cache folder of this version of charrnn; the first call creates it."""
    sources = (_PACKAGE.joinpath(name).read_bytes() for name in _COMPILED)
    version = hashlib.sha256(b"\0".join(sources)).hexdigest()[:16]
    # Resolved, because numba keeps what it compiles by the path of the source.
    return trusted(cache_dir("kernels") / version).resolve()


@contextlib.contextmanager
def in_folder() -> Iterator[Any]:
    """Give numba, whose decorators cache code in `folder` inside this context."""
    with _lock:
        numba = _numba()
        before = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = str(folder())
        try:
            yield numba
        finally:
            numba.config.CACHE_DIR = before


@dataclass(frozen=True)
class CBody:
    """The body of a C function, in the Python that numba compiles, its type, and options."""

    signature: str
    options: Mapping[str, Any]
    function: Callable[..., None]


def c_function(signature: str, **options: Any) -> Callable[[Callable[..., None]], CBody]:
    """Return a decorator that makes a C function's body, with this type as numba writes it."""
    return functools.partial(CBody, signature, options)


class CFunction:
    """A C function, compiled or loaded from the cache when its address is first asked for.

    Args:
        module: the name of the module that holds its body.
        name: the name of its body there.
        imported: imports the module; it is only needed where the function is compiled.
        source: of the module, if charrnn writes it; else "".

    Attributes:
        module: as given.
        name: as given.
        source: as given.
    """

    def __init__(
        self,
        module: str,
        name: str,
        imported: Callable[[], ModuleType] | None = None,
        source: str = "",
    ) -> None:
        self.module, self.name, self.source = module, name, source
        self._imported = imported or functools.partial(importlib.import_module, module)
        self._address: int | None = None

    @property
    def address(self) -> int:
        """Where the function is in memory, until the process ends."""
        if self._address is None:
            with _lock:
                self._address = self._address or self._loaded() or self._compiled()
        return self._address

    def load(self) -> bool:
        """Load the function if it has been compiled before; return whether it is there now."""
        if self._address is None:
            with _lock:
                self._address = self._address or self._loaded()
        return self._address is not None

    def _loaded(self) -> int | None:
        return object_code.load(self._file) if object_code.usable() else None

    @property
    def _file(self) -> Path:
        return folder() / f"{self.module}.{self.name}.{object_code.identity()}.o"

    def _compiled(self) -> int:
        """Compile the function, and keep its code: as an object file, or as numba keeps it.

        Where another process is compiling it, wait for that one and load it.
        """
        if not object_code.usable():
            return int(self._compiled_now(kept=False).address)
        with _alone(self._file.with_suffix(".lock")):
            if address := self._loaded():
                return address
            made = self._compiled_now(kept=True)
            # The disk is full, or numba is an unknown one: the next process compiles again.
            with contextlib.suppress(RunError, AttributeError):
                object_code.save(self._file, object_code.code_of(made))
        return int(made.address)

    def _compiled_now(self, *, kept: bool) -> Any:
        """Compile the function; numba keeps its code unless we do."""
        with in_folder() as numba:
            body: CBody = getattr(self._imported(), self.name)
            options = {"error_model": "numpy", **body.options}
            made = numba.cfunc(body.signature, cache=not kept, **options)(body.function)
        _made.append(made)
        return made


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Wait until no other process is inside this context with the same path.

    The system ends the lock however a process ends. A lock file that is removed while others wait
    for it does no harm: they find what was compiled.
    """
    import fcntl  # systems without it have no object code either

    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # no file can be written, or locked
            file = stack.enter_context(path.open("ab"))
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


_made: list[Any] = []  # compiled code stays in memory as long as these
_declared: list[CFunction] = []


def declare(module: str, *names: str) -> tuple[CFunction, ...]:
    """Return the C functions of a module of charrnn with these names."""
    made = tuple(CFunction(module, name) for name in names)
    _declared.extend(made)
    return made


def declared() -> tuple[CFunction, ...]:
    """Return every C function that is declared so far."""
    return tuple(_declared)


def compile_declared() -> None:
    """Compile or load every C function that is declared so far.

    A caller that has something to fall back on does this early: a compiler that fails does so here.
    """
    for function in _declared:
        function.address  # noqa: B018 - compiles


def compile_on_call(function: Callable[..., Any], *, exactly: bool = False) -> Callable[..., Any]:
    """Make a function that is compiled, or loaded from the cache, when Python first calls it."""

    @functools.cache
    def compiled() -> Any:
        from charrnn.compiler import scalar_math

        options = scalar_math.EXACT if exactly else scalar_math.OPTIONS
        with in_folder() as numba:
            return numba.njit(**options)(function)

    return functools.wraps(function)(lambda *arguments: compiled()(*arguments))


def compile_exactly(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make such a function whose arithmetic is done as it is written."""
    return compile_on_call(function, exactly=True)


@functools.cache
def _numba() -> Any:
    """Import numba, and let it tell when it compiles."""
    import numba
    from numba.core import event

    class Listener(event.Listener):
        """Notifies all who wait when a compiler pass begins."""

        def on_start(self, event: Any) -> None:
            """Notify; numba calls this under its compiler lock, so from one thread at a time."""
            for notify in tuple(_notified):
                notify()

        def on_end(self, event: Any) -> None:
            """Ignore the end of a pass."""

    # Not "numba:compile": C functions are compiled without that event.
    register: Any = event.register
    register("numba:run_pass", Listener())
    return numba


@contextlib.contextmanager
def notify_compiling(notify: Callable[[], object]) -> Iterator[None]:
    """Call `notify` once, as soon as any thread compiles; loading cached code does not count.

    Args:
        notify: called before the first function is compiled.
    """
    once = functools.cache(notify)
    _notified.append(once)
    try:
        yield
    finally:
        _notified.remove(once)
