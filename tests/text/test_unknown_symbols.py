import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.text.unknown_symbols import replace

ASCII = "".join(map(chr, (10, *range(32, 127))))


def nearest(text: str, known: str) -> str:
    return replace(text, lambda symbols: set(symbols) <= set(known), nearest=True).text


@pytest.mark.parametrize(
    ("text", "known", "read"),
    [
        ("café", "acfe", "cafe"),
        ("cafe\u0301", "acfé", "café"),  # the mark has its place in the letter before it
        ("café", "acfe\u0301", "cafe\u0301"),
        ("\u2018it\u2019s\u2019", ASCII, "'it's'"),
        ("it's", "its\u2019", "it\u2019s"),
        ("“no”—he–she…", ASCII, '"no"--he-she...'),
        ("'no' (\"he\")", "’‘nohe() “”", "‘no’ (“he”)"),
        ("«no»", "no„“", "„no“"),
        ("“it’s”", "its", "its"),
        ("a\r\nb\r\n", "ab\n", "a\nb\n"),
        ("ﬁne ½", ASCII, "fine 1/2"),
        ("ＡＢ", ASCII, "AB"),
        ("a\u00a0b\u2003c\td", ASCII, "a b c d"),
        ("a\r\u2028", "a\n", "a\n\n"),
        ("HELLO", "helo", "hello"),
        ("hello", "HELO", "HELLO"),
        ("Éa", "e", "e"),
        ("straße", "starse", "strasse"),
        ("Ærøskøbing", ASCII, "AEroskobing"),
        ("Łódź", ASCII, "Lodz"),
        ("日本x", ASCII, "x"),
        ("\ud800x", ASCII, "x"),
        ("", "a", ""),
        ("\u0301", "a", ""),
    ],
)
def test_the_nearest_form_is_what_a_person_would_type(text: str, known: str, read: str) -> None:
    assert nearest(text, known) == read


@given(st.text(), st.text(min_size=1))
def test_the_result_is_known_and_keeps_known_characters(text: str, known: str) -> None:
    read = nearest(text, known)
    assert set(read) <= set(known)
    kept = [symbol for symbol in text if symbol in known]
    skipped = replace(text, lambda symbols: set(symbols) <= set(known), nearest=False)
    assert skipped.text == "".join(kept)
    assert sum(skipped.changes.values()) == len(text) - len(kept)
    if set(text) <= set(known):
        assert read == text


@given(st.text())
def test_decomposed_text_is_read_as_composed(text: str) -> None:
    composed = unicodedata.normalize("NFC", text)
    decomposed = unicodedata.normalize("NFD", composed)
    assert nearest(composed, "".join(decomposed) or "a") == "".join(
        symbol if symbol in decomposed else unicodedata.normalize("NFD", symbol)
        for symbol in composed
    )


def test_changes_are_described_by_name_and_count() -> None:
    told = str(replace("é…é日", lambda symbols: set(symbols) <= set("e."), nearest=True))
    assert (
        told
        == "'é' (U+00E9) -> 'e' (U+0065) (2 times); '…' (U+2026) -> '...'; '日' (U+65E5) left out"
    )
    many = "".join(map(chr, range(0x4E00, 0x4E20)))
    assert str(replace(many, lambda symbols: not symbols, nearest=True)).endswith("; and 24 more")
