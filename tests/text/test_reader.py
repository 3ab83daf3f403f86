"""Byte order marks and line ends."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from text_files import write_file

from charrnn.config import Reading
from charrnn.errors import OptionError
from charrnn.text import corpus, sources
from charrnn.text.reader import Reader, silent
from charrnn.text.sources import Source


def test_a_byte_order_mark_is_dropped_with_a_notice(tmp_path: Path) -> None:
    read = corpus.read([write_file(tmp_path, b"\xef\xbb\xbfab\xef\xbb\xbf")])
    assert read.text == "ab\ufeff"  # inside a text it is a character
    assert read.num_bytes == 5
    assert len(read.notices) == 1
    assert "byte order mark" in read.notices[0]


def test_the_mark_of_every_file_is_dropped(tmp_path: Path) -> None:
    files = [write_file(tmp_path, b"\xef\xbb\xbf" + word, word.decode()) for word in (b"a", b"b")]
    assert corpus.read(files).text == "ab"


def test_crlf_stays_with_a_notice(tmp_path: Path) -> None:
    read = corpus.read([write_file(tmp_path, b"a\r\nb\n")])
    assert read.text == "a\r\nb\n"
    assert "lines end in different ways: 1 LF, 1 CR LF" in read.issues[0].text
    assert read.notices == ()  # not all of them end in CR LF


def test_lines_that_all_end_in_crlf_stay_with_a_notice(tmp_path: Path) -> None:
    read = corpus.read([write_file(tmp_path, b"a\r\nb\r\nc")])
    assert read.text == "a\r\nb\r\nc"
    assert "lines end in CR LF, which is kept (--newline lf converts it)" in read.notices[0]
    assert read.issues == ()


def test_every_line_end_becomes_lf_when_asked(tmp_path: Path) -> None:
    text = "a\r\nb\rc\n\x85d\u2028e\u2029f\fg\r"
    read = corpus.read([write_file(tmp_path, text.encode())], Reading(newline="lf"))
    assert (read.text, read.num_bytes) == ("a\nb\nc\n\nd\ne\nf\fg\n", 15)
    counts = "1 CR LF, 2 CR alone, 1 NEL (U+0085), 1 U+2028, 1 U+2029"
    assert read.notices[0].endswith(f"line ends were converted to LF: {counts}")
    assert [issue.kind for issue in read.issues] == ["form feed"]


def test_crlf_alone_is_converted_in_short_words(tmp_path: Path) -> None:
    read = corpus.read([write_file(tmp_path, b"a\r\nb\n")], Reading(newline="lf"))
    assert read.text == "a\nb\n"
    assert read.notices[0].endswith("CR LF line ends were converted to LF")


def test_war_and_peace_has_a_mark_and_crlf(tmp_path: Path, corpora_folder: Path) -> None:
    packed = (corpora_folder / "warandpeace.txt.gz").read_bytes()
    path = write_file(tmp_path, gzip.decompress(packed), "warandpeace.txt")
    kept = corpus.read([path])
    made = corpus.read([path], Reading(newline="lf"))
    assert len(kept.notices) == len(made.notices) == 2
    assert made.text == kept.text.replace("\r\n", "\n")
    assert kept.text.encode() == path.read_bytes()[3:]


def test_an_unknown_newline_policy_is_refused() -> None:
    with pytest.raises(OptionError, match=r"`newline` 'crlf' is not known: choose from keep, lf"):
        Reading(newline="crlf")


PARTS = ["\r", "\n", "a", "é", "\r\n", "\x85", "\u2028", "\u2029"]


@given(st.lists(st.sampled_from(PARTS), max_size=12), st.integers(1, 4))
def test_line_ends_across_chunks(parts: list[str], chunk: int) -> None:
    text = "".join([*parts, ".x"])
    source = Source("text", data=text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "CHUNK", chunk)
        kept = corpus.survey("text", "text", Reader([source], Reading(), silent, "reading"))
        as_lf = Reader([source], Reading(newline="lf"), silent, "reading")
        made = corpus.survey("text", "text", as_lf)
        assert (kept.text, made.text) == (text, re.sub("\r\n|[\r\x85\u2028\u2029]", "\n", text))
    assert any("CR LF" in sentence for sentence in kept.sentences()) == ("\r\n" in text)
    ends = {*re.findall("\r\n|[\n\r\x85\u2028\u2029]", text)}
    assert bool(kept.issues) == (bool(ends - {"\n", "\r\n"}) or len(ends) > 1)


def test_many_files_give_one_notice_of_each_kind(tmp_path: Path) -> None:
    for number in range(5):
        write_file(tmp_path, b"\xef\xbb\xbfa\r\nb", f"{number}.txt")
    first, second = corpus.read([tmp_path]).notices
    assert first.startswith(f"{tmp_path / '0.txt'} and 4 more files: byte order marks at")
    assert second.startswith(f"{tmp_path / '0.txt'} and 4 more files: lines end in CR LF")
