"""One file per recurrence; ``CELLS`` maps the names users type to their declarations."""

from charrnn.cells import (
    elman,
    gru,
    gru_reset_after,
    irnn,
    jordan,
    lstm,
    lstm_coupled,
    lstm_peephole,
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
        gru.CELL,
        gru_reset_after.CELL,
    )
}

__all__ = ["CELLS", "Cell", "Layer"]
