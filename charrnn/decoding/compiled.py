"""The choice of a symbol as compiled code, for the programs of `charrnn.inference`.

The lines are those of `charrnn.decoding.filters`; what stands here hands them each row's arrays.
Two functions: most texts are written with a temperature alone, and all filters take some seconds
to compile.
"""

from __future__ import annotations

import functools
import types
from typing import Any

import numpy as np
from numba import carray, njit  # type: ignore[attr-defined]
from numba.extending import register_jitable

from charrnn.compiler.scalar_math import OPTIONS, pointer
from charrnn.decoding import filters
from charrnn.decoding.constraints import ENDED
from charrnn.decoding.filters import Filters, choose, choose_by_temperature
from charrnn.decoding.sampler import OVER
from charrnn.inference.instructions import CONTEXT, floats, function

for _function in vars(filters).values():
    if isinstance(_function, types.FunctionType) and _function.__module__ == filters.__name__:
        register_jitable(_function)

SIZES = 21  # integers of the arguments, see `choosing.Chooser.compiled`
_inside: Any = njit(**{**OPTIONS, "cache": False, "fastmath": False})


@_inside
def _flags(address, count):  # type: ignore[no-untyped-def]
    return carray(pointer(address), (count,), np.bool_)


@_inside
def _integers(address, count):  # type: ignore[no-untyped-def]
    return carray(pointer(address), (count,), np.int64)


@_inside
def _numbers(address, count):  # type: ignore[no-untyped-def]
    return carray(pointer(address), (count,), np.float64)


@_inside
def _permit(d, place, left, allowed):  # type: ignore[no-untyped-def]
    """Which symbols may be written and, as the result, chosen: see `Constraint.choices`."""
    symbols, states = d[2], d[14]
    after = carray(pointer(d[13] + 4 * place * symbols), (symbols,), np.int32)
    distance = carray(pointer(d[15]), (states,), np.int32)
    some = False
    for v in range(symbols):
        allowed[v] = after[v] >= 0 and distance[after[v]] <= left - 1
        some = some or allowed[v]
    choices = allowed.copy()
    if some and _flags(d[16], states)[place]:
        choices |= _flags(d[17], symbols)
    return choices


@_inside
def _ending(logits, allowed, ends):  # type: ignore[no-untyped-def]
    """The log-probability of all symbols that end the text: see `Constraint.ending`."""
    shifted = logits.astype(np.float64) - np.float64(logits.max())
    powers = np.exp(shifted)
    total = 0.0
    for v in range(len(logits)):
        if ends[v] and not allowed[v]:
            total += powers[v]
    return min(np.log(total / powers.sum()), 0.0)


def _rows(pick: Any) -> Any:
    """One step of each of this thread's rows; `pick` chooses among what is allowed."""

    def rows(context, arguments):  # type: ignore[no-untyped-def]
        c, d = carray(context, (CONTEXT,), np.int64), carray(arguments, (SIZES,), np.int64)
        batch, t = c[2], c[4]
        symbols, left = d[2], d[19] - t
        ids, written = _integers(c[3], batch), _integers(d[4] + 8 * t * batch, batch)
        points = _numbers(d[3] + 8 * t * batch, batch)
        log_probs = _numbers(d[5] + 8 * t * batch, batch)
        places, used = _integers(d[18], batch), _integers(d[9], batch)
        bounds = _numbers(d[20], batch)
        nothing = np.zeros(0, np.bool_)
        allowed = np.zeros(symbols, np.bool_)
        for b in range(c[0], batch, c[1]):
            ids[b], written[b], log_probs[b] = 0, OVER, 0.0
            if places[b] < 0:
                continue
            choices = nothing
            if d[12]:
                choices = _permit(d, places[b], left, allowed)
                if not choices.any():
                    written[b], places[b] = ENDED, -1
                    continue
            logits = floats(d[0] + b * d[1], symbols)
            history = _integers(d[7] + 8 * b * d[8], used[b])
            symbol, log_prob, bounds[b] = pick(d, logits, history, choices, points[b], bounds[b])
            if d[12]:
                if not allowed[symbol]:
                    log_probs[b] = _ending(logits, allowed, _flags(d[17], symbols))
                    written[b], places[b] = ENDED, -1
                    continue
                after = carray(pointer(d[13] + 4 * places[b] * symbols), (symbols,), np.int32)
                places[b] = after[symbol]
            ids[b], written[b], log_probs[b] = symbol, symbol, log_prob
            if d[8]:
                _integers(d[7] + 8 * b * d[8], d[8])[used[b]] = symbol
                used[b] += 1

    # Cached code calls functions by name. With the same name for both, a process that loads both
    # from the cache could run one in place of the other.
    rows.__qualname__ = f"rows{pick.py_func.__name__}"
    return _inside(rows)


@_inside
def _by_temperature(d, logits, history, choices, point, bound):  # type: ignore[no-untyped-def]
    symbol, log_prob = choose_by_temperature(logits, _numbers(d[6], 1)[0], choices, point)
    return symbol, log_prob, bound


@_inside
def _by_all(d, logits, history, choices, point, bound):  # type: ignore[no-untyped-def]
    f = _numbers(d[6], 14)
    k, n, size = int(f[1]), int(f[12]), int(f[13])
    some = Filters(f[0], k, f[2], f[3], f[4], f[5], f[6], f[7], f[8], f[9], f[10], f[11], n, size)
    return choose(logits, some, history, _numbers(d[10], d[11]), choices, point, bound)


_rows_by_temperature, _rows_by_all = _rows(_by_temperature), _rows(_by_all)


@functools.cache
def by_temperature() -> int:
    """The address of the function for a temperature alone, compiled when first asked for."""

    @function
    def choose_rows(context, arguments):  # type: ignore[no-untyped-def]
        _rows_by_temperature(context, arguments)

    return int(choose_rows.address)


@functools.cache
def by_all() -> int:
    """The address of the function for all filters."""

    @function
    def choose_rows_by_all(context, arguments):  # type: ignore[no-untyped-def]
        _rows_by_all(context, arguments)

    return int(choose_rows_by_all.address)
