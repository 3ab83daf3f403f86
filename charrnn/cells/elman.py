"""The simple recurrent network of Elman (1990), whose state is its last output."""

from charrnn.cells.base import Cell, Function, Parts, Product, Unit


def equations(sigmoid: Function, tanh: Function, relu: Function) -> Unit:
    """Return the unit ``h = tanh(W_xh x + W_hh h + b)``."""

    def unit(x: Parts, W: Product, state: Parts) -> Parts:
        (h,) = state
        (r,) = W(h)
        return (tanh(x[0] + r),)

    return unit


CELL = Cell(
    name="elman",
    title="Elman network",
    equation="h_t = tanh(W_xh x_t + W_hh h_{t-1} + b)",
    stages=(("h",),),
    states=("h",),
    equations=equations,
)
