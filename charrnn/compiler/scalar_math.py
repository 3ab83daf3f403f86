"""The nonlinear functions and the bfloat16 of compiled code, on single numbers.

tanh is a quotient of two polynomials, exact to some 3e-7: unlike the C library's functions it
vectorises. The coefficients are those of Eigen's float32 tanh.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import config, njit, types
from numba.extending import intrinsic

# Rearranging sums and fusing products is allowed; assuming that nothing is infinite or not a
# number is not: what goes wrong must stay visible.
OPTIONS: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    "error_model": "numpy",
    "fastmath": {"contract", "reassoc", "nsz"},
}
# What calls such a function is kept, with it inside.
inside: Any = njit(**{**OPTIONS, "cache": False})
_intrinsic: Any = intrinsic
_inlined: Any = njit(inline="always", fastmath=OPTIONS["fastmath"], error_model="numpy")
c = np.float32


def _float_of_bits(typing_context: Any, bits: Any) -> Any:
    """The float32 with these bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.float32))

    return types.float32(types.uint32), generate


def _bits_of_float(typing_context: Any, number: Any) -> Any:
    """The bits of a float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.uint32))

    return types.uint32(types.float32), generate


_as_float: Any = intrinsic(_float_of_bits)
_as_bits: Any = intrinsic(_bits_of_float)
if getattr(
    config, "DISABLE_JIT", False
):  # numba's switch for looking at compiled code as plain Python
    _as_float = lambda bits: np.uint32(bits).view(np.float32)  # noqa: E731
    _as_bits = lambda number: np.float32(number).view(np.uint32)  # noqa: E731


@_intrinsic
def pointer(typing_context, address):  # type: ignore[no-untyped-def]
    """An address as a pointer to anything."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.intp), generate


@_intrinsic
def take(typing_context, address):  # type: ignore[no-untyped-def]
    """Add one to the integer at an address, undivided among threads; what it was before."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = context.get_value_type(types.intp)
        place = builder.inttoptr(arguments[0], number.as_pointer())
        return builder.atomic_rmw("add", place, number(1), "monotonic")

    return types.intp(types.intp), generate


@_inlined
def same(x):  # type: ignore[no-untyped-def]
    """A number as it is, where another might be converted."""
    return x


@_inlined
def from_bf16(bits):  # type: ignore[no-untyped-def]
    """The float32 of a bfloat16's 16 bits."""
    return _as_float(np.uint32(bits) << np.uint32(16))


@_inlined
def to_bf16(x):  # type: ignore[no-untyped-def]
    """The 16 bits of the nearest bfloat16, the even one of two equally near."""
    bits = _as_bits(x)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    # Rounding must not carry a not-a-number's bits over into a number's.
    return np.uint16((bits if x != x else rounded) >> np.uint32(16))


@_inlined
def tanh(x):  # type: ignore[no-untyped-def]
    """Hyperbolic tangent; beyond 9 it is 1 in float32."""
    x = c(9) if x > c(9) else x
    x = c(-9) if x < c(-9) else x
    s = x * x
    p = c(-2.76076847742355e-16)
    p = p * s + c(2.00018790482477e-13)
    p = p * s + c(-8.60467152213735e-11)
    p = p * s + c(5.12229709037114e-08)
    p = p * s + c(1.48572235717979e-05)
    p = p * s + c(6.37261928875436e-04)
    p = p * s + c(4.89352455891786e-03)
    q = c(1.19825839466702e-06)
    q = q * s + c(1.18534705686654e-04)
    q = q * s + c(2.26843463243900e-03)
    q = q * s + c(4.89352518554385e-03)
    return x * p / q


@_inlined
def sigmoid(x):  # type: ignore[no-untyped-def]
    """Logistic function."""
    return c(0.5) * tanh(c(0.5) * x) + c(0.5)


@_inlined
def relu(x):  # type: ignore[no-untyped-def]
    """The positive part; not-a-number stays so."""
    return c(0) if x < c(0) else x


@_inlined
def positive(x):  # type: ignore[no-untyped-def]
    """1 above zero, else 0: the derivative of `relu`, from its result."""
    return c(1) if x > c(0) else c(0)


@_inlined
def exp(x):  # type: ignore[no-untyped-def]
    """Exponential function, exact to some 1e-7 of its value; below -87 it is 1e-38.

    2^n times a polynomial for what is left (the coefficients are those of Cephes' expf).
    """
    x = c(88) if x > c(88) else x
    x = c(-87) if x < c(-87) else x
    n = np.floor(c(1.44269504088896341) * x + c(0.5))
    r = x - n * c(0.693359375) - n * c(-2.12194440e-4)
    p = c(1.9875691500e-4)
    p = p * r + c(1.3981999507e-3)
    p = p * r + c(8.3334519073e-3)
    p = p * r + c(4.1665795894e-2)
    p = p * r + c(1.6666665459e-1)
    p = p * r + c(5.0000001201e-1)
    power = _as_float(np.uint32((np.int32(n) + np.int32(127)) << np.int32(23)))
    # Where x is not a number, neither is p, whatever the power.
    return (p * r * r + r + c(1)) * power
