"""`charrnn.decoding.choice` as compiled functions for the programs of `charrnn.inference`.

There are two: most texts are sampled with a temperature alone, and compiling all filters takes
some seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from charrnn.compiler.cache import CFunction
from charrnn.decoding.choice import Batch
from charrnn.decoding.constraints import Constraint
from charrnn.decoding.filters import FIELDS, SETTINGS

# Not declared, as these two take seconds to compile: whoever writes compiles the one that is used.
by_temperature = CFunction("charrnn.decoding.choice_rows", "by_temperature")
by_filters = CFunction("charrnn.decoding.choice_rows", "by_filters")

_ARRAYS = ("bias", "states", "bounds", "history", "used", "uniforms", "tokens", "log_probs")
# The arguments of a compiled function, a record for each batch of texts that are written side by
# side: the `Batch` and its logits, with the addresses of arrays and their sizes, where these do not
# follow from others. Every field has eight bytes.
ARGUMENTS = np.dtype(
    [
        ("settings", SETTINGS),
        *((name, np.int64) for name in ("left", *Constraint._fields, *_ARRAYS, "logits")),
        ("logits_stride", np.int64),  # bytes from one text's logits to the next one's
        *((name, np.int64) for name in ("vocab_size", "num_states", "bias_size", "history_size")),
        # How many records there are; where the batch's texts begin among all, and how many it has.
        *((name, np.int64) for name in ("batches", "first", "rows")),
    ]
)


def pack(batches: Sequence[Batch], logits: int, stride: int, vocab_size: int) -> tuple[int, ...]:
    """Return `ARGUMENTS` as integers of eight bytes; the batches' arrays must outlive their use.

    Args:
        batches: what to choose, for texts that follow one another; their arrays are contiguous.
        logits: the address of the first text's logits, in float32.
        stride: bytes from one text's logits to the next one's.
        vocab_size: V.
    """
    arguments = np.zeros(len(batches), ARGUMENTS)
    rows = np.array([len(batch.states) for batch in batches])
    first = np.cumsum(rows) - rows
    # Columns, not records: setting a field of a record takes as long as setting a column.
    for name in FIELDS:
        arguments["settings"][name] = [getattr(batch.settings, name) for batch in batches]
    for name in Constraint._fields:
        arguments[name] = [getattr(batch.constraint, name).ctypes.data for batch in batches]
    for name in _ARRAYS:
        arguments[name] = [getattr(batch, name).ctypes.data for batch in batches]
    arguments["logits"], arguments["logits_stride"] = logits + first * stride, stride
    arguments["vocab_size"] = vocab_size
    arguments["bias_size"] = [len(batch.bias) for batch in batches]
    arguments["num_states"] = [len(batch.constraint.accepting) for batch in batches]
    arguments["left"] = [batch.left for batch in batches]
    arguments["history_size"] = [batch.history.shape[1] for batch in batches]
    arguments["batches"], arguments["first"], arguments["rows"] = len(batches), first, rows
    return tuple(arguments.view(np.int64).tolist())
