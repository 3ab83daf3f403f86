"""One file per recurrence; ``CELLS`` maps the names users type to their declarations."""

from charrnn.cells import elman, gru_reset_after, irnn, lstm, lstm_coupled
from charrnn.cells.base import Cell

CELLS: dict[str, Cell] = {
    module.CELL.name: module.CELL for module in (elman, irnn, lstm, lstm_coupled, gru_reset_after)
}

__all__ = ["CELLS", "Cell"]
