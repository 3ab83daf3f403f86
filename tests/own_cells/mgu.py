from charrnn.cells import Cell


def equations(sigmoid, tanh):  # the functions that the equation uses
    def unit(x, W, state):  # x[0] and x[1] are the blocks of W_x x + b
        (h,) = state
        f_h, n_h = W(h)  # a product with the recurrent matrix, one result per block
        f = sigmoid(x[0] + f_h)
        return ((1 - f) * h + f * tanh(x[1] + n_h),)  # the new state; its first part is the output

    return unit


CELL = Cell(
    name="mgu",
    title="minimal gated unit",
    equation="h_t = (1 - f) h_{t-1} + f tanh(W_x x_t + W_h h_{t-1} + b), with f = σ(the same)",
    stages=(("f", "n"),),  # the blocks that each product returns
    states=("h",),
    equations=equations,
)
