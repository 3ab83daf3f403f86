"""A cell outside the package that makes no recurrent product (Feng et al. 2024)."""

from charrnn.cells import Cell


def equations(sigmoid):
    """Return the unit ``h = (1 - z)*h + z*n``, where the input alone decides z and n."""

    def unit(x, W, state):
        (h,) = state
        z = sigmoid(x[0])
        return ((1 - z) * h + z * x[1],)

    return unit


CELL = Cell(
    name="mingru",
    title="minimal gated recurrent unit without a product",
    equation="""\
z = σ(W_x x_t + b)
n = W_x x_t + b
h_t = (1 - z) ⊙ h_{t-1} + z ⊙ n""",
    stages=(),
    input_blocks=("z", "n"),
    states=("h",),
    equations=equations,
)
