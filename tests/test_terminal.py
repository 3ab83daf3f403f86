import io
import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.terminal import TextWriter, character_name, json_visible, visible

BIDI_CONTROLS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def _written(stream: io.StringIO, *pieces: str) -> str:
    writer = TextWriter(stream)
    for piece in pieces:
        writer.write(piece)
    writer.finish()
    return stream.getvalue()


def test_no_character_of_unicode_controls_a_terminal() -> None:
    everything = "".join(map(chr, range(0x110000)))
    left = set(visible(everything))
    # Cc: controls, Cs: surrogates, Zl and Zp: line and paragraph separators
    steering = {
        symbol
        for symbol in left
        if unicodedata.category(symbol) in ("Cc", "Cs", "Zl", "Zp")
        or unicodedata.bidirectional(symbol) in BIDI_CONTROLS
    }
    assert steering == {"\n", "\t"}
    assert not left & set("\u061c\u200e\u200f\ufeff")


# Signs that Unicode counts among the formatting ones and that are seen: they stand under numbers.
SEEN = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}


def test_no_character_of_unicode_is_hidden() -> None:
    left = visible("".join(map(chr, range(0x110000))))
    hidden = {ord(symbol) for symbol in left if unicodedata.category(symbol) == "Cf"}
    assert hidden - SEEN == {0x200C, 0x200D}  # the joiners
    # Unicode's Default_Ignorable_Code_Point, but for the joiners and emoji's selectors.
    ignorable = [0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180E, 0x3164, 0xFFA0]
    ignorable += [0x200B, *range(0x2060, 0x2070), *range(0xE0000, 0xE0080), 0xE01EF]
    assert not set(map(chr, ignorable)) & set(left)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\x1b[31mb", "a␛[31mb"),
        ("\x00\x7f", "␀␡"),
        ("\x9b2J", "<U+009B>2J"),
        ("a\u202eb", "a<U+202E>b"),
        ("\ud800", "<U+D800>"),
        ("a\u200bb\u2060", "a<U+200B>b<U+2060>"),
        ("\U000e0041", "<U+E0041>"),
        ("\u2066\u2069", "<U+2066><U+2069>"),
        ("\u2028", "<U+2028>"),
        ("\x85", "<U+0085>"),
        ("a\r\nb\rc", "a\nb␍c"),
    ],
)
def test_visible_shows_control_characters(text: str, seen: str) -> None:
    assert visible(text) == seen


@pytest.mark.parametrize(
    "text",
    ["tabs\tand\nlines", "café 漢字 שלום 👩‍👩‍👧 ❤\ufe0f e\u0301", "نمی\u200cشود", "[bold]\\[/]"],
)
def test_visible_leaves_text_unchanged(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    ("symbol", "name"),
    [("a", "'a' (U+0061)"), ("\x1b", "'␛' (U+001B)"), ("😀", "'😀' (U+1F600)")],
)
def test_character_name_has_the_character_and_its_code_point(symbol: str, name: str) -> None:
    assert character_name(symbol) == name


def test_json_visible_escapes_control_characters_and_keeps_values() -> None:
    text = "".join(map(chr, reversed(range(0x110000))))  # no two surrogates make a pair
    shown = json_visible(json.dumps(text, ensure_ascii=False))
    assert json.loads(shown) == text
    assert visible(shown) == shown
    assert set("é漢🙂") <= set(shown)
    shown.encode()


@pytest.mark.parametrize("symbol", ["\n", "\r"])
def test_character_name_keeps_a_message_on_one_line(symbol: str) -> None:
    name = character_name(symbol)
    assert len(name.splitlines()) == 1
    assert f"U+{ord(symbol):04X}" in name


def test_a_file_gets_the_exact_text() -> None:
    assert _written(io.StringIO(), "a\x1b[0m", "\r", "\n\u202e") == "a\x1b[0m\r\n\u202e"


def test_a_terminal_gets_the_visible_text_and_a_line_end() -> None:
    assert _written(Terminal(), "a\x1b", "b") == "a␛b\n"


def test_a_terminal_gets_no_second_line_end() -> None:
    assert _written(Terminal(), "a", "\n", "") == "a\n"


def test_a_terminal_gets_nothing_for_nothing() -> None:
    assert _written(Terminal(), "") == ""


def test_crlf_in_two_pieces_is_one_line_end_on_a_terminal() -> None:
    assert _written(Terminal(), "a\r", "\nb") == "a\nb\n"


@pytest.mark.parametrize("pieces", [("a\r", "b"), ("a", "\r", "b"), ("a\rb",)])
def test_a_lone_carriage_return_is_shown_on_a_terminal(pieces: tuple[str, ...]) -> None:
    assert _written(Terminal(), *pieces) == "a␍b\n"


def test_a_carriage_return_at_the_end_is_shown() -> None:
    assert _written(Terminal(), "a\r") == "a␍\n"


def test_a_writer_can_be_used_for_a_second_text() -> None:
    stream = Terminal()
    writer = TextWriter(stream)
    for _ in range(2):
        writer.write("a")
        writer.finish()
    assert stream.getvalue() == "a\na\n"


@given(st.text())
def test_escaped_json_has_the_same_value_and_no_control_characters(text: str) -> None:
    line = json_visible(json.dumps({text: text}, ensure_ascii=False))
    assert json.loads(line) == {text: text}
    assert visible(line) == line
    assert "\n" not in line


def test_json_visible_keeps_harmless_characters() -> None:
    line = json_visible(json.dumps("é日\U0001f642 \x9b2J\x7f\u202e\udcff", ensure_ascii=False))
    assert line == '"é日\U0001f642 \\u009b2J\\u007f\\u202e\\udcff"'
