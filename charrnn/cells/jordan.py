"""The network of Jordan (1986): its only memory is what it gave out.

What is fed back is the network's own distribution of the next symbol, never the symbol that a
teacher gives. p_{t-1} follows from h_{t-1}, so h is what is carried; before a text h is zero.
"""

from charrnn.cells.base import Cell, Function, Parts, Product, Unit


def equations(sigmoid: Function, tanh: Function, relu: Function) -> Unit:
    """``h = tanh(W_xh x + W_ph p + b)``, p the output that follows from the last h."""

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
