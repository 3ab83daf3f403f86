import csv
import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from charrnn.cli.display.surprisal_tables import csv_table
from charrnn.scoring import Surprisals
from charrnn.scoring.results import Surprise, maximal_sums
from charrnn.text.tokenizer import ByteTokenizer, CharTokenizer, Tokenizer, train_pieces


def surprise(text: str, tokenizer: Tokenizer, count: int = 2) -> tuple[Surprise, Surprisals]:
    """Return a text whose token i has i + 1 nats; the likeliest tokens there are i and i + 1."""
    ids = tokenizer.encode(text)
    places = np.arange(len(ids))
    likeliest = (places[:, None] + np.arange(count)).astype(np.int32)
    found = Surprisals(ids, places + 1.0, likeliest, likeliest.astype(np.float32))
    return Surprise.of("text", found, tokenizer), found


def recursive(values: NDArray[np.float64], first: int = 0) -> list[tuple[int, int]]:
    """Return the part with the largest sum between those found to the left and right of it."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    best = max(
        ((sums[b] - sums[a], a, b) for a in range(len(values)) for b in range(a + 1, len(sums))),
        default=(0.0, 0, 0),
    )
    if best[0] <= 0:
        return []
    _, a, b = best
    return [
        *recursive(values[:a], first),
        (first + a, first + b),
        *recursive(values[b:], first + b),
    ]


@given(st.lists(st.integers(-3, 3), max_size=24), st.randoms(use_true_random=False))
def test_maximal_sums_match_a_recursive_search(numbers: list[int], chance: object) -> None:
    rng = np.random.default_rng(len(numbers))
    values = np.array(numbers, np.float64) + 1e-3 * rng.random(len(numbers))  # all different
    found = [(part.start, part.stop) for part in maximal_sums(values)] if numbers else []
    assert found == recursive(values)


def test_each_character_has_the_nats_of_its_token() -> None:
    text, found = surprise("abc\nab", CharTokenizer.from_texts("abc\n"))
    assert list(text.units) == list("abc\nab")
    assert text.nats.tolist() == found.nats.tolist()
    assert text.score.total_nats == 21
    assert (text.score.characters, text.score.num_bytes) == (6, 6)
    assert text.lines() == [slice(0, 4), slice(4, 6)]
    line = text[text.lines()[1]]
    assert (line.text, line.score.total_nats) == ("ab", 11)
    assert line.likeliest.tolist() == [[4, 5], [5, 6]]


LINES = ["ab\r", "\r\n", "a\u2028", "b\x85", "\f\n", "a"]


def test_lines_end_at_every_line_end() -> None:
    whole = "".join(LINES)
    for tokenizer in (CharTokenizer.from_texts(whole), ByteTokenizer()):
        text, _ = surprise(whole, tokenizer)
        assert [text[line].text for line in text.lines()] == LINES
        starts = np.cumsum([0, *map(len, LINES)])[:-1]
        for number, start in enumerate(starts.tolist(), start=1):
            assert text.position(start) == (number, 1)
        assert text.position(int(starts[1]) + 1) == (2, 2)  # the LF of CR LF


def test_tables_count_lines_and_columns_alike() -> None:
    tokenizer = CharTokenizer.from_texts("".join(LINES) + "cdefghijklmnop")  # enough tokens
    text, _ = surprise("".join(LINES), tokenizer)
    rows = list(csv.reader(io.StringIO(csv_table([text], "character"), newline="")))
    assert [tuple(map(int, row[1:3])) for row in rows[1:]] == [
        text.position(unit) for unit in range(len(text.units))
    ]
    rows = list(csv.reader(io.StringIO(csv_table([text], "line"), newline="")))
    assert [row[-1] for row in rows[1:]] == ["ab", "", "a", "b", "\f", "a"]
    assert "\r\n" not in csv_table([text], "line")


def test_bytes_of_a_character_are_added_up() -> None:
    text, found = surprise("aé日b", ByteTokenizer())
    assert text.units == ["a", "é", "日", "b"]
    assert text.nats.tolist() == [1, 2 + 3, 4 + 5 + 6, 7]
    assert text.likeliest[:, 0].tolist() == [0, 1, 3, 6]  # of the first byte
    assert text.score == found.score(ByteTokenizer())
    assert text.bits == pytest.approx(text.nats / math.log(2))


def test_a_piece_of_several_characters_is_one_unit() -> None:
    words = b"the harbour and the sea and the harbour\n" * 40
    tokenizer = train_pieces([words], len(words), "bpe", 280)
    text, found = surprise("the harbour\nthe é", tokenizer)
    assert text.text == "the harbour\nthe é"
    assert text.units[-1] == "é"
    assert max(map(len, text.units)) > 2
    assert text.score == found.score(tokenizer)
    lengths = np.array(list(map(len, text.units)))
    assert text.bits * lengths == pytest.approx(text.nats / math.log(2))


def test_the_worst_passages_are_sorted_worst_first() -> None:
    letters = CharTokenizer.from_texts("ab")
    nats = np.ones(100)
    nats[[20, 22, 40]], nats[60:64] = 7.0, 9.0
    none = np.empty((100, 0))
    found = Surprisals(np.zeros(100, np.uint8), nats, none.astype(np.int32), none)
    text = Surprise.of("text", found, letters)
    assert text.worst(9) == [slice(60, 64), slice(20, 23), slice(40, 41)]
    assert text.worst(1) == [slice(60, 64)]
    assert text[0:20].worst(5) == []
    assert text[0:0].worst(5) == []
