"""The multiplicative LSTM (Krause et al. 2016): each input has a recurrent matrix of its own.

The state reaches the gates only as m, the product of a map of the input and a map of the state, so
a token decides which parts of the state count. A step makes two products, one after the other.
"""

from charrnn.cells import lstm
from charrnn.cells.base import Cell, Function, Parts, Product, Unit


def equations(sigmoid: Function, tanh: Function, relu: Function) -> Unit:
    """Return the unit of `charrnn.cells.lstm` that reads ``m = x_m * W(h)`` in place of h."""
    lstm_unit = lstm.equations(sigmoid, tanh, relu)

    def unit(x: Parts, W: Product, state: Parts) -> Parts:
        h, c = state
        (h_m,) = W(h)
        return lstm_unit(x[1:], W, (x[0] * h_m, c))

    return unit


CELL = Cell(
    name="lstm-multiplicative",
    title="multiplicative long short-term memory",
    equation="""\
m = (W_x x_t + b) ⊙ W_h h_{t-1}
i, f, o = σ(W_x x_t + W_h m + b)
g = tanh(W_x x_t + W_h m + b)
c_t = f ⊙ c_{t-1} + i ⊙ g
h_t = o ⊙ tanh(c_t)""",
    stages=(("m",), ("i", "f", "g", "o")),
    states=("h", "c"),
    equations=equations,
    bias={"f": 1.0},
)
