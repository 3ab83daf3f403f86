"""The network of Jordan (1986), whose only memory is its last output.

It feeds back its own distribution p of the next token, never the true token (no teacher forcing).
p_{t-1} follows from h_{t-1}, so the state is h; before a text h is zero.
"""

from charrnn.cells.base import Cell, Function, Parts, Product, Unit


def equations(sigmoid: Function, tanh: Function, relu: Function) -> Unit:
    """Return the unit ``h = tanh(W_xh x + W_ph p + b)``, where p is the output of the last h."""

    def unit(x: Parts, W: Product, state: Parts) -> Parts:
        (h,) = state
        (r,) = W(h)
        return (tanh(x[0] + r),)

    return unit


CELL = Cell(
    name="jordan",
    title="Jordan network",
    equation="""\
h_t = tanh(W_xh x_t + W_ph p_{t-1} + b)
p_t = softmax(W_hy h_t + b_y), the network's output""",
    stages=(("h",),),
    states=("h",),
    equations=equations,
    feeds_back=True,
)
