from __future__ import annotations

import itertools
import re
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import Limits
from charrnn.decoding.constraints import Constraint, build, utf8
from charrnn.errors import OptionError

LETTERS = "ab\n"
BYTES = [bytes([byte]) for byte in range(256)]


def texts(tokens: Any, longest: int) -> list[Any]:
    """Return every sequence of up to `longest` tokens."""
    return [
        ids
        for size in range(longest + 1)
        for ids in itertools.product(range(len(tokens)), repeat=size)
    ]


def accepts(constraint: Constraint, ids: tuple[int, ...]) -> bool:
    """Return whether the tokens are allowed one after the other and the text may end then."""
    state = 0
    for position, token in enumerate(ids):
        if not constraint.allowed(state, len(ids) - position)[token]:
            return False
        state = constraint.advance(state, token)
    return bool(constraint.accepting[state])


def written(constraint: Constraint, length: int, rng: np.random.Generator) -> list[int]:
    """Return a text drawn uniformly from the allowed tokens, until none is allowed."""
    state, ids = 0, []
    for left in range(length, 0, -1):
        allowed = np.flatnonzero(constraint.allowed(state, left))
        if not len(allowed):
            break
        ids.append(int(rng.choice(allowed)))
        state = constraint.advance(state, ids[-1])
    assert constraint.accepting[state]
    return ids


def made(tokens: Any, length: int, **limits: Any) -> Constraint:
    constraint = build(tokens, Limits(**limits), length)
    assert constraint is not None
    return constraint


# Patterns from a small grammar, both usual and unusual ones.
atoms = st.sampled_from(
    ["a", "b", ".", r"\n", "[^a]", "[ab]", r"\w", r"\s", r"\W", "(?i:A)", "(?s:.)", "c", r"[^\w\n]"]
)
patterns = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"(?:{'|'.join(parts)})"),
        st.tuples(st.sampled_from(["(?!ab)", "(?=.b)", "(?!.*bb)"]), inner).map(
            lambda part: f"(?:{part[0]}(?:{part[1]}).)*"
        ),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{0,3}?", "{2,}"])).map(
            lambda part: f"(?:{part[0]}){part[1]}"
        ),
    ),
    max_leaves=6,
)
around = st.sampled_from(
    [
        "",
        "",
        "",
        "^",
        "(?=a)",
        "(?!b)",
        "(?!.*ab)",
        "(?=.{2})",
        r"\A",
        "(?!.*b$)",
        "(?=(?:.|\n)*b\n$)",
    ]
)
endings = st.sampled_from(["", "", "", "$", r"\Z", "(?:a$|b)?", "(?=$)", r"(?m:$)\n?", r"$\n?"])


@given(around, patterns, endings)
def test_a_text_is_accepted_if_and_only_if_it_matches_in_full(
    before: str, pattern: str, after: str
) -> None:
    regex = before + pattern + after
    everything = texts(LETTERS, 5)
    matching = [ids for ids in everything if re.fullmatch(regex, "".join(LETTERS[v] for v in ids))]
    try:
        constraint = made(LETTERS, 5, regex=regex)
    except OptionError as error:
        if "a repetition of a lookahead that may match nothing" not in str(error):
            assert not matching
        return
    assert [ids for ids in everything if accepts(constraint, ids)] == matching
    shortest = min(map(len, matching), default=6)
    assert constraint.distance[0] == shortest


@given(patterns, st.randoms(use_true_random=False))
def test_there_are_no_dead_ends_at_any_length(pattern: str, chance: Any) -> None:
    try:
        shortest = int(made(LETTERS, 12, regex=pattern).distance[0])
    except OptionError:
        return
    rng = np.random.default_rng(chance.randrange(2**32))
    for length in range(shortest, 13):
        text = "".join(
            LETTERS[v] for v in written(made(LETTERS, length, regex=pattern), length, rng)
        )
        assert re.fullmatch(pattern, text)
        assert len(text) <= length
    if shortest:
        with pytest.raises(OptionError, match=f"shortest match has {shortest}; raise `length`"):
            made(LETTERS, shortest - 1, regex=pattern)


