"""The simple network whose state is the preactivation c (Pascanu et al. 2013).

Its output is c itself. With tanh(c) as its output it would be an Elman network.
"""

from charrnn.cells.base import Cell, Function, Parts, Product, Unit


def equations(sigmoid: Function, tanh: Function, relu: Function) -> Unit:
    """Return the unit ``c = W tanh(c) + U x + b``."""

    def unit(x: Parts, W: Product, state: Parts) -> Parts:
        (c,) = state
        (r,) = W(tanh(c))
        return (r + x[0],)

    return unit


CELL = Cell(
    name="preactivation",
    title="simple network that carries its preactivation",
    equation="c_t = W tanh(c_{t-1}) + U x_t + b",
    stages=(("c",),),
    states=("c",),
    equations=equations,
)
