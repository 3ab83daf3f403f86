"""Functions for the loops of compiled windows: faster than those of `scalar_math`, less exact.

A window's loops over units become vectors, and nothing else has to compute the same bits. So a
quotient may be the processor's estimate, improved by one step of Newton's method, and the
processor rounds to bfloat16 where it can.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import carray, config, njit, types  # type: ignore[attr-defined]
from numba.extending import intrinsic

from charrnn.compiler import scalar_math
from charrnn.compiler.matmul_blocks import BFLOAT
from charrnn.compiler.processor import FEATURES
from charrnn.compiler.scalar_math import c, inlined, tanh_parts

__all__ = ["block", "over_units", "own_memory", "sigmoid", "tanh", "to_bf16", "use_wide_vectors"]

_intrinsic: Any = intrinsic
_ROUNDS = bool(FEATURES.get("avx512bf16"))  # those are also fast with vectors of 512 bits
# For a loop over units, whose arrays are its arguments; part of the function that calls it.
over_units: Any = njit(**{**scalar_math.OPTIONS, "cache": False}, forceinline=True)
_ESTIMATED = ("arcp", "contract", "ninf", "nsz", "reassoc")


@_intrinsic
def _quotient(typing_context, a, b):  # type: ignore[no-untyped-def]
    """Return a / b of finite numbers with a relative error of about 1e-7."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fdiv(*arguments, flags=_ESTIMATED)

    return types.float32(types.float32, types.float32), generate


@_intrinsic
def _rounded(typing_context, number):  # type: ignore[no-untyped-def]
    """Return the bits of the nearest bfloat16, and zero for numbers below 1.2e-38."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(builder.fptrunc(arguments[0], BFLOAT), ir.IntType(16))

    return types.uint16(types.float32), generate


@_intrinsic
def use_wide_vectors(typing_context):  # type: ignore[no-untyped-def]
    """Let LLVM use vectors of 512 bits in this function, where it prefers shorter ones."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if _ROUNDS:  # llvmlite's own `add` knows no attributes with values
            set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), generate


@_intrinsic
def own_memory(typing_context):  # type: ignore[no-untyped-def]
    """Tell LLVM that the arrays this function is called with do not overlap."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        for argument in builder.function.args:
            if isinstance(argument.type, ir.PointerType):
                argument.add_attribute("noalias")
        return context.get_dummy_value()

    return types.void(), generate


to_bf16: Any = _rounded if _ROUNDS else scalar_math.to_bf16
if getattr(config, "DISABLE_JIT", False):
    _quotient = lambda a, b: a / b  # noqa: E731
    use_wide_vectors = own_memory = lambda: None
    to_bf16 = scalar_math.to_bf16


@inlined
def block(array, first, second, number, count):  # type: ignore[no-untyped-def]
    """Return block `number`, of `count` values, of row (`first`, `second`) of an array.

    It is a slice without the checks of one.
    """
    row = first * array.shape[1] + second
    at = row * array.shape[2] + number * count
    address = array.ctypes.data + at * array.itemsize
    return carray(scalar_math.pointer(address), (count,), array.dtype)


@inlined
def tanh(x):  # type: ignore[no-untyped-def]
    """Return the hyperbolic tangent."""
    p, q = tanh_parts(x)
    return _quotient(p, q)


@inlined
def sigmoid(x):  # type: ignore[no-untyped-def]
    """Return the logistic function."""
    p, q = tanh_parts(c(0.5) * x)
    # Halved before it is divided: LLVM would turn half a quotient into an exact one.
    return _quotient(c(0.5) * p, q) + c(0.5)