USUAL = {
    r"[A-Z][a-z]{2,9}( [A-Z][a-z]{2,9}){0,5}": 66,
    r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])": 14,
    r"[\w.+-]+@[\w-]+\.[\w.-]+": 6,
    r"(a|b)*a(a|b){8}": 512,
    r"(?i)stra(ß|ss)e|\w{2,30}": 31,
    r"(?!.*the)[a-z ]*": 3,
    r"(?:(?!the)[a-z ])*": 3,
    r"(?:(?!ab|ba)[abc]){2,4}\.": 12,
    ".{0,10000}": 101,
}
KEYBOARD = [chr(code) for code in (10, *range(32, 127))] + ["ß", "é", "日"]


@pytest.mark.parametrize(("regex", "states"), USUAL.items())
def test_the_automaton_is_minimal(regex: str, states: int) -> None:
    """The numbers are those of minimal automata; `.{0,10000}` is cut at the length of 100."""
    constraint = made(KEYBOARD, 100, regex=regex)
    assert len(constraint.next) == states
    rng = np.random.default_rng(1)
    for _ in range(20):
        text = "".join(KEYBOARD[v] for v in written(constraint, 100, rng))
        assert re.fullmatch(regex, text)


def test_table_by_hand() -> None:
    constraint = made("ab", 4, regex="ab*")
    assert constraint.next.tolist() == [[1, -1], [-1, 1]]
    assert constraint.distance.tolist() == [1, 0]
    assert constraint.accepting.tolist() == [False, True]
    assert constraint.next.dtype == constraint.distance.dtype == np.int32
    assert constraint.allowed(0, 1).tolist() == [True, False]
    assert constraint.choices(0, 1).tolist() == [True, False]
    assert constraint.choices(1, 1).tolist() == [True, True]  # an a ends the text
    assert constraint.choices(1, 0).tolist() == [False, False]  # it has ended
    states = np.array([0, 1, 1])
    assert constraint.allowed(states, 3).tolist() == [[True, False], [False, True], [False, True]]
    assert constraint.advance(states, np.array([0, 1, 1])).tolist() == [1, 1, 1]


def test_a_token_is_forbidden_if_the_rest_would_not_fit() -> None:
    constraint = made("ab", 4, regex="a(bab)*")
    state = constraint.advance(0, 0)
    assert [constraint.allowed(state, left)[1] for left in range(5)] == [False] * 3 + [True] * 2


def test_only_a_pattern_is_ended_by_tokens_that_are_not_allowed() -> None:
    assert made("abc", 9, regex="[ab]*").ends.tolist() == [True] * 3
    assert made("abc", 9, regex="[ab]*", forbid="c").ends.tolist() == [True, True, False]
    assert not made("abc", 9, allow="ab").ends.any()
    assert not made("ab\n", 9, max_lines=1).ends.any()


@pytest.mark.parametrize(
    ("limits", "text", "fits"),
    [
        ({"allow": "a-b"}, "abba", True),
        ({"allow": "a-b"}, "abc", False),
        ({"allow": "^c"}, "abba\n", True),
        ({"forbid": r"\d\s"}, "a-b", True),
        ({"forbid": r"\d\s"}, "a b", False),
        ({"forbid": r"\[\]"}, "a", True),
        ({"allow": r"\w ", "forbid": "b"}, "a c1", True),
        ({"allow": r"\w ", "forbid": "b"}, "abc", False),
        ({"max_lines": 2}, "ab\nc\n", True),
        ({"max_lines": 2}, "ab\nc\nd", False),
        ({"max_lines": 1}, "", True),
        ({"max_lines": 2, "forbid": "a", "regex": r"(?:\w+\n)*"}, "b\nc\n", True),
        ({"max_lines": 2, "forbid": "a", "regex": r"(?:\w+\n)*"}, "b\n\n", False),
        ({"max_lines": 2, "forbid": "a", "regex": r"(?:\w+\n)*"}, "b\nab\n", False),
    ],
)
def test_all_limits_hold_at_once(limits: dict[str, Any], text: str, fits: bool) -> None:
    tokens = sorted("abcd1- \n")
    ids = tuple(tokens.index(character) for character in text)
    assert accepts(made(tokens, 9, **limits), ids) is fits


