"""The choice of the next tokens as compiled functions; `charrnn.decoding.compiled` calls them."""

from __future__ import annotations

import types
from typing import Any

import numpy as np
from numba import carray  # type: ignore[attr-defined]
from numba.extending import register_jitable

from charrnn.compiler.cache import c_function
from charrnn.compiler.scalar_math import pointer
from charrnn.decoding import choice, filters
from charrnn.decoding.choice import Batch, choose_token
from charrnn.decoding.compiled import ARGUMENTS
from charrnn.decoding.constraints import Constraint
from charrnn.decoding.filters import choose, choose_by_temperature
from charrnn.inference.instructions import CONTEXT
from charrnn.inference.row_functions import floats

_function = c_function("void(voidptr, voidptr)")
_jitable: Any = register_jitable
for _module in (filters, choice):
    for _member in vars(_module).values():
        if isinstance(_member, types.FunctionType) and _member.__module__ == _module.__name__:
            _jitable(_member)


@_jitable
def _choose_rows(context, arguments, choose):  # type: ignore[no-untyped-def]
    """Choose a token for each of this thread's texts, and write the ids to read next.

    Cached code calls functions by name, and the name of a compiled function includes those of
    functions among its arguments: so the code for different `choose` cannot be confused.
    """
    c = carray(context, (CONTEXT,), np.int64)
    part, parts, t = c[0], c[1], c[4]
    ids = carray(pointer(c[3]), (c[2],), np.int64)
    for number in range(carray(arguments, (1,), ARGUMENTS)[0].batches):
        d = carray(arguments, (number + 1,), ARGUMENTS)[number]
        rows = d.rows
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
            carray(pointer(d.states), (rows,), np.int64),
            carray(pointer(d.bounds), (rows,), np.float64),
            carray(pointer(d.history), (rows, d.history_size), np.int64),
            carray(pointer(d.used), (rows,), np.int64),
            carray(pointer(d.uniforms), (t + 1, rows), np.float64),
            carray(pointer(d.tokens), (t + 1, rows), np.int64),
            carray(pointer(d.log_probs), (t + 1, rows), np.float64),
        )
        for b in range((part - d.first) % parts, rows, parts):
            logits = floats(d.logits + b * d.logits_stride, d.vocab_size)
            choose_token(batch, t, b, logits, choose)
            ids[d.first + b] = max(batch.tokens[t, b], 0)


@_function
def by_temperature(context, arguments):  # type: ignore[no-untyped-def]
    """Choose with a temperature alone."""
    _choose_rows(context, arguments, choose_by_temperature)


@_function
def by_filters(context, arguments):  # type: ignore[no-untyped-def]
    """Choose with all filters."""
    _choose_rows(context, arguments, choose)
