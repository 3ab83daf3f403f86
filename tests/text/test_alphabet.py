from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from charrnn.config import TextOptions
from charrnn.text import alphabet, corpus, dataset
from charrnn.text.corpus import Corpus
from charrnn.text.dataset import Dataset
from charrnn.text.documents import Piece
from charrnn.text.tokenizer import CharTokenizer

COMMON = "abcdefgh\n"
RARE = "".join(map(chr, range(0x4E00, 0x4E00 + 257)))  # one more than there are bytes


def _make(text: str, valid: str | None = None, **options: Any) -> Dataset:
    options = {"valid_fraction": 0.0} | options
    other = None if valid is None else corpus.from_text(valid)
    return dataset.make(corpus.from_text(text), TextOptions(**options), other)


def _decoded(data: Dataset, part: str) -> str:
    return data.tokenizer.decode(getattr(data, part).tolist())


def test_characters_seen_fewer_than_100_times_are_bytes() -> None:
    text = COMMON * 150_000 + RARE * 99  # 1.8 % of it
    data = _make(text)
    assert data.tokenizer == CharTokenizer("\nabcdefgh", byte_fallback=True)
    assert data.rare_symbols == 257
    assert _decoded(data, "train") == text
    assert data.sizes["train"].characters == len(text)
    more = _make(text + RARE[:1])  # one is learned; as many bytes as others would not be fewer
    assert more.tokenizer == CharTokenizer("\nabcdefgh" + RARE)
    assert more.rare_symbols == 0


def test_in_a_short_text_bytes_are_for_the_rarest_characters() -> None:
    """All rare characters would be 63 % of the text, those seen twice or once 2 %."""
    seldom = "".join(map(chr, range(0x6000, 0x6000 + 150)))
    text = COMMON * 800 + RARE[:130] * 99 + RARE[130:] * 2 + seldom
    data = _make(text)
    assert data.tokenizer == CharTokenizer("\nabcdefgh" + RARE[:130], byte_fallback=True)
    assert data.rare_symbols == 127 + 150
    even = _make(COMMON * 20 + RARE * 3)  # no rare ones are few: all are tokens
    assert even.rare_symbols == 0


def test_a_given_min_count_stays_what_it_was() -> None:
    text = COMMON * 20 + RARE * 19
    assert _make(text, min_count=1).tokenizer == CharTokenizer("\nabcdefgh" + RARE)
    one = _make(COMMON * 20 + "éé", min_count=3)
    assert one.tokenizer == CharTokenizer("\nabcdefgh", byte_fallback=True)
    assert one.rare_symbols == 1


def test_characters_are_counted_in_the_part_to_train_on() -> None:
    """中 is frequent, but only in what is held out: at the end, or in a text of its own."""
    train, held_out = COMMON * 2000 + RARE, "中文" * 500
    at_the_end = _make(train + held_out, valid_fraction=len(held_out) / len(train + held_out))
    apart = _make(train, held_out)
    for data in (at_the_end, apart):
        assert data.tokenizer == CharTokenizer("\nabcdefgh", byte_fallback=True)
        assert data.rare_symbols == len({*RARE, *held_out})
        assert (_decoded(data, "train"), _decoded(data, "valid")) == (train, held_out)


def test_few_characters_are_not_counted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the dataset of a usual text is that of an older version, which counted none."""
    text = COMMON * 30 + RARE[:200]
    before = _make(text, min_count=1).folder

    def never(text: Corpus, held_out: Iterable[Piece]) -> Any:
        raise AssertionError("read a third time")

    monkeypatch.setattr(alphabet, "_in_training", never)
    assert _make(text).folder == before
    with pytest.raises(AssertionError):
        _make(text + RARE)


def test_a_dataset_knows_its_rare_symbols_when_it_is_loaded() -> None:
    made = _make(COMMON * 2000 + RARE)
    loaded = dataset.load(made.folder)
    assert loaded.rare_symbols == 257
    assert np.array_equal(loaded.train, made.train)
    assert dataset.load(_make(COMMON).folder).rare_symbols == 0
