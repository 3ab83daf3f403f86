"""Long short-term memory whose gates also see the cell state (Gers and Schmidhuber 2000).

Each gate has one peephole weight v per unit, which starts at zero. In the lectures' form all three
gates read the old cell state; in Gers' form the output gate reads the new one.
"""

from dataclasses import replace

from charrnn.cells.base import Cell, Function, Parts, Product, Unit


def equations(
    sigmoid: Function, tanh: Function, relu: Function, output_sees_new: bool = False
) -> Unit:
    """Return the unit of `charrnn.cells.lstm` with ``v*c`` added in every gate."""

    def unit(x: Parts, W: Product, state: Parts, v: Parts) -> Parts:
        h, c = state
        r = W(h)
        i = sigmoid(x[0] + r[0] + v[0] * c)
        f = sigmoid(x[1] + r[1] + v[1] * c)
        g = tanh(x[2] + r[2])
        new = f * c + i * g
        o = sigmoid(x[3] + r[3] + v[2] * (new if output_sees_new else c))
        return o * tanh(new), new

    return unit


CELL = Cell(
    name="lstm-peephole",
    title="long short-term memory with peepholes",
    equation="""\
i, f, o = σ(W_x x_t + W_h h_{t-1} + v ⊙ c_{t-1} + b)
g = tanh(W_x x_t + W_h h_{t-1} + b)
c_t = f ⊙ c_{t-1} + i ⊙ g
h_t = o ⊙ tanh(c_t)""",
    stages=(("i", "f", "g", "o"),),
    states=("h", "c"),
    equations=equations,
    peepholes=("i", "f", "o"),
    bias={"f": 1.0},
)

GERS = replace(
    CELL,
    name="lstm-peephole-gers",
    title="long short-term memory with Gers' peepholes",
    equation="""\
i, f = σ(W_x x_t + W_h h_{t-1} + v ⊙ c_{t-1} + b)
g = tanh(W_x x_t + W_h h_{t-1} + b)
c_t = f ⊙ c_{t-1} + i ⊙ g
o = σ(W_x x_t + W_h h_{t-1} + v ⊙ c_t + b)
h_t = o ⊙ tanh(c_t)""",
    equations=lambda sigmoid, tanh, relu: equations(sigmoid, tanh, relu, output_sees_new=True),
)
