"""Keep compiled functions as object code, and load it without numba.

Importing numba and its types takes half a second, loading an object file two milliseconds. A file
belongs to one processor, one llvmlite and one numba, which `identity` names: code of another one
gets another name. LLVM ends the process when it cannot find a symbol that the code uses; so all of
them are looked up first. Object files differ between systems: this reads those of Linux (ELF).
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.machinery
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import llvmlite  # type: ignore[import-untyped]
import llvmlite.binding as llvm  # type: ignore[import-untyped]
import numpy as np

from charrnn.storage import files

_CHECKSUM = 32  # bytes, before the code
_WRAPPER = "cfunc."  # numba's C functions have names that begin so
# An entry of an ELF symbol table; section 0 means that another file defines the symbol.
_SYMBOL = np.dtype(
    [
        *(("name", "<u4"), ("kind", "u1"), ("other", "u1"), ("section", "<u2")),
        *(("value", "<u8"), ("size", "<u8")),
    ]
)
# numba's own C functions, and what their names begin with in compiled code.
_HELPERS = {"numba._helperlib": "numba_", "numba.core.runtime._nrt_python": "NRT_"}
_linkers: list[Any] = []  # code stays in memory as long as what linked it


@functools.cache
def usable() -> bool:
    """Return whether this module can keep and load code here."""
    if sys.platform != "linux" or sys.maxsize < 2**32 or "NUMBA_DISABLE_JIT" in os.environ:
        return False
    try:
        return bool(_helpers())
    except (ImportError, AttributeError):  # another numba than those that are known
        return False


@functools.cache
def identity() -> str:
    """Return a hash of all that compiled code depends on, besides its source."""
    version = (_numba_folder() / "_version.py").read_bytes()
    settings = sorted(item for item in os.environ.items() if item[0].startswith("NUMBA_"))
    parts = (llvmlite.__version__, llvm.get_default_triple(), *_processor(), settings)
    return hashlib.sha256(version + repr(parts).encode()).hexdigest()[:16]


def _numba_folder() -> Path:
    spec = importlib.util.find_spec("numba")
    if spec is None or spec.origin is None:
        raise ImportError("numba is missing")
    return Path(spec.origin).parent


@functools.cache
def _processor() -> tuple[str, str]:
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


def code_of(function: Any) -> bytes:
    """Return the object code of a C function that numba has just compiled.

    Raises:
        AttributeError: this numba keeps it elsewhere.
    """
    return bytes(function._library._get_compiled_object())


def save(path: Path, code: bytes) -> None:
    """Write object code, whole or not at all.

    Raises:
        RunError: the file cannot be written.
    """
    files.write_atomically(path, hashlib.sha256(code).digest() + code)


def load(path: Path) -> int | None:
    """Return the address of the function in a file; None if it is missing, damaged or unusable."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    code = content[_CHECKSUM:]
    if hashlib.sha256(code).digest() != content[:_CHECKSUM]:
        return None
    return _linked(code)


def _linked(code: bytes) -> int | None:
    """Return the address of the one C function of an object file; None if a symbol is nowhere."""
    object_file = llvm.ObjectFileRef.from_data(code)
    symbols = dict(_symbols(object_file))
    if not all(_found(name) for name, defined in symbols.items() if not defined):
        return None
    (wrapper,) = (
        name for name, defined in symbols.items() if defined and name.startswith(_WRAPPER)
    )
    linker = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine())
    linker.add_object_file(object_file)
    linker.finalize_object()
    _linkers.append(linker)
    return int(linker.get_function_address(wrapper))


def _symbols(object_file: Any) -> list[tuple[str, bool]]:
    """Return the names of an object file's symbols, and whether it defines them."""
    sections = {section.name(): section.data() for section in object_file.sections()}
    names = sections[b".strtab"]
    table = np.frombuffer(sections[b".symtab"], _SYMBOL)
    found = []
    for start, section in zip(table["name"].tolist(), table["section"].tolist(), strict=True):
        if start:
            found.append((names[start : names.index(b"\0", start)].decode(), section != 0))
    return found


@functools.cache
def _found(name: str) -> bool:
    """Tell LLVM where a symbol is; return whether this process has it."""
    address = _helpers().get(name)
    if address is None:
        try:
            address = ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, name))
        except ValueError:
            return False
    llvm.add_symbol(name, address)
    return True


@functools.cache
def _helpers() -> dict[str, int]:
    """Return the addresses of numba's own C functions, from its extension modules alone.

    They get their full names in `sys.modules`, where numba finds them if it is imported later.
    """
    found: dict[str, int] = {}
    for module, prefix in _HELPERS.items():
        for name, address in _extension(module).c_helpers.items():
            found[name if name.startswith(prefix) else prefix + name] = address
    return found


def _extension(name: str) -> Any:
    """Import an extension module of numba without the packages around it."""
    if name in sys.modules:
        return sys.modules[name]
    *folders, last = name.split(".")[1:]
    finder = importlib.machinery.FileFinder(
        str(_numba_folder().joinpath(*folders)),
        (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES),
    )
    spec = finder.find_spec(last)
    if spec is None or spec.origin is None:
        raise ImportError(f"{name} is missing")
    loader = importlib.machinery.ExtensionFileLoader(name, spec.origin)
    spec = importlib.util.spec_from_file_location(name, spec.origin, loader=loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)
    return module


def _target_machine() -> Any:
    """Return LLVM's description of this processor; each linker takes one."""
    _initialize()
    name, features = _processor()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(cpu=name, features=features, opt=3, jit=True)


@functools.cache
def _initialize() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
