"""The gated recurrent unit as libraries compute it: the reset gate acts AFTER the product.

It differs from `charrnn.cells.gru` in two ways: r scales ``W_hn h + b_hn`` instead of h, which
needs a second bias; and z is the share of the old state, there it is the share of the new one.
"""

from charrnn.cells.base import Cell, Function, Parts, Product, Unit


def equations(sigmoid: Function, tanh: Function, relu: Function) -> Unit:
    """Return the unit ``n = tanh(x_n + r*h_n)``, ``h = (1 - z)*n + z*h``."""

    def unit(x: Parts, W: Product, state: Parts) -> Parts:
        (h,) = state
        h_r, h_z, h_n = W(h)
        r = sigmoid(x[0] + h_r)
        z = sigmoid(x[1] + h_z)
        n = tanh(x[2] + r * h_n)
        return ((1 - z) * n + z * h,)

    return unit


CELL = Cell(
    name="gru-reset-after",
    title="gated recurrent unit, reset after the product",
    equation="""\
r, z = σ(W_x x_t + b_x + W_h h_{t-1} + b_h)
n = tanh(W_x x_t + b_x + r ⊙ (W_h h_{t-1} + b_h))
h_t = (1 - z) ⊙ n + z ⊙ h_{t-1}""",
    stages=(("r", "z", "n"),),
    states=("h",),
    equations=equations,
    two_biases=True,
)
