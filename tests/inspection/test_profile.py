from __future__ import annotations

import itertools
import math
import unicodedata
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.inspection import ngram_baseline, profile, repetition
from charrnn.inspection.characters import code_points
from charrnn.inspection.ngram_baseline import measure_counting
from charrnn.inspection.profile import Statistics
from charrnn.inspection.repetition import WINDOW, RepetitionFinder, extract
from charrnn.text import line_ends
from charrnn.text.oddities import unicode_name
from charrnn.text.split import split_positions

ALPHABET = "ab \r\n\f\x85\u2028\u2029\0\x1bé\u0301\u200b\ufffd日\U0001f600ÃÂ©â€™\u00a0»"
texts = st.text(st.sampled_from(ALPHABET), min_size=1, max_size=300)


def measured(text: str, *cuts: int) -> Statistics:
    """Profile a text in pieces that are cut at these positions."""
    borders = [0, *sorted(cut % len(text) for cut in cuts if cut % len(text)), len(text)]
    pieces = [text[a:b] for a, b in pairwise(borders) if b > a]
    assert "".join(pieces) == text
    return profile.measure(lambda: iter(pieces), len(text), 0.1)


def kinds(text: str) -> dict[str, int]:
    return {issue.kind: issue.count for issue in measured(text).signs}


@given(texts, st.lists(st.integers(0, 300), max_size=5))
def test_counts_equal_pythons_whatever_the_pieces(text: str, cuts: list[int]) -> None:
    found = measured(text, *cuts)
    assert found == measured(text)
    assert found.characters == len(text)
    assert found.bytes == len(text.encode())
    assert found.symbols == dict(Counter(text))
    assert list(found.symbols.values()) == sorted(found.symbols.values(), reverse=True)
    lines = [line.rstrip(line_ends.CHARACTERS) for line in line_ends.split(text)]
    assert found.lines == len(lines)
    assert found.longest_line == max(map(len, lines), default=0)
    if found.longest_line:
        first = [len(line) for line in lines].index(found.longest_line)
        assert found.longest_line_number == first + 1
    alone = text.replace("\r\n", "")
    others = {"nel": "\x85", "ls": "\u2028", "ps": "\u2029"}
    assert found.newlines == {
        "lf": alone.count("\n"),
        "crlf": text.count("\r\n"),
        "cr": alone.count("\r"),
        **{kind: text.count(end) for kind, end in others.items()},
    }


@pytest.mark.parametrize(
    ("text", "kind", "count", "words"),
    [
        ("a\nb\r\nc\nd\r", "newlines", 2, "2 LF, 1 CR LF, 1 CR alone"),
        ("a\rb\r", "newlines", 2, "2 lines end in CR alone (--newline lf turns"),
        ("a\x85b", "newlines", 1, "1 line ends in NEL (U+0085)"),
        ("a\u2028b\u2029", "newlines", 1, "different ways: 1 U+2028, 1 U+2029"),
        ("one\f\ntwo\f\n", "form feed", 2, "2 form feeds, which are page breaks"),
        ("so\u00adme", "soft hyphen", 1, "1 soft hyphen, which cannot be seen"),
        ("aaaa", "one character", 4, "over and over"),
        ("x" * 100_000 + "\n", "giant line", 100_000, "line 1 has 100,000 characters"),
        ("a\0b" * 10, "binary", 10, "33.3% of it is NUL"),
        ("a\x1b[0m\x1b\x86", "control", 3, "2 U+001B ESCAPE, 1 U+0086 (control character)"),
        ("caf\ufffd", "replacement", 1, "U+FFFD REPLACEMENT CHARACTER"),
        ("a\ufeffb", "byte order mark", 1, "U+FEFF ZERO WIDTH NO-BREAK SPACE"),
        ("a\u202eb\u200b", "invisible", 2, "U+202E RIGHT-TO-LEFT OVERRIDE"),
        ("a\uffffb", "unassigned", 1, "U+FFFF (no character of Unicode)"),
        ("a\ue000b", "private use", 1, "U+E000 (private use)"),
        ("cafe\u0301", "combining", 1, "U+0301 COMBINING ACUTE ACCENT"),
    ],
)
def test_issues_are_found(text: str, kind: str, count: int, words: str) -> None:
    (issue,) = [issue for issue in measured(text).signs if issue.kind == kind]
    assert issue.count == count
    assert words in issue.text


