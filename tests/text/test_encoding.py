"""Encodings, and errors about bytes that are not in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from text_files import refused, write_file

from charrnn.config import Reading
from charrnn.errors import CorpusError, OptionError
from charrnn.text import corpus, sources


def test_invalid_utf8_is_refused_with_file_offset_and_line(tmp_path: Path) -> None:
    path = write_file(tmp_path, b"one\ntwo\ncaf\xe9\n")
    with pytest.raises(CorpusError) as caught:
        corpus.read([path], Reading(encoding="utf-8"))
    message = str(caught.value)
    # "one\n" and "two\n" are 8 bytes, "caf" 3 more: the byte e9 is at offset 11, in line 3
    assert message.startswith(f"{path} is not UTF-8: byte e9 at offset 11, line 3 (")
    assert 'leave `encoding` out, and it is read as cp1252: "café"' in message
    assert "`errors` replace" in message


def test_the_offset_of_an_error_includes_the_byte_order_mark(tmp_path: Path) -> None:
    assert "byte ff at offset 5, line 2" in refused(write_file(tmp_path, b"\xef\xbb\xbfa\n\xff"))


@pytest.mark.parametrize("tail", [b"\xc3", b"\xe6\xbc", b"\xf0\x9f\x98"])
def test_a_text_cut_inside_a_character_is_refused(tmp_path: Path, tail: bytes) -> None:
    assert "offset 2, line 1" in refused(write_file(tmp_path, b"ab" + tail))


def test_encoded_surrogates_are_not_utf8(tmp_path: Path) -> None:
    assert "is not UTF-8" in refused(write_file(tmp_path, b"\xed\xa0\x80"))


def test_a_text_that_begins_like_an_archive_is_read(tmp_path: Path) -> None:
    assert corpus.read([write_file(tmp_path, b"BZh is German")]).text == "BZh is German"


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "utf-32", "cp1252"])
def test_other_encodings_are_read_when_named(tmp_path: Path, encoding: str) -> None:
    text = "one\r\ncafé\n" * 30_000
    read = corpus.read([write_file(tmp_path, text.encode(encoding))], Reading(encoding=encoding))
    assert read.text == text
    assert read.num_bytes == len(text.encode())


@pytest.mark.parametrize("encoding", ["shift-jis", "gb18030", "big5", "euc-kr"])
def test_encodings_with_characters_across_chunks(
    tmp_path: Path, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "CHUNK", 7)
    text = "ab日本c\n" * 20
    read = corpus.read([write_file(tmp_path, text.encode(encoding))], Reading(encoding=encoding))
    assert read.text == text


@pytest.mark.parametrize("chunk", [1, 3, 2**17])
@pytest.mark.parametrize(
    ("encoding", "data", "offset", "line"),
    [
        ("utf-8", b"a\nb\nc\xff", 5, 3),
        ("utf-8", "é\n漢".encode() + b"\xe6\xbcx", 6, 2),
        ("shift-jis", "日\n本".encode("shift-jis") + b"\x80\x80", 5, 2),
        ("ascii", b"a\n\n\xe9", 3, 3),
        ("utf-16-le", "a\n".encode("utf-16-le") + b"\x00\xdc\x00\x00", 4, 2),
    ],
)
def test_wrong_bytes_are_found_in_any_encoding(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    chunk: int,
    encoding: str,
    data: bytes,
    offset: int,
    line: int,
) -> None:
    monkeypatch.setattr(sources, "CHUNK", chunk)
    with pytest.raises(CorpusError) as caught:
        corpus.read([write_file(tmp_path, data)], Reading(encoding=encoding))
    found = re.search(r"at offset (\d+), line (\d+)", str(caught.value))
    assert found
    assert int(found[1]) == offset
    assert encoding != "utf-16-le" or int(found[2]) >= 1  # whose line feeds have two bytes
    assert encoding == "utf-16-le" or int(found[2]) == line


def test_invalid_bytes_are_replaced_when_asked(tmp_path: Path) -> None:
    read = corpus.read([write_file(tmp_path, b"caf\xe9 ol\xc3\xa9")], Reading(errors="replace"))
    assert read.text == "caf\ufffd olé"
    assert "became U+FFFD" in read.notices[0]


@pytest.mark.parametrize("name", ["utf-9", "base64", "", "a\x00", "rot13"])
def test_an_unknown_encoding_is_refused(name: str) -> None:
    with pytest.raises(OptionError, match="`encoding`"):
        Reading(encoding=name)
