"""One file per recurrence: its equation. ``CELLS`` maps the names users type to declarations.

``base`` says what an author declares, ``layer`` derives the rest, ``initial`` has the rules for
initial weights. A new cell is one file, and two lines below; a cell outside the package is found
through ``own``.
"""

from charrnn.cells import (
    elman,
    gru,
    gru_reset_after,
    irnn,
    jordan,
    lstm,
    lstm_coupled,
    lstm_multiplicative,
    lstm_peephole,
    own,
    preactivation,
)
from charrnn.cells.base import Cell
from charrnn.cells.layer import Layer

CELLS: dict[str, Cell] = {
    cell.name: cell
    for cell in (
        elman.CELL,
        irnn.CELL,
        preactivation.CELL,
        jordan.CELL,
        lstm.CELL,
        lstm.SIGMOID,
        lstm_peephole.CELL,
        lstm_peephole.GERS,
        lstm_coupled.CELL,
        lstm_multiplicative.CELL,
        gru.CELL,
        gru_reset_after.CELL,
    )
}

__all__ = ["CELLS", "Cell", "Layer", "find"]


def find(name: str) -> Cell:
    """Return the cell that a config calls `name`.

    Raises:
        OptionError: it is a cell of the user's own whose code was not run.
    """
    return CELLS.get(name) or own.find(name)