@pytest.mark.parametrize(
    "text",
    [
        "plain\ttext\nof two lines\n",
        "Zoë\r\nnaïve\r\n",
        "«\u00a0Voilà\u00a0», dit-il, «\u00a0c’est l’été\u00a0». " * 9,
    ],
)
def test_plain_text_has_no_issues(text: str) -> None:
    assert kinds(text).keys() <= {"held out"}


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
@pytest.mark.parametrize("word", ["café", "naïve façade", "“quoted”", "привет", "日本語", "🙂"])
def test_utf8_read_as_another_encoding(word: str, encoding: str) -> None:
    misread = word.encode().decode(encoding, "replace")
    if "\ufffd" in misread:
        misread = word.encode().decode("latin-1")
    beyond = sum(not symbol.isascii() for symbol in word)
    found = measured(f"a {misread} text\n" * 7).signs
    (issue,) = [issue for issue in found if issue.kind == "misread"]
    assert issue.count == 7 * beyond
    first = next(symbol for symbol in word if not symbol.isascii())
    assert f"U+{ord(first):04X}" in issue.text


def test_every_character_has_a_name() -> None:
    assert unicode_name("\x1b") == "ESCAPE"
    assert unicode_name("\n") == "LINE FEED"
    assert unicode_name("\x7f") == "DELETE"
    assert unicode_name("a") == unicodedata.name("a")
    for point in (0, 0x20, 0x85, 0xD800, 0xE000, 0x378, 0xFFFF, 0x10FFFF, 0x4E00, 0xAC00):
        assert unicode_name(chr(point)).strip()
    (row,) = profile.rows({"é": 3})
    assert row == {
        "symbol": "é",
        "code_point": "U+00E9",
        "name": "LATIN SMALL LETTER E WITH ACUTE",
        "category": "Ll",
        "count": 3,
    }


def share_of(text: str) -> float:
    """Return the share of windows that occur earlier, by a plain search."""
    windows = [text[i : i + WINDOW] for i in range(len(text) - WINDOW + 1)]
    seen: set[str] = set()
    repeated = 0
    for window in windows:
        repeated += window in seen
        seen.add(window)
    return repeated / len(windows) if windows else 0.0


def leaked_share(text: str) -> float:
    """Return the share of windows of the held-out tenth that occur before it."""
    cut, _ = split_positions(len(text), 0.1, 0.0)
    windows = [text[i : i + WINDOW] for i in range(len(text) - WINDOW + 1)]
    before, held_out = set(windows[:cut]), windows[cut:]
    return sum(window in before for window in held_out) / len(held_out) if held_out else 0.0


def test_a_held_out_part_that_repeats_the_text_is_an_issue() -> None:
    header, poem = letters(3_000, 1), letters(27_000, 2)
    text = poem[:13_500] + header + poem[13_500:] + header  # the last tenth is the header again
    found = measured(text, 5_000)
    assert found.repetition.held_out_share == pytest.approx(leaked_share(text), abs=0.02)
    (issue,) = [issue for issue in found.signs if issue.kind == "held out"]
    assert "of the held-out part repeats passages of the text before it" in issue.text
    assert kinds(poem).keys() == set()


def letters(length: int, seed: int) -> str:
    return "".join(np.random.default_rng(seed).choice(list("abcdefgh \n"), length))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.lists(st.integers(0, 9**5)))
def test_repetition_equals_a_plain_search(blocks: list[int], cuts: list[int]) -> None:
    known = [letters(30 * (n + 1), n) for n in range(6)]
    text = "".join(known[block] for block in blocks)
    found = measured(text, *cuts[:5]).repetition
    assert found.share == pytest.approx(share_of(text))
    assert found.one_in == 1
    assert bool(found.longest) == bool(found.share)
    assert found.held_out_share == pytest.approx(leaked_share(text))


@pytest.mark.parametrize("most", [1 << 20, 500])
def test_the_longest_passages_are_found_with_their_lines(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repetition, "MAX_WINDOWS", most)
    header = "-" + "licence of all this".join(letters(400, 5).split()) + "-"
    poem = "~" + letters(4_000, 6) + "~"
    parts = [letters(3_000, seed) for seed in range(7, 12)]
    text = f"{header}{parts[0]}{header}{parts[1]}{poem}{parts[2]}{poem}{parts[3]}{header}{parts[4]}"
    found = measured(text, 5_000, 9_999, 10_000, 17_000).repetition
    assert found.one_in == (1 if most > len(text) else 64)
    longest = found.longest[0]
    second = text.index(poem, text.index(poem) + 1)
    assert longest.length >= len(poem)
    assert longest.length <= len(poem) + 6  # letters beside them may be alike by chance
    assert longest.line == 1 + text.count("\n", 0, second)
    assert longest.before_line == 1 + text.count("\n", 0, text.index(poem))
    assert longest.excerpt.strip("abcdefgh \n").startswith("~") or poem[:40] in longest.excerpt
    if most > len(text):
        assert [p.length for p in found.longest][1] >= len(header)
        assert len(found.longest) == 2  # the header stands there three times, and is told once
        assert found.share == pytest.approx(share_of(text))


