"""What the processor multiplies, and how matrices are padded for it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

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
