"""The gated recurrent unit (Cho et al. 2014): the reset gate acts BEFORE the product.

The reset gate r scales the state that the candidate n reads, so a step makes two products, one
after the other. Libraries compute `charrnn.cells.gru_reset_after` instead.
"""

from charrnn.cells.base import Cell, Function, Parts, Product, Unit


def equations(sigmoid: Function, tanh: Function, relu: Function) -> Unit:
    """Return the unit ``n = tanh(x_n + W (r*h))``, ``h = (1 - z)*h + z*n``."""

    def unit(x: Parts, W: Product, state: Parts) -> Parts:
        (h,) = state
        h_r, h_z = W(h)
        r = sigmoid(x[0] + h_r)
        z = sigmoid(x[1] + h_z)
        (h_n,) = W(r * h)
        n = tanh(x[2] + h_n)
        return ((1 - z) * h + z * n,)

    return unit


CELL = Cell(
    name="gru",
    title="gated recurrent unit",
    equation="""\
r, z = σ(W_x x_t + W_h h_{t-1} + b)
n = tanh(W_x x_t + W_h (r ⊙ h_{t-1}) + b)
h_t = (1 - z) ⊙ h_{t-1} + z ⊙ n""",
    stages=(("r", "z"), ("n",)),
    states=("h",),
    equations=equations,
)
