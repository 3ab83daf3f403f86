"""Marks of tests that need what only some processors have."""

from __future__ import annotations

import pytest

from charrnn.compiler import processor

needs_pairs = pytest.mark.skipif(
    not processor.FEATURES.get("avx512bf16"), reason="needs AVX512-BF16"
)
needs_tiles = pytest.mark.skipif(not processor._tiles_allowed(), reason="needs AMX")
needs_bf16 = pytest.mark.skipif(
    not processor.multiplies_bfloat16(), reason="needs AVX512-BF16 or AMX"
)