def test_the_last_line_ends_the_text() -> None:
    constraint = made("a\n", 9, max_lines=2)
    state = 0
    for token in (0, 1, 0, 1):
        state = constraint.advance(state, token)
    assert constraint.accepting[state]
    assert not constraint.choices(state, 5).any()


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("a\ra\r", True),
        ("a\ra\ra", False),
        ("a\u2028a\x85", True),
        ("a\u2028a\u2029a", False),
        ("a\r\na\r\n", True),
        ("a\r\na\r\na", False),
        ("a\n\ra", False),
        ("a\fa\fa", True),
    ],
)
def test_a_limit_of_lines_knows_every_line_end(text: str, fits: bool) -> None:
    tokens = [*"a\f\n\r\x85\u2028\u2029"]
    constraint = made(tokens, 9, max_lines=2)
    assert accepts(constraint, tuple(map(tokens.index, text))) is fits


def test_without_limits_there_is_no_constraint() -> None:
    assert build("ab", Limits(), 10) is None
    assert build([b"a", "é日".encode()], Limits(), 10) is None


@pytest.mark.parametrize("regex", ["a+b?", "(?:ab|ba)*", "[ab]{3}", "a(?!.*bb).*"])
def test_tokens_of_several_characters(regex: str) -> None:
    tokens = ["a", "b", "ab", "ba", "aab", "bbb", ""]
    constraint = made(tokens, 4, regex=regex)
    for ids in texts(tokens, 4):
        fits = re.fullmatch(regex, "".join(tokens[v] for v in ids)) and 6 not in ids
        assert accepts(constraint, ids) is bool(fits)


def test_tokens_that_cannot_form_a_match_are_an_error() -> None:
    with pytest.raises(OptionError, match="tokens could write"):
        made(["ab", "c"], 9, regex="a+c")


def test_bytes_form_valid_utf8_only() -> None:
    constraint = utf8(BYTES)
    assert len(constraint.next) == 8
    border = (0x00, 0x7F, 0x80, 0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xDF, 0xE0, 0xE1, 0xED, 0xEF, 0xF0)
    ends = (0x8F, 0x90, 0xF3, 0xF4, 0xF5, 0xFF)
    for ids in itertools.product(sorted(border + ends), repeat=3):
        for text in (ids, (*ids, 0x80), (*ids, 0xBF)):
            assert accepts(constraint, text) is _is_utf8(bytes(text)), bytes(text)
    for code in (0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF):
        assert accepts(constraint, tuple(chr(code).encode()))


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_no_text_of_bytes_ends_inside_a_character() -> None:
    rng = np.random.default_rng(2)
    constraint = utf8(BYTES)
    for length in range(40):
        assert len(written(constraint, length, rng)) == length
        assert _is_utf8(bytes(written(constraint, length, rng)))


@pytest.mark.parametrize(
    "regex", [r"\w{1,5}", "[^a-z]{3}", "é日|🙂+", r"(?i)ß\d?.", "[\u0080-\uffff]+x"]
)
def test_a_pattern_holds_over_bytes(regex: str) -> None:
    constraint = made(BYTES, 18, regex=regex)
    rng = np.random.default_rng(3)
    for _ in range(30):
        assert re.fullmatch(regex, bytes(written(constraint, 18, rng)).decode())
    for text in ("é日", "🙂", "ß٣b", "日本é", "ééx", "a", "\U0010ffff\U0010ffff\U0010ffff"):
        assert accepts(constraint, tuple(text.encode())) is bool(re.fullmatch(regex, text))


