"""Long short-term memory (Hochreiter and Schmidhuber 1997, forget gate by Gers et al. 2000).

The cell state c is only scaled by the forget gate and added to, so the gradient flows back through
it undiminished while that gate is open; the gate's bias starts at 1 (Jozefowicz et al. 2015).
``lstm-sigmoid`` squashes the new content g with a sigmoid: writing can then only increase c.
"""

from dataclasses import replace

from charrnn.cells.base import Cell, Function, Parts, Product, Unit


def equations(
    sigmoid: Function, tanh: Function, relu: Function, squashing: Function | None = None
) -> Unit:
    """Return the unit ``c = f*c + i*g``, ``h = o*tanh(c)``; `squashing` (tanh) is applied to g."""
    squash = squashing or tanh

    def unit(x: Parts, W: Product, state: Parts) -> Parts:
        h, c = state
        r = W(h)
        i = sigmoid(x[0] + r[0])
        f = sigmoid(x[1] + r[1])
        g = squash(x[2] + r[2])
        o = sigmoid(x[3] + r[3])
        c = f * c + i * g
        return o * tanh(c), c

    return unit


CELL = Cell(
    name="lstm",
    title="long short-term memory",
    equation="""\
i, f, o = σ(W_x x_t + W_h h_{t-1} + b)
g = tanh(W_x x_t + W_h h_{t-1} + b)
c_t = f ⊙ c_{t-1} + i ⊙ g
h_t = o ⊙ tanh(c_t)""",
    stages=(("i", "f", "g", "o"),),
    states=("h", "c"),
    equations=equations,
    bias={"f": 1.0},
)

SIGMOID = replace(
    CELL,
    name="lstm-sigmoid",
    title="long short-term memory with sigmoid squashing",
    equation="""\
i, f, g, o = σ(W_x x_t + W_h h_{t-1} + b)
c_t = f ⊙ c_{t-1} + i ⊙ g
h_t = o ⊙ tanh(c_t)""",
    equations=lambda sigmoid, tanh, relu: equations(sigmoid, tanh, relu, squashing=sigmoid),
)
