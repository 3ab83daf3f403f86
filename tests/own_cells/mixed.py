"""A cell for tests: two products, blocks of the input alone, every operator and function."""

from charrnn.cells import Cell


def equations(sigmoid, tanh, relu, exp, max, min):
    """Return a unit that means nothing, in which every derivative matters."""

    def unit(x, W, state):
        h, c = state
        a, b = W(h)
        gate = sigmoid(x[0] + a)
        (r,) = W(gate * h - 0.5)
        n = tanh(x[2] * r / (1.5 + exp(-abs(b + x[1]))))
        c = min(gate * c + relu(x[3] - c), max(n, x[4])) / 2
        return -n + max(c, 0.25) - 1 / (2 + exp(n)), c

    return unit


CELL = Cell(
    name="mixed",
    title="cell for tests",
    equation="h_t = ...",
    stages=(("a", "b"), ("r",)),
    input_blocks=("p", "q"),
    states=("h", "c"),
    equations=equations,
    bias={"q": 0.5},
)
