"""One file per recurrence; ``CELLS`` maps the names users type to their declarations."""

from charrnn.cells import elman, gru_reset_after, lstm
from charrnn.cells.base import Cell

CELLS: dict[str, Cell] = {
    module.CELL.name: module.CELL for module in (elman, lstm, gru_reset_after)
}

__all__ = ["CELLS", "Cell"]
