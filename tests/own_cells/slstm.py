"""A cell outside the package with exponential gates and a stabilizer (Beck et al. 2024)."""

from charrnn.cells import Cell


def equations(sigmoid, tanh, exp, max):
    """Return the unit; the stabilizer m keeps both exponents at 0 or below."""

    def unit(x, W, state):
        h, c, n, m = state
        r = W(h)
        i, f = x[0] + r[0], x[1] + r[1] + m
        new_m = max(f, i)
        i, f = exp(i - new_m), exp(f - new_m)
        c = f * c + i * tanh(x[2] + r[2])
        n = f * n + i
        return sigmoid(x[3] + r[3]) * c / max(abs(n), 1), c, n, new_m

    return unit


CELL = Cell(
    name="slstm",
    title="long short-term memory with exponential gates",
    equation="""\
i, f, g, o = W_x x_t + W_h h_{t-1} + b
m_t = max(f + m_{t-1}, i)
c_t = exp(f + m_{t-1} - m_t) ⊙ c_{t-1} + exp(i - m_t) ⊙ tanh(g)
n_t = exp(f + m_{t-1} - m_t) ⊙ n_{t-1} + exp(i - m_t)
h_t = σ(o) ⊙ c_t / max(|n_t|, 1)""",
    stages=(("i", "f", "g", "o"),),
    states=("h", "c", "n", "m"),
    equations=equations,
)