def test_sampled_windows_estimate_the_share_of_a_large_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(repetition, "MAX_WINDOWS", 2_000)
    text = letters(60_000, 1) + letters(40_000, 1) + letters(100_000, 2)
    found = measured(text, *range(0, 200_000, 7_001)).repetition
    assert found.one_in >= 64
    assert found.share == pytest.approx(0.2, abs=0.03)
    assert found.longest[0].length >= 40_000


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repetition, "MAX_WINDOWS", 1_000)
    finder = RepetitionFinder(0)
    for seed in range(20):
        finder.add(code_points(letters(5_000, seed)))
        assert len(finder._hashes) == len(finder._positions) == len(finder._trained) <= 1_000
        assert (np.diff(finder._hashes.astype(object)) > 0).all()


def test_a_text_of_one_repeated_word() -> None:
    found = measured("hello" * 2000)
    assert found.repetition.share == pytest.approx(share_of("hello" * 2000))
    (passage,) = found.repetition.longest
    assert passage.length == 10_000 - 5
    assert found.counting
    assert found.counting.nats[0] > 1
    assert found.counting.nats[5] < 0.01


@given(texts, st.lists(st.tuples(st.integers(0, 300), st.integers(0, 60)), max_size=6))
def test_ranges_of_a_text_are_extracted_from_its_pieces(
    text: str, wanted: list[tuple[int, int]]
) -> None:
    ranges = [(start, start + size) for start, size in wanted if start < len(text)]
    pieces = [text[i : i + 7] for i in range(0, len(text), 7)]
    found, lines = extract(pieces, ranges)
    assert found == [text[start:end] for start, end in ranges]
    assert lines == [1 + completed(text, start) for start, _ in ranges]


def completed(text: str, position: int) -> int:
    """Return how many line ends lie before a position; one that is cut there does not."""
    ends = itertools.accumulate(len(line) for line in line_ends.split(text))
    lines = zip(ends, line_ends.split(text), strict=True)
    return sum(end <= position and line[-1] in line_ends.CHARACTERS for end, line in lines)


def plain_counting(counted: str, held_out: str, vocab_size: int) -> list[float]:
    """Compute Witten and Bell's estimate with dictionaries."""
    whole = counted + held_out
    padding = "\0" * ngram_baseline.ORDERS  # stands before the text
    nats = []

    def probability(at: int, order: int) -> float:
        if order < 0:
            return 1 / vocab_size
        shorter = probability(at, order - 1)
        context = (padding + whole)[at + ngram_baseline.ORDERS - order : at + ngram_baseline.ORDERS]
        seen = followers[order].get(context)
        if not seen:
            return shorter
        return (seen[whole[at]] + len(seen) * shorter) / (seen.total() + len(seen))

    followers: list[dict[str, Counter[str]]] = []
    for order in range(ngram_baseline.ORDERS):
        table: dict[str, Counter[str]] = {}
        for at, symbol in enumerate(counted):
            context = (padding + counted)[
                at + ngram_baseline.ORDERS - order : at + ngram_baseline.ORDERS
            ]
            table.setdefault(context, Counter())[symbol] += 1
        followers.append(table)
        places = range(len(counted), len(whole))
        nats.append(-sum(math.log(probability(at, order)) for at in places) / len(held_out))
    return nats


@given(
    st.text("abcé\U0001f600 ", min_size=2, max_size=200), st.text("abx日 ", min_size=1, max_size=50)
)
def test_the_baseline_equals_witten_and_bells_estimate(counted: str, held_out: str) -> None:
    vocab_size = len(set(counted + held_out))
    found = measure_counting(counted, held_out, vocab_size)
    assert found.nats == pytest.approx(plain_counting(counted, held_out, vocab_size))
    assert found.bpc == pytest.approx([value / math.log(2) for value in found.nats])


def test_probabilities_of_all_characters_add_up_to_one() -> None:
    """For each character in the one held-out position."""
    counted = letters(500, 3)
    symbols = [*sorted(set(counted)), "x"]
    for order in range(ngram_baseline.ORDERS):
        nats = [measure_counting(counted, symbol, len(symbols)).nats[order] for symbol in symbols]
        assert sum(map(math.exp, (-value for value in nats))) == pytest.approx(1)


def test_the_held_out_text_is_not_counted() -> None:
    text = letters(9_000, 1) + letters(1_000, 2)
    found = measured(text).counting
    assert found
    assert (found.counted, found.measured) == (9_000, 1_000)
    # Letters drawn at random: nothing helps to predict them. Own counts would promise nearly 0.
    assert min(found.nats) > math.log(10) - 0.01


def test_only_the_end_of_a_large_text_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "MAX_COUNTED", 300)
    monkeypatch.setattr(profile, "MAX_MEASURED", 50)
    text = letters(2_000, 1)
    found = measured(text, 777, 1500, 1801).counting
    assert found == measure_counting(text[1500:1800], text[1800:1850], len(set(text)))


@pytest.mark.parametrize("text", ["a", "ab", "abc"])
def test_texts_too_short_for_a_validation_part_have_no_baseline(text: str) -> None:
    found = measured(text)
    assert found.symbols == dict(Counter(text))
    assert (found.counting is None) == (len(text) < 3)
