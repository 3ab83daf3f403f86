"""The rectified network that starts as the identity (Le, Jaitly and Hinton 2015).

With W_hh the identity and zero bias, a zero input leaves a positive state unchanged, so at first
the gradient flows back undiminished. Nothing bounds the state: clip the gradient.
"""

from charrnn.cells.base import Cell, Function, Parts, Product, Unit


def equations(sigmoid: Function, tanh: Function, relu: Function) -> Unit:
    """Return the unit ``h = relu(W_xh x + W_hh h + b)``."""

    def unit(x: Parts, W: Product, state: Parts) -> Parts:
        (h,) = state
        (r,) = W(h)
        return (relu(x[0] + r),)

    return unit


CELL = Cell(
    name="irnn",
    title="rectified network that starts as the identity",
    equation="h_t = relu(W_xh x_t + W_hh h_{t-1} + b), W_hh starts as the identity",
    stages=(("h",),),
    states=("h",),
    equations=equations,
    starts_as_identity=True,
)
