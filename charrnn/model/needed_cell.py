"""Find the cell that a model needs, and what the user has to name if it is not one of charrnn's.

A model holds a cell's name and the hash of its text. The text itself is beside it in the run's
folder; its code is run only if the user names that file.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from charrnn.cells import own
from charrnn.cells.own import CELL_NAME
from charrnn.compiler.cell_file import MAX_BYTES
from charrnn.config import cell_name, is_own_cell
from charrnn.errors import ModelError, OptionError, shell_command


def check(path: Path, needed: str, given: str | None = None) -> None:
    """Check that a cell is known, and that it is the one that the user gave, if any.

    Args:
        path: of the model, or of a checkpoint's run.
        needed: the cell, as its config names it.
        given: the same of the cell that the user named.

    Raises:
        ModelError: it is not; says which file to name.
    """
    known = not is_own_cell(needed) or own.used(needed) is not None
    if known and given in (None, needed):
        return
    name = cell_name(needed)
    if given is not None and cell_name(given) != name:
        raise ModelError(
            f"--cell {cell_name(given)} does not go with {path}, whose cell is {name}: "
            + ("leave it out" if known else _advice(path, needed))
        )
    versions = own.named(name)
    if versions:
        origin, now = versions[-1].origin or "the cell given", versions[-1].sha256
        raise ModelError(
            f"{path} was trained with another version of {name} than {origin} (SHA-256 "
            f"{needed[len(name) + 1 :][:12]}, not {now[:12]}): {_advice(path, needed)}"
        )
    raise ModelError(
        f"{path} needs the cell {name}, which is not part of charrnn and whose code runs only if "
        f"you name it: {_advice(path, needed)}"
    )


def check_options(path: Path, needed: str, given: str | None) -> None:
    """Check the same for a training that continues or repeats the run of the model at `path`.

    Raises:
        OptionError: the cell is not known, or not the one given.
    """
    try:
        check(path, needed, given)
    except ModelError as error:
        raise OptionError(error.message) from None


def _advice(path: Path, needed: str) -> str:
    """Return what to name: the copy beside the model if there is one, which may be a stranger's."""
    copy = path.with_name(CELL_NAME)
    try:
        small = copy.is_file() and copy.stat().st_size <= MAX_BYTES
        found = hashlib.sha256(copy.read_bytes()).hexdigest() if small else ""
    except OSError:
        found = ""
    if found and needed.endswith(found):
        named = shell_command("--cell", str(copy))
        return f"use {named}, a copy from the training; read it first if it is not yours"
    return "use --cell with the file of the training"
