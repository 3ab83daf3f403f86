"""What reading finds odd about a text, at no cost."""

from __future__ import annotations

from pathlib import Path

import pytest
from text_files import write_file

from charrnn.config import Reading
from charrnn.text import corpus, oddities
from charrnn.text.oddities import GIANT_LINE, LongLines


def kinds(read: corpus.Corpus) -> dict[str, int]:
    return {issue.kind: issue.count for issue in read.issues}


def test_plain_text_is_not_odd(tmp_path: Path) -> None:
    for text in ("two\nlines\n", "Zoë\tnaïve\n“quoted” – «\u00a0mot\u00a0»\n", "👩\u200d👧 日本\n"):
        assert corpus.read([write_file(tmp_path, text.encode())]).issues == ()


@pytest.mark.parametrize(
    ("text", "kind", "count"),
    [
        ("one\rtwo\r", "newlines", 2),
        ("one\u2028two\n", "newlines", 1),
        ("page\f\npage\n", "form feed", 1),
        ("so\u00adme\n", "soft hyphen", 1),
        ("a\u200bb\n", "invisible", 1),
        ("cafe\u0301\n", "combining", 1),
        ("lost \ufffd\n", "replacement", 1),
        ("word " * 300 + "\0\n", "control", 1),
        ("word\0" * 300, "binary", 300),
        ("CafÃ© Ã\u00a0 la carte\n" * 3, "misread", 6),
        ("x " * (GIANT_LINE // 2), "giant line", GIANT_LINE),
    ],
)
def test_reading_finds_what_the_profile_finds(
    text: str, kind: str, count: int, tmp_path: Path
) -> None:
    from charrnn.inspection import profile

    read = corpus.read([write_file(tmp_path, text.encode())])
    assert kinds(read)[kind] == count
    found = profile.measure(lambda: [read.text], read.characters, 0.1)
    texts = {issue.kind: issue.text for issue in found.signs}
    (issue,) = [issue for issue in read.issues if issue.kind == kind]
    assert issue.text.replace("a line has", "line 1 has") == texts[kind]


def test_bytes_that_were_replaced_are_told_once(tmp_path: Path) -> None:
    path = write_file(tmp_path, b"caf\xe9 au lait\n" * 9)
    read = corpus.read([path], Reading(encoding="utf-8", errors="replace"))
    assert kinds(read) == {}
    assert "could not be decoded" in read.notices[0]


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (rb"{\rtf1\ansi caf\'e9\par}", "RTF"),
        (b"<!DOCTYPE html>\n<p>text</p>\n", "HTML"),
        (b' \n<?xml version="1.0"?>\n<html><body>text</body></html>\n', "HTML"),
    ],
)
def test_markup_in_plain_text_files_is_odd(start: bytes, kind: str, tmp_path: Path) -> None:
    names = ("a.txt", "b.txt")
    write_file(tmp_path, b"plain text\n", "c.txt")
    paths = [write_file(tmp_path, start, name) for name in names]
    (issue,) = corpus.read([tmp_path]).issues
    assert (issue.kind, issue.count) == ("markup", 2)
    assert issue.text.startswith(f"{paths[0]} and 1 more file are {kind}, and the markup would be")


def test_text_about_markup_is_not_markup(tmp_path: Path) -> None:
    for text in ("The <html> tag\n", "{braces}\n", "<poem>\n", r"\rtf is a command" + "\n"):
        assert corpus.read([write_file(tmp_path, text.encode())]).issues == ()


@pytest.mark.parametrize("size", [7, 1000, 2 * GIANT_LINE - 1])
@pytest.mark.parametrize("before", [0, 3, 90_000, 170_000])
@pytest.mark.parametrize("length", [GIANT_LINE, 150_000])
def test_giant_lines_are_measured_wherever_blocks_are_cut(
    size: int, before: int, length: int
) -> None:
    if size == 7:
        before, length = before // 1000, length // 1000
    text = ("é\n" * (before // 2) + "x" * length + "\nend").encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(oddities, "GIANT_LINE", 100 if size == 7 else GIANT_LINE)
        lines = LongLines()
        at = 0
        while at < len(text):
            end = at + size
            while end < len(text) and text[end] & 0xC0 == 0x80:
                end += 1
            lines.add(text[at:end])
            at = end
    assert lines.longest == length


def test_mojibake_far_into_a_text_is_left_to_stats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "SAMPLED", 1)
    read = corpus.read([write_file(tmp_path, ("CafÃ©\n" * 5000).encode())])
    (issue,) = read.issues
    assert "places near the start look like UTF-8 read as another encoding" in issue.text
    assert issue.count < 5000
