"""Cells of users: known by name and SHA-256 once their code was run.

A config names such a cell ``NAME@SHA256``, after the text that defines it. So a model can say which
cell it needs but holds nothing that can be executed: its cell is found here only if the user named
the same text before (`charrnn.compiler.cell_file.use`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from charrnn.cells.base import Cell
from charrnn.errors import OptionError

CELL_NAME = "model.cell.py"  # in the folder of a run: a copy of the text, never run unasked


@dataclass(frozen=True)
class OwnCell:
    """A cell that is not one of charrnn's.

    Attributes:
        cell: the cell.
        source: the text that defines it.
        origin: how the user named it: a file or an installed name; empty for a Python object.
    """

    cell: Cell
    source: bytes
    origin: str

    @property
    def sha256(self) -> str:
        """The hash of its text."""
        return hashlib.sha256(self.source).hexdigest()

    @property
    def name(self) -> str:
        """What configs call it."""
        return f"{self.cell.name}@{self.sha256}"


_USED: dict[str, OwnCell] = {}


def add(own: OwnCell) -> str:
    """Make a cell known in this process; return what configs call it.

    A text that is known already keeps its cell, for which code may have been compiled.
    """
    before = _USED.get(own.name)
    _USED[own.name] = OwnCell(before.cell if before else own.cell, own.source, own.origin)
    return own.name


def used(name: str) -> OwnCell | None:
    """Return the cell that a config calls `name`, if it is known."""
    return _USED.get(name)


def of_source(source: bytes) -> OwnCell | None:
    """Return the cell that a text defines, if it is known."""
    return next((own for own in _USED.values() if own.source == source), None)


def named(short: str) -> list[OwnCell]:
    """Return the known cells of this name, whatever their text."""
    return [own for own in _USED.values() if own.cell.name == short]


def find(name: str) -> Cell:
    """Return the cell that a config calls `name`.

    Raises:
        OptionError: its code was not run, because nobody named it.
    """
    own = used(name)
    if own is None:
        raise OptionError(
            f"the cell {name.partition('@')[0]} is not one of charrnn's: add --cell with its file"
        )
    return own.cell
