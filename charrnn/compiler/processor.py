"""What the processor multiplies, and how matrices are laid out for it.

There are three kinds of products (`charrnn.compiler.matmul`); the processor decides:

    float32  vectors of W floats; packed (N/W, K, W)
    dots     pairs of bfloat16, multiplied and added at once (AVX512-BF16); packed (N/W, K/2, W, 2)
    tiles    bfloat16 tiles of 16 x 32 times 32 x 16 (AMX); packed as for dots

N is padded with zeros to a multiple of 2 W and K to a multiple of `DEPTH`. Tiles read and write
rows in groups of `ROW_GROUP`: buffers have space for the last group.

To try the code of another processor, set the variables with which numba is told what to compile
for: ``NUMBA_CPU_FEATURES=-avx512f,-amx-tile`` for AVX2, ``-avx512bf16,-amx-tile`` for AVX-512 in
float32, ``+avx512bf16,-amx-tile`` for pairs, and ``NUMBA_CPU_NAME=generic`` for vectors of four
numbers.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from typing import Any

import llvmlite.binding as llvm  # type: ignore[import-untyped]
import numpy as np

# What numba is told to leave out or to add, and what goes with it. LLVM knows the same relations.
_REQUIRED = {"avx512bf16": "avx512f", "amx-bf16": "amx-tile"}


def _features() -> dict[str, bool]:
    """Return the instructions to compile for: this processor's, or those that numba is told."""
    found = dict(llvm.get_host_cpu_features())
    if "NUMBA_CPU_NAME" in os.environ:  # of which only the least is known
        found = {name: found.get(name, False) for name in ("sse2",)}
    for feature in os.environ.get("NUMBA_CPU_FEATURES", "").split(","):
        found[feature[1:]] = feature[:1] == "+"
    for name, required in _REQUIRED.items():
        found[name] = bool(found.get(name) and found.get(required))
    return found


FEATURES = _features()
WIDTH = 16 if FEATURES.get("avx512f") else 8 if FEATURES.get("avx2") else 4  # W
ROW_GROUP = 32
# Of products over rows (`charrnn.compiler.row_products`): the columns of a group, the rows of which
# pairs are made at once, and the bytes of space for that.
COLUMN_GROUP = {"dots": 8, "tiles": 16}
PAIRED = 32
SPARE = 2 * PAIRED * WIDTH
DEPTH = {"float32": 1, "dots": 2, "tiles": 32}
TILES_CONFIG = 64  # bytes


def is_x86() -> bool:
    """Return whether this is a processor of Intel's and AMD's kind."""
    return bool(FEATURES.get("sse2"))


def product_kind(bf16: bool) -> str:
    """Return the kind of product that this processor makes, in bfloat16 (`bf16`) or float32."""
    if not bf16:
        return "float32"
    return "tiles" if _tiles_allowed() else "dots"


def multiplies_bfloat16() -> bool:
    """Return whether this processor multiplies bfloat16 itself; emulating it is slow."""
    return _tiles_allowed() or bool(FEATURES.get("avx512bf16"))


@functools.cache
def _tiles_allowed() -> bool:
    """Ask the system for tiles; return whether the processor has them and they are allowed."""
    if not (FEATURES.get("amx-bf16") and sys.platform == "linux"):
        return False
    ask, permission, tile_data = 158, 0x1023, 18  # arch_prctl(ARCH_REQ_XCOMP_PERM, ...)
    return bool(ctypes.CDLL(None).syscall(ask, permission, tile_data) == 0)


def padded_columns(width: int) -> int:
    """Return N with its padding."""
    return -(-width // (2 * WIDTH)) * 2 * WIDTH


def padded_depth(size: int, kind: str) -> int:
    """Return K with its padding."""
    return -(-size // DEPTH[kind]) * DEPTH[kind]


def padded_rows(count: int) -> int:
    """Return M with its padding."""
    return -(-count // ROW_GROUP) * ROW_GROUP


def tiles_config(parts: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return configurations (parts, 2, 64): one to load, and space for the one before.

    Each has eight tiles of 16 rows of 64 bytes.
    """
    config = np.zeros((parts, 2, TILES_CONFIG), np.uint8)
    config[:, 0, 0] = 1
    config[:, 0, 16:32:2] = 64
    config[:, 0, 48:56] = 16
    return config
