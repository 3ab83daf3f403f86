"""The loss of the next tokens and its derivatives in compiled code, in bfloat16 on the CPU.

`charrnn.compiler.cross_entropy` computes them; this makes the arrays that it reads.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from charrnn.compiler import processor
from charrnn.compiler.cache import CFunction
from charrnn.network import openmp, weight_gradients
from charrnn.network.panels import packed
from charrnn.text.streams import IGNORED

_COLUMNS = 6 * processor.WIDTH  # computed at a time, so that they stay in the fastest cache
_LINE = 64  # bytes of memory that are fetched together

# Not declared: a processor that does not multiply bfloat16 cannot compile them.
FUNCTIONS = {kind: CFunction("charrnn.compiler.cross_entropy", kind) for kind in ("tiles", "dots")}


def mean_nats(
    read: Tensor, targets: Tensor, weight: Tensor, bias: Tensor, at_once: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the mean loss and its derivatives by `read` (in its type), weight and bias.

    Neither the loss nor the derivative by `read` depends on the number of threads.

    Args:
        read: what the output map reads (R, Y), float32 or bfloat16.
        targets: the next tokens (R,); `IGNORED` where there is none.
        weight: the matrix of the output map (V, Y), float32.
        bias: its bias (V,), float32.
        at_once: about how many derivatives by logits may be in memory.
    """
    (rows, width), tokens, group = read.shape, len(bias), processor.ROW_GROUP
    kind = processor.product_kind(bf16=True)
    gradients = weight_gradients.of(kind)
    x, by_read = _readable(read, kind), torch.empty(rows, width, dtype=torch.bfloat16)
    step = min(rows, max(at_once // tokens // group, 1) * group)
    change = _with_room(step, processor.padded_depth(tokens, kind))
    targets, nats = targets.contiguous(), np.empty(rows, np.float32)
    count = int(np.count_nonzero(targets.numpy() != IGNORED))
    function = _Function(kind, weight, bias, count)
    by_weight, by_bias = None, None
    for first in range(0, rows, step):
        size = min(step, rows - first)
        function(
            size,
            _address(x, first),
            _address(targets, first),
            _address(change, 0),
            _address(by_read, first),
            nats[first:].ctypes.data,
        )
        found = gradients(change[:size, :tokens], x[first : first + size, :width])
        (part,) = found.weights
        by_weight = part if by_weight is None else by_weight.add_(part)
        by_bias = found.bias if by_bias is None else by_bias.add_(found.bias)
    assert by_weight is not None
    assert by_bias is not None
    # Torch's own sum of many numbers depends on the number of threads.
    total = float(nats.sum(dtype=np.float64))
    mean = bias.new_tensor(total / count if count else math.nan)
    return mean, by_read if read.dtype == by_read.dtype else by_read.float(), by_weight, by_bias


class _Function:
    """The compiled function, with the weights in the order in which it reads them.

    Few of its steps are torch's: each of them lets go of Python's lock, for which the networks of
    an ensemble wait.

    Args:
        kind: of the products.
        weight: as of `mean_nats`.
        bias: the same.
        count: the number of targets in the mean.
    """

    def __init__(self, kind: str, weight: Tensor, bias: Tensor, count: int) -> None:
        (tokens, width), threads = weight.shape, torch.get_num_threads()
        self._function = FUNCTIONS[kind]
        columns, across = (processor.padded_columns(size) for size in (tokens, width))
        depth, deep = (processor.padded_depth(size, kind) for size in (width, tokens))
        self._numbers = (0, threads, count)
        self._sizes = (tokens, width, columns, across, depth, deep, processor.ROW_GROUP, _COLUMNS)
        own, tiles = threads * processor.ROW_GROUP, processor.tiles_config(threads)
        space = np.empty(own * (columns + _COLUMNS) + _LINE // 4, np.float32)
        logits = -(-space.ctypes.data // _LINE) * _LINE
        start, zeros = np.full(columns, -np.inf, np.float32), np.zeros(_COLUMNS, np.float32)
        start[:tokens] = bias.detach().numpy()
        panels = packed(kind, weight, weight.T)
        self._places = (
            *(each.data_ptr() for each in panels),
            *(start.ctypes.data, zeros.ctypes.data),
            *(logits, logits + 4 * own * columns, tiles.ctypes.data),
        )
        self._alive = (panels, start, zeros, space, tiles)

    def __call__(self, rows: int, *addresses: int) -> None:
        """Compute some rows; the addresses are those of the table, from ``read`` to ``nats``."""
        table = (*self._numbers, rows, *self._sizes, *self._places, *addresses)
        data = np.array(table, np.int64)
        openmp.run(self._function.address, data.ctypes.data, self._numbers[1])


def _address(tensor: Tensor, row: int) -> int:
    """Return where a row of a tensor is in memory."""
    return tensor.data_ptr() + row * tensor.stride(0) * tensor.itemsize


def _readable(read: Tensor, kind: str) -> Tensor:
    """Return rows (R, K) as products read them: the same memory where that is possible."""
    rows, width = read.shape
    depth = processor.padded_depth(width, kind)
    whole = kind == "dots" or rows % processor.ROW_GROUP == 0
    if read.dtype == torch.bfloat16 and read.is_contiguous() and depth == width and whole:
        return read
    made = _with_room(rows, depth)
    made[:, width:] = 0
    made[:, :width] = read
    return made


def _with_room(rows: int, width: int) -> Tensor:
    """Return an empty array of bfloat16: tiles read a group of rows even where there are fewer."""
    return torch.empty(rows + processor.ROW_GROUP, width, dtype=torch.bfloat16)[:rows]
