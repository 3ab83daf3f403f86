from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn import corpus, dataset
from charrnn.corpus import Corpus
from charrnn.errors import CorpusError


def _corpus(text: str, name: str = "text") -> Corpus:
    return Corpus(name, text, len(text.encode()), f"hash of {name}")


def test_the_last_part_is_held_out() -> None:
    data = dataset.make(_corpus("aaaaaaaabé"), 0.2)
    decode = data.tokenizer.decode
    assert (decode(data.train), decode(data.valid)) == ("aaaaaaaa", "bé")
    assert data.valid_bytes == 3
    assert data.sha256 == {"corpus": "hash of text"}


def test_the_alphabet_has_the_symbols_of_both_parts() -> None:
    assert dataset.make(_corpus("aabb" + "z"), 0.2).tokenizer.symbols == "abz"


def test_a_validation_text_of_its_own_leaves_the_corpus_whole() -> None:
    data = dataset.make(_corpus("abab"), 0.5, _corpus("czé", "valid"))
    assert data.tokenizer.symbols == "abczé"
    assert data.tokenizer.decode(data.train) == "abab"
    assert data.tokenizer.decode(data.valid) == "czé"
    assert data.valid_bytes == 4
    assert data.sha256 == {"corpus": "hash of text", "valid": "hash of valid"}


def test_nothing_is_held_out_of_nothing_asked() -> None:
    data = dataset.make(_corpus("abc"), 0.0)
    assert (len(data.train), len(data.valid), data.valid_bytes) == (3, 0, 0)


@given(st.integers(1, 10**7), st.floats(0.0, 0.9))
def test_the_split_is_inside_the_text_and_where_it_was_asked(length: int, part: float) -> None:
    cut = dataset.split_position(length, part)
    assert 0 <= cut <= length
    assert (cut == length) == (part == 0)  # a character at least is held out if any is asked
    assert abs(cut - length * (1 - part)) <= 1


@pytest.mark.parametrize(
    ("text", "fraction", "left"), [("a", 0.0, 1), ("ab", 0.1, 1), ("a", 0.1, 0), ("abc", 0.9, 0)]
)
def test_a_text_that_leaves_too_little_is_refused(text: str, fraction: float, left: int) -> None:
    with pytest.raises(CorpusError, match=rf"text leaves {left} character.*at least 2"):
        dataset.make(_corpus(text), fraction)


def test_the_line_feed_has_an_id_where_there_is_one() -> None:
    assert dataset.make(_corpus("a\tb\n"), 0.0).newline == 1  # sorted: tab, line feed, a, b
    assert dataset.make(_corpus("ab"), 0.0).newline is None


def test_tiny_shakespeare_is_split_as_everybody_splits_it(corpora_folder: Path) -> None:
    text = corpus.read([corpora_folder / "tinyshakespeare.txt"])
    data = dataset.make(text, 0.1)
    # nanoGPT's prepare.py prints: vocab size 65, train has 1,003,854 tokens, val has 111,540
    assert (data.tokenizer.vocab_size, len(data.train), len(data.valid)) == (65, 1003854, 111540)
    assert data.train.dtype == np.uint8
