"""`charrnn.decoding.choice` as compiled functions for the programs of `charrnn.inference`.

There are two: most texts are sampled with a temperature alone, and compiling all filters takes
some seconds.
"""

from __future__ import annotations

import functools
import types
from typing import Any

import numpy as np
from numba import carray  # type: ignore[attr-defined]
from numba.extending import register_jitable

from charrnn.compiler.scalar_math import pointer
from charrnn.decoding import choice, filters
from charrnn.decoding.choice import Batch, choose_token
from charrnn.decoding.constraints import Constraint
from charrnn.decoding.filters import FIELDS, SETTINGS, choose, choose_by_temperature
from charrnn.inference.instructions import CONTEXT, floats, function

_jitable: Any = register_jitable
for _module in (filters, choice):
    for _function in vars(_module).values():
        if isinstance(_function, types.FunctionType) and _function.__module__ == _module.__name__:
            _jitable(_function)

_ARRAYS = ("bias", "states", "bounds", "history", "used", "uniforms", "tokens", "log_probs")
# The arguments of a compiled function: a `Batch` and the logits, with the addresses of arrays and
# their sizes, where these do not follow from others. Every field has eight bytes.
ARGUMENTS = np.dtype(
    [
        ("settings", SETTINGS),
        *((name, np.int64) for name in ("left", *Constraint._fields, *_ARRAYS, "logits")),
        ("logits_stride", np.int64),  # bytes from one text's logits to the next one's
        *((name, np.int64) for name in ("vocab_size", "num_states", "bias_size", "history_size")),
    ]
)


def pack(batch: Batch, logits: int, stride: int, vocab_size: int) -> tuple[int, ...]:
    """Return `ARGUMENTS` as integers of eight bytes; the batch's arrays must outlive their use.

    Args:
        batch: what to choose; its arrays are contiguous.
        logits: the address of the first text's logits, in float32.
        stride: bytes from one text's logits to the next one's.
        vocab_size: V.
    """
    arguments = np.zeros(1, ARGUMENTS)
    record = arguments[0]
    for name in FIELDS:
        record["settings"][name] = getattr(batch.settings, name)
    record["logits"], record["logits_stride"], record["vocab_size"] = logits, stride, vocab_size
    record["bias_size"], record["num_states"] = len(batch.bias), len(batch.constraint.accepting)
    record["left"], record["history_size"] = batch.left, batch.history.shape[1]
    for name in Constraint._fields:
        record[name] = getattr(batch.constraint, name).ctypes.data
    for name in _ARRAYS:
        record[name] = getattr(batch, name).ctypes.data
    return tuple(arguments.view(np.int64).tolist())


@_jitable
def _choose_rows(context, arguments, choose):  # type: ignore[no-untyped-def]
    """Choose a token for each of this thread's texts, and write the ids to read next.

    Cached code calls functions by name, and the name of a compiled function includes those of
    functions among its arguments: so the code for different `choose` cannot be confused.
    """
    c, d = carray(context, (CONTEXT,), np.int64), carray(arguments, (1,), ARGUMENTS)[0]
    part, parts, batch_size, t = c[0], c[1], c[2], c[4]
    constraint = Constraint(
        carray(pointer(d.next), (d.num_states, d.vocab_size), np.int32),
        carray(pointer(d.distance), (d.num_states,), np.int32),
        carray(pointer(d.accepting), (d.num_states,), np.bool_),
        carray(pointer(d.ends), (d.vocab_size,), np.bool_),
    )
    batch = Batch(  # made here, as compiled functions cannot return a record
        d.settings,
        carray(pointer(d.bias), (d.bias_size,), np.float64),
        constraint,
        d.left,
        carray(pointer(d.states), (batch_size,), np.int64),
        carray(pointer(d.bounds), (batch_size,), np.float64),
        carray(pointer(d.history), (batch_size, d.history_size), np.int64),
        carray(pointer(d.used), (batch_size,), np.int64),
        carray(pointer(d.uniforms), (t + 1, batch_size), np.float64),
        carray(pointer(d.tokens), (t + 1, batch_size), np.int64),
        carray(pointer(d.log_probs), (t + 1, batch_size), np.float64),
    )
    ids = carray(pointer(c[3]), (batch_size,), np.int64)
    for b in range(part, batch_size, parts):
        logits = floats(d.logits + b * d.logits_stride, d.vocab_size)
        choose_token(batch, t, b, logits, choose)
        ids[b] = max(batch.tokens[t, b], 0)


@functools.cache
def by_temperature() -> int:
    """Return the address of the function for a temperature alone; the first call compiles it."""

    @function
    def choose_rows(context, arguments):  # type: ignore[no-untyped-def]
        _choose_rows(context, arguments, choose_by_temperature)

    return int(choose_rows.address)


@functools.cache
def by_filters() -> int:
    """Return the address of the function for all filters; the first call compiles it."""

    @function
    def choose_rows_by_filters(context, arguments):  # type: ignore[no-untyped-def]
        _choose_rows(context, arguments, choose)

    return int(choose_rows_by_filters.address)