def test_forbidden_characters_do_not_end_a_text_over_bytes() -> None:
    tokens = [*BYTES, "né".encode(), b"ab"]
    constraint = made(tokens, 9, regex=r"\w+", forbid="é")
    assert not constraint.ends[256]
    assert constraint.ends[257]
    assert constraint.allowed(0, 9)[[256, 257]].tolist() == [False, True]


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"regex": "a@+Ж"}, [r"'@' (U+0040)", "'Ж' (U+0416)", "never seen", "charrnn info"]),
        ({"regex": r"a\d"}, [r"[\d]", "never seen"]),
        ({"regex": "ab", "forbid": "b"}, ["'b' (U+0062)", "left out"]),
        ({"regex": "(?!a)a"}, ["matches no text"]),
        ({"regex": "a{12}"}, ["up to 10 tokens", "shortest match has 12", "`length`"]),
        ({"regex": "(a|b)*a(a|b){30}", "length": 99}, ["more than 20,000 states", "simplify"]),
        (
            {"regex": "((a{1,40}b?){1,40}){1,40}", "length": 900},
            ["too long to compile", "simplify"],
        ),
        ({"regex": "a?" * 5000}, ["simplify"]),
        ({"regex": r"(a)\1"}, ["reference to a group"]),
        ({"regex": r"(a)?(?(1)a|b)"}, ["reference to a group"]),
        ({"regex": r"a\bb"}, [r"\b"]),
        ({"regex": "(?<=a)b"}, ["lookbehind"]),
        ({"regex": "(?>a)"}, ["atomic group"]),
        ({"regex": "a++"}, ["possessive"]),
        ({"regex": "(?:a|(?=a))+"}, ["a repetition of a lookahead that may match nothing"]),
        ({"regex": "(?:a(?!b)){2000}"}, ["more than 1000 repetitions"]),
        ({"regex": "(?:^a)+"}, ["^ after the beginning"]),
        ({"regex": "a?^b"}, ["^ after the beginning"]),
        ({"regex": r"(?m)a\n^b"}, ["^ after the beginning"]),
        ({"allow": "x"}, ["leave no character"]),
        ({"forbid": r"\s\S"}, ["leave no character"]),
    ],
)
def test_impossible_limits_are_errors(limits: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(OptionError) as caught:
        made("ab\n", limits.pop("length", 10), **limits)
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"regex": "(a"}, ["`regex` '(a'", "position 0"]),
        ({"regex": "a{9999999999999999999999}"}, ["`regex`"]),
        ({"allow": "z-a"}, ["`allow` 'z-a'", "bad character range"]),
        ({"allow": ""}, ["`allow` ''"]),
        ({"forbid": "a]b[c"}, ["`forbid` 'a]b[c'", "brackets"]),
        ({"max_lines": 0}, ["`max_lines`", "from 1"]),
    ],
)
def test_invalid_limits_are_errors(limits: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(OptionError) as caught:
        Limits(**limits)
    assert [word for word in words if word not in str(caught.value)] == []


def test_a_table_too_large_for_memory_is_an_error() -> None:
    tokens = [chr(0x4E00 + index) for index in range(20_000)]
    with pytest.raises(OptionError, match="67,108,864"):
        made(tokens, 5000, regex=".{0,5000}")


def test_an_impossible_beginning_does_not_match() -> None:
    with pytest.raises(OptionError, match="matches no text"):
        made("ab", 5, regex="a^b")
    assert len(made("ab", 5, regex="(?:^a|b)b").next) == 3


def test_many_words_over_a_large_vocabulary_are_compiled_in_little_memory() -> None:
    """Of the 201 classes of characters, each state but the first goes on with one."""
    letters = [chr(0x4E00 + index) for index in range(600)]
    words = [letters[2 * index] + letters[2 * index + 1] for index in range(200)]
    tracemalloc.start()
    constraint = build(letters, Limits(regex=f"(?:{'|'.join(words)})*"), 9)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert constraint is not None
    assert constraint.next.shape == (201, 600)
    assert peak < 2**24  # of which the table and its copies are a quarter
    ids = tuple(letters.index(character) for character in words[7] + words[199])
    assert accepts(constraint, ids)
    assert not accepts(constraint, (*ids, ids[0]))


@pytest.mark.parametrize(
    ("pattern", "text"),
    [("(a|a)*b", "aab"), ("(a*)*b", "ab"), ("((a|aa)+)+$", "aaa"), ("(((a?){9}){9}){9}", "aa")],
)
def test_what_takes_a_backtracking_matcher_for_ever_is_compiled(pattern: str, text: str) -> None:
    constraint = build("ab", Limits(regex=pattern), 60)
    assert constraint is not None
    assert len(constraint.next) < 800
    assert accepts(constraint, tuple("ab".index(letter) for letter in text))
    assert not accepts(constraint, (0,) * 5 + (1, 1))
