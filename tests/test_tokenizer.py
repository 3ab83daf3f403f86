import json
import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.errors import ModelError, PromptError
from charrnn.tokenizer import CharTokenizer

any_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(any_text)
@example("\x00\U0010ffff")
@example("e\u0301é\r\n\ufeff")
def test_any_text_comes_back(text: str) -> None:
    tokenizer = CharTokenizer.from_texts(text)
    ids = tokenizer.encode(text)
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text


@given(any_text, any_text)
def test_the_alphabet_is_every_code_point_of_all_texts_sorted(one: str, other: str) -> None:
    tokenizer = CharTokenizer.from_texts(one, other)
    assert list(tokenizer.symbols) == sorted(set(one + other))
    assert tokenizer.vocab_size == len(set(one + other))


@given(any_text)
def test_json_comes_back(text: str) -> None:
    tokenizer = CharTokenizer.from_texts(text)
    data = json.loads(json.dumps(tokenizer.to_json()))
    assert CharTokenizer.from_json(data, "here") == tokenizer


@given(any_text, any_text)
def test_unknown_symbols_and_only_they_are_refused(known: str, text: str) -> None:
    tokenizer = CharTokenizer.from_texts(known)
    unknown = set(text) - set(known)
    if not unknown:
        assert tokenizer.decode(tokenizer.encode(text)) == text
        return
    with pytest.raises(PromptError) as caught:
        tokenizer.encode(text)
    listed = {chr(int(code, 16)) for code in re.findall(r"\(U\+([0-9A-F]+)\)", str(caught.value))}
    assert listed <= unknown
    assert len(listed) == min(len(unknown), 8)


def test_ids_are_places_in_the_sorted_alphabet() -> None:
    tokenizer = CharTokenizer.from_texts("hello")
    assert tokenizer.symbols == "ehlo"
    assert tokenizer.encode("hello").tolist() == [1, 0, 2, 2, 3]


def test_an_empty_text_has_no_ids() -> None:
    assert CharTokenizer("ab").encode("").shape == (0,)
    assert CharTokenizer("ab").decode([]) == ""


def test_unknown_symbols_are_listed_once_each_with_code_points() -> None:
    with pytest.raises(PromptError) as caught:
        CharTokenizer("ab").encode("aXbéX😀")
    message = str(caught.value)
    assert "has never seen 'X' (U+0058), 'é' (U+00E9), '😀' (U+1F600): leave them out" in message
    assert "the 2 symbols it knows" in message


def test_one_unknown_symbol_is_it() -> None:
    with pytest.raises(PromptError, match=r"'c' \(U\+0063\): leave it out"):
        CharTokenizer("ab").encode("abcc")


def test_a_symbol_between_known_ones_is_unknown() -> None:
    with pytest.raises(PromptError, match=r"U\+0062"):
        CharTokenizer("ac").encode("abc")


def test_many_unknown_symbols_are_counted() -> None:
    with pytest.raises(PromptError, match=r"'8' \(U\+0038\) and 2 more: leave"):
        CharTokenizer("ab").encode("1234567890")


def test_a_lone_surrogate_is_an_unknown_symbol() -> None:
    with pytest.raises(PromptError, match=r"U\+DC80"):
        CharTokenizer("ab").encode("a\udc80")


def test_the_message_of_an_unknown_line_feed_is_one_line() -> None:
    with pytest.raises(PromptError, match=r"U\+000A") as caught:
        CharTokenizer("ab").encode("a\n")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("vocab_size", "id_type"),
    [
        (255, np.uint8),  # ids 0..254, and 255 for the start symbol
        (256, np.uint16),  # the start symbol, 256, does not fit in a byte
        (300, np.uint16),
        (65_535, np.uint16),
        (65_536, np.uint32),
        (70_000, np.uint32),
    ],
)
def test_ids_have_the_smallest_type_that_holds_the_start_symbol_too(
    vocab_size: int, id_type: type
) -> None:
    symbols = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x20000)][:vocab_size]))
    tokenizer = CharTokenizer(symbols)
    ids = tokenizer.encode(symbols)
    assert ids.dtype == id_type == tokenizer.id_type
    assert ids.tolist() == list(range(vocab_size))
    assert tokenizer.decode(ids) == symbols


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"kind": "char"},
        {"kind": "byte", "symbols": "ab"},
        {"kind": "char", "symbols": ""},
        {"kind": "char", "symbols": 3},
        {"kind": "char", "symbols": ["a", "b"]},
        {"kind": "char", "symbols": "ba"},
        {"kind": "char", "symbols": "aab"},
    ],
)
def test_damaged_json_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="here is damaged"):
        CharTokenizer.from_json(data, "here")
