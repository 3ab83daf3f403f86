"""The simple recurrent network of Elman (1990): its state is its last output."""

from charrnn.cells.base import Cell, Function, Parts, Unit


def equations(sigmoid: Function, tanh: Function, relu: Function) -> Unit:
    """``h = tanh(W_xh x + W_hh h + b)``."""

    def unit(x: Parts, r: Parts, state: Parts) -> Parts:
        return (tanh(x[0] + r[0]),)

    return unit


CELL = Cell(
    name="elman",
    title="Elman network",
    equation="h_t = tanh(W_xh x_t + W_hh h_{t-1} + b)",
    blocks=("h",),
    states=("h",),
    equations=equations,
)
