"""Make the start of a process short, most of which is imports."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.util
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

# Describes operations to torch's compilers: a fifth of the time of importing torch.
_META = "_meta_registrations"


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Look for no garbage inside this context, nor ever among what it imports.

    Almost all that is imported stays, and each search would visit all of it again.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def importing_torch() -> Iterator[None]:
    """Import torch inside this context, without what its compilers can import later."""
    empty = ModuleType(f"torch.{_META}")
    with importing():
        if "torch" not in sys.modules:
            sys.modules[empty.__name__] = empty
        try:
            yield
        finally:
            if sys.modules.get(empty.__name__) is empty:
                del sys.modules[empty.__name__]
                vars(sys.modules.get("torch", empty)).pop(_META, None)


def load_torch_library() -> None:
    """Begin to load torch's largest library in a thread, while others import Python code."""
    spec = importlib.util.find_spec("torch")
    for folder in (spec and spec.submodule_search_locations) or ():
        library = Path(folder) / "lib" / "libtorch_cpu.so"
        if library.exists():
            threading.Thread(target=_load, args=[library]).start()


def _load(library: Path) -> None:
    with contextlib.suppress(OSError):  # importing torch says what is wrong with it
        ctypes.CDLL(str(library))
