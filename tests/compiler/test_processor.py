"""What the processor multiplies, and how matrices are padded for it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from waiting import HANGS

from charrnn.compiler import processor
from charrnn.compiler.processor import DEPTH


def test_sizes_with_their_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "WIDTH", 8)
    assert [processor.padded_columns(width) for width in (1, 16, 17)] == [16, 16, 32]
    depths = {kind: [processor.padded_depth(size, kind) for size in (33, 64)] for kind in DEPTH}
    assert depths == {"float32": [33, 64], "dots": [34, 64], "tiles": [64, 64]}
    assert [processor.padded_rows(count) for count in (1, 32, 33)] == [32, 32, 64]


def test_the_kind_of_product_follows_from_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    assert processor.product_kind(bf16=False) == "float32"
    for tiles, pairs in ((True, True), (False, True), (True, False), (False, False)):
        monkeypatch.setattr(processor, "_tiles_allowed", lambda tiles=tiles: tiles)
        monkeypatch.setattr(processor, "FEATURES", {"avx512bf16": pairs})
        assert processor.multiplies_bfloat16() == (tiles or pairs)
        if tiles or pairs:
            assert processor.product_kind(bf16=True) == ("tiles" if tiles else "dots")


def test_tiles_are_requested_only_on_processors_that_have_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ask = processor._tiles_allowed.__wrapped__
    answers: list[int] = []
    system = SimpleNamespace(syscall=lambda *request: answers.pop())
    monkeypatch.setattr(processor.ctypes, "CDLL", lambda name: system)
    for features, platform_name, answer, allowed in (
        ({"amx-bf16": True}, "linux", 0, True),
        ({"amx-bf16": True}, "linux", -1, False),  # a system that does not let us
        ({"amx-bf16": True}, "darwin", None, False),
        ({"avx512bf16": True}, "linux", None, False),
    ):
        answers[:] = [] if answer is None else [answer]
        monkeypatch.setattr(processor, "FEATURES", features)
        monkeypatch.setattr(processor.sys, "platform", platform_name)
        assert ask() == allowed
        assert answers == []


ZEN = dict.fromkeys(("sse2", "fma", "avx2", "avx512f", "avx512bf16"), True)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, {"sse2", "fma", "avx2", "avx512f", "avx512bf16"}),
        ({"NUMBA_CPU_FEATURES": "-avx512bf16"}, {"sse2", "fma", "avx2", "avx512f"}),
        ({"NUMBA_CPU_FEATURES": "-avx512f,-amx-tile"}, {"sse2", "fma", "avx2"}),
        ({"NUMBA_CPU_NAME": "generic"}, {"sse2"}),
        (
            {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"},
            {"sse2", "avx2", "fma"},
        ),
    ],
)
def test_instructions_are_those_that_numba_is_told(
    variables: dict[str, str], expected: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(processor.llvm, "get_host_cpu_features", lambda: ZEN)
    assert {name for name, able in processor._features().items() if able} == expected


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="tells an x86 processor")
@pytest.mark.parametrize(
    ("variables", "width"),
    [
        ({"NUMBA_CPU_FEATURES": "-avx512f,-amx-tile"}, 8),
        # Products of this width are compiled in test_matmul.py, too; all else takes ten seconds.
        pytest.param({"NUMBA_CPU_NAME": "generic"}, 4, marks=pytest.mark.soak),
    ],
)
def test_code_for_older_processors_computes_the_same(variables: dict[str, str], width: int) -> None:
    """Those of this one are compared in tests/network/test_fused.py, for each kind of product."""
    if width == 8 and not processor.FEATURES.get("avx2"):
        pytest.skip("needs AVX2")
    script = Path(__file__).with_name("masked.py")
    done = subprocess.run(
        [sys.executable, script],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | variables,
        capture_output=True,
        text=True,
        timeout=HANGS,
    )
    assert not done.returncode, done.stderr
    found = json.loads(done.stdout)
    errors = [found.pop(name) for name in ("gradients", "bf16 gradients", "logits")]
    assert found == {
        "width": width,
        "bf16": False,
        "lstm": "fused float32",
        "elman": "fused float32",
    }
    assert max(errors) < 1e-5
