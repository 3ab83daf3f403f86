"""Nonlinear functions and bfloat16 for compiled code, on single numbers.

tanh is a quotient of two polynomials, exact to about 3e-7: unlike the C library's function, it
vectorizes. The coefficients are those of Eigen's float32 tanh.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import config, njit, types
from numba.extending import intrinsic

# The compiler may reorder sums and fuse products, but must not assume that values are finite:
# infinity and not-a-number must stay visible.
OPTIONS: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    "error_model": "numpy",
    "fastmath": {"contract", "reassoc", "nsz"},
}
# Without that freedom, two functions that do the same arithmetic get the same bits.
EXACT = {**OPTIONS, "fastmath": False}
# For functions that compiled code calls: the caller is cached, and contains them.
inside: Any = njit(**{**OPTIONS, "cache": False})
# For functions that Python never calls: they compile sooner without an entry for it.
_NO_ENTRY = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
inner: Any = njit(**{**OPTIONS, "cache": False, **_NO_ENTRY})
exact: Any = njit(**{**EXACT, "cache": False, **_NO_ENTRY})
_intrinsic: Any = intrinsic
inlined: Any = njit(inline="always", fastmath=OPTIONS["fastmath"], error_model="numpy")
c = np.float32


def _float_of_bits(typing_context: Any, bits: Any) -> Any:
    """Return the float32 with these bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.float32))

    return types.float32(types.uint32), generate


def _bits_of_float(typing_context: Any, number: Any) -> Any:
    """Return the bits of a float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.uint32))

    return types.uint32(types.float32), generate


_as_float: Any = intrinsic(_float_of_bits)
_as_bits: Any = intrinsic(_bits_of_float)
if getattr(config, "DISABLE_JIT", False):  # numba's switch to run compiled code as plain Python
    _as_float = lambda bits: np.uint32(bits).view(np.float32)  # noqa: E731
    _as_bits = lambda number: np.float32(number).view(np.uint32)  # noqa: E731


@_intrinsic
def pointer(typing_context, address):  # type: ignore[no-untyped-def]
    """Convert an address to a pointer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.intp), generate


@_intrinsic
def take(typing_context, address):  # type: ignore[no-untyped-def]
    """Add one to the integer at an address, atomically; return its old value."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = context.get_value_type(types.intp)
        number_at = builder.inttoptr(arguments[0], number.as_pointer())
        return builder.atomic_rmw("add", number_at, number(1), "monotonic")

    return types.intp(types.intp), generate


@inlined
def same(x):  # type: ignore[no-untyped-def]
    """Return a number unchanged, in place of a conversion."""
    return x


@inlined
def from_bf16(bits):  # type: ignore[no-untyped-def]
    """Return the float32 of a bfloat16's 16 bits."""
    return _as_float(np.uint32(bits) << np.uint32(16))


@inlined
def to_bf16(x):  # type: ignore[no-untyped-def]
    """Return the 16 bits of the nearest bfloat16; ties go to the even one."""
    bits = _as_bits(x)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    # Rounding must not turn not-a-number into a number.
    return np.uint16((bits if x != x else rounded) >> np.uint32(16))


@inlined
def to_order(x):  # type: ignore[no-untyped-def]
    """Return an integer that is larger for a larger number; a search for the largest vectorizes."""
    bits = _as_bits(x)
    return np.uint32(bits ^ (np.uint32(0xFFFFFFFF) if bits >> 31 else np.uint32(0x80000000)))


@inlined
def from_order(order):  # type: ignore[no-untyped-def]
    """Return the number of which `to_order` makes an integer."""
    flip = np.uint32(0x80000000) if order >> 31 else np.uint32(0xFFFFFFFF)
    return _as_float(np.uint32(order ^ flip))


@inlined
def tanh_parts(x):  # type: ignore[no-untyped-def]
    """Return p and q, whose quotient is the hyperbolic tangent; beyond 9 it is 1 in float32."""
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
    return x * p, q


@inlined
def tanh(x):  # type: ignore[no-untyped-def]
    """Return the hyperbolic tangent."""
    p, q = tanh_parts(x)
    return p / q


@inlined
def sigmoid(x):  # type: ignore[no-untyped-def]
    """Return the logistic function."""
    return c(0.5) * tanh(c(0.5) * x) + c(0.5)


@inlined
def relu(x):  # type: ignore[no-untyped-def]
    """Return the positive part; not-a-number stays not-a-number."""
    return c(0) if x < c(0) else x


@inlined
def positive(x):  # type: ignore[no-untyped-def]
    """Return the derivative of `relu` from its result: 1 above zero, otherwise 0."""
    return c(1) if x > c(0) else c(0)


@inlined
def _exp_near(x, n):  # type: ignore[no-untyped-def]
    """Return e^x as 2^n times a polynomial of the rest, with the coefficients of Cephes' expf."""
    r = x - n * c(0.693359375) - n * c(-2.12194440e-4)
    p = c(1.9875691500e-4)
    p = p * r + c(1.3981999507e-3)
    p = p * r + c(8.3334519073e-3)
    p = p * r + c(4.1665795894e-2)
    p = p * r + c(1.6666665459e-1)
    p = p * r + c(5.0000001201e-1)
    power = _as_float(np.uint32((np.int32(n) + np.int32(127)) << np.int32(23)))
    # If x is not a number, neither is p, whatever the power.
    return (p * r * r + r + c(1)) * power


@inlined
def exp(x):  # type: ignore[no-untyped-def]
    """Return e^x with a relative error of about 1e-7; below -87 it is 1e-38."""
    x = c(88) if x > c(88) else x
    x = c(-87) if x < c(-87) else x
    return _exp_near(x, np.floor(c(1.44269504088896341) * x + c(0.5)))


@inlined
def exponential(x):  # type: ignore[no-untyped-def]
    """Return e^x as an equation means it: infinite above 88.72, and 0 below -87.33."""
    y = c(88.72283) if x > c(88.72283) else x
    y = c(-87.33654) if y < c(-87.33654) else y
    n = np.floor(c(1.44269504088896341) * y + c(0.5))
    found = _exp_near(y, c(127) if n > c(127) else n)
    found = c(np.inf) if x > c(88.72283) else found
    return c(0) if x < c(-87.33654) else found


@inlined
def maximum(a, b):  # type: ignore[no-untyped-def]
    """Return the larger of two numbers; not-a-number if one of them is."""
    return a if (a > b or a != a) else b


@inlined
def larger(a, b):  # type: ignore[no-untyped-def]
    """Return the derivative of `maximum` by its first argument: 1, 0, or 1/2 if both are equal."""
    return c(1) if a > b else (c(0.5) if a == b else c(0))


@inlined
def sign(x):  # type: ignore[no-untyped-def]
    """Return the derivative of the absolute value: 1, -1, or 0 at 0."""
    return c(1) if x > c(0) else (c(-1) if x < c(0) else c(0))
