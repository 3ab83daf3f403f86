"""A corpus: text, counts, documents and notices."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from text_files import refused, write_file

from charrnn.config import Reading
from charrnn.errors import CorpusError
from charrnn.text import corpus, sources

any_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def test_a_plain_text_is_read_unchanged(tmp_path: Path) -> None:
    path = write_file(tmp_path, "a\ncafé\t漢\x0c".encode(), "my.text.txt")
    read = corpus.read([path])
    assert read.text == "a\ncafé\t漢\x0c"
    assert read.num_bytes == 12  # a, LF, c, a, f: 5; é: 2; tab: 1; 漢: 3; FF: 1
    assert read.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (read.name, read.files, read.notices) == ("my", (str(path.resolve()),), ())


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = write_file(tmp_path, content)
    assert refused(path).startswith(f"{path} is empty (0 characters)")


@given(
    st.text("ab|é", min_size=1, max_size=30),
    st.sampled_from(["|", "ab", "éé", "aba"]),
    st.integers(1, 9),
)
@example("aababa", "aba", 1)
def test_documents_equal_a_plain_split(text: str, separator: str, chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "CHUNK", chunk)
        read = corpus.from_text(text, separator=separator)
        documents: list[bytes] = []
        for piece in read.pieces():
            documents += [b""] * piece.begins
            documents[-1] += piece.data
        assert [data for _, data in read.documents()] == documents
    parts = text.split(separator)
    expected = [part + separator for part in parts[:-1]] + [parts[-1]] * bool(parts[-1])
    assert [document.decode() for document in documents] == expected
    assert read.document_lengths.tolist() == list(map(len, expected))
    same = [[one == other for one in expected] for other in expected]
    assert (read.document_digests[:, None] == read.document_digests).tolist() == same


@given(any_text)
def test_characters_are_counted(text: str) -> None:
    read = corpus.from_text(text)
    assert "".join(map(chr, read.points.tolist())) == "".join(sorted(set(text)))
    assert read.counts.tolist() == [text.count(chr(point)) for point in read.points]
    assert (read.characters, read.num_bytes) == (len(text), len(text.encode()))
    assert read.text == text


def test_documents_have_the_names_of_their_files(tmp_path: Path) -> None:
    for name, text in (("a", "one\ntwo"), ("b", ""), ("c", "\ufeffthree\n")):
        (tmp_path / name).write_text(text, "utf-8")
    paths = [tmp_path / name for name in "abc"]
    whole = [(str(paths[0]), b"one\ntwo"), (str(paths[2]), b"three\n")]
    assert list(corpus.read(paths).documents()) == whole
    lines = corpus.read(paths, Reading(document_separator="\n")).documents()
    assert [data for _, data in lines] == [b"one\n", b"two", b"three\n"]


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(CorpusError, match="a lone surrogate, which is not a character, at index 1"):
        corpus.from_text("a\ud800")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("binary\x00" * 9, ["% of it is NUL: this is not text"]),
        ("a\x1b[0mb\x07", ["2 control characters: 1 U+0007 BELL, 1 U+001B ESCAPE"]),
        ("lost \ufffd", ["text: 1 sign of text that was lost: 1 U+FFFD"]),
        ("aaaa", ["one character over and over"]),
        ("h\x00e\x00l\x00l\x00o\x00", ["--encoding utf-16-le"]),
    ],
)
def test_suspicious_characters_give_notices(text: str, words: list[str]) -> None:
    (notice,) = corpus.from_text(text).sentences()
    assert [word for word in words if word not in notice] == []


def test_code_points_are_64_bit_integers() -> None:
    assert corpus.from_text("é").points.dtype == np.int64


def test_a_string_may_begin_with_a_byte_order_mark() -> None:
    made = corpus.from_text("\ufeffone\ntwo\n")
    assert made.text == "\ufeffone\ntwo\n"
    assert [piece.data.decode() for piece in made.pieces()] == ["\ufeffone\ntwo\n"]
