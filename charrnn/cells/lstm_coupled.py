"""Long short-term memory with one gate for forgetting and writing (Greff et al. 2015).

The gate f weighs the old cell state against the new content: f and 1 - f.
"""

from charrnn.cells.base import Cell, Function, Parts, Product, Unit


def equations(sigmoid: Function, tanh: Function, relu: Function) -> Unit:
    """Return the unit ``c = f*c + (1 - f)*g``, ``h = o*tanh(c)``."""

    def unit(x: Parts, W: Product, state: Parts) -> Parts:
        h, c = state
        r = W(h)
        f = sigmoid(x[0] + r[0])
        g = tanh(x[1] + r[1])
        o = sigmoid(x[2] + r[2])
        c = f * c + (1 - f) * g
        return o * tanh(c), c

    return unit


CELL = Cell(
    name="lstm-coupled",
    title="long short-term memory with coupled gates",
    equation="""\
f, o = σ(W_x x_t + W_h h_{t-1} + b)
g = tanh(W_x x_t + W_h h_{t-1} + b)
c_t = f ⊙ c_{t-1} + (1 - f) ⊙ g
h_t = o ⊙ tanh(c_t)""",
    stages=(("f", "g", "o"),),
    states=("h", "c"),
    equations=equations,
    bias={"f": 1.0},
)
