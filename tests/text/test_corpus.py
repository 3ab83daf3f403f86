import bz2
import gzip
import hashlib
import io
import lzma
import os
import random
import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charrnn.config import Reading
from charrnn.errors import CorpusError, OptionError
from charrnn.text import corpus, sources, utf8
from charrnn.text.reader import Reader, silent
from charrnn.text.sources import Source

any_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def _file(folder: Path, content: bytes, name: str = "text.txt") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _refused(*paths: Path | str) -> str:
    with pytest.raises(CorpusError) as caught:
        corpus.read(paths)
    return str(caught.value)


def test_a_plain_text_is_read_unchanged(tmp_path: Path) -> None:
    path = _file(tmp_path, "a\ncafé\t漢\x0c".encode(), "my.text.txt")
    read = corpus.read([path])
    assert read.text == "a\ncafé\t漢\x0c"
    assert read.num_bytes == 12  # a, LF, c, a, f: 5; é: 2; tab: 1; 漢: 3; FF: 1
    assert read.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (read.name, read.files, read.notices) == ("my", (str(path.resolve()),), ())


def test_a_byte_order_mark_is_dropped_with_a_notice(tmp_path: Path) -> None:
    read = corpus.read([_file(tmp_path, b"\xef\xbb\xbfab\xef\xbb\xbf")])
    assert read.text == "ab\ufeff"  # inside a text it is a character
    assert read.num_bytes == 5
    assert len(read.notices) == 1
    assert "byte order mark" in read.notices[0]


def test_the_mark_of_every_file_is_dropped(tmp_path: Path) -> None:
    files = [_file(tmp_path, b"\xef\xbb\xbf" + word, word.decode()) for word in (b"a", b"b")]
    assert corpus.read(files).text == "ab"


def test_crlf_stays_with_a_notice(tmp_path: Path) -> None:
    read = corpus.read([_file(tmp_path, b"a\r\nb\n")])
    assert read.text == "a\r\nb\n"
    assert "CR LF" in read.notices[0]


def test_crlf_becomes_lf_when_asked(tmp_path: Path) -> None:
    read = corpus.read([_file(tmp_path, b"a\r\nb\rc\n")], Reading(newline="lf"))
    assert (read.text, read.num_bytes) == ("a\nb\rc\n", 6)
    assert "made LF" in read.notices[0]


def test_invalid_utf8_is_refused_with_file_offset_and_line(tmp_path: Path) -> None:
    path = _file(tmp_path, b"one\ntwo\ncaf\xe9\n")
    message = _refused(path)
    # "one\n" and "two\n" are 8 bytes, "caf" 3 more: the byte e9 is at offset 11, in line 3
    assert message.startswith(f"{path} is not UTF-8: byte e9 at offset 11, line 3 (")
    assert "`encoding`" in message
    assert "`errors` replace" in message


def test_the_offset_of_an_error_includes_the_byte_order_mark(tmp_path: Path) -> None:
    assert "byte ff at offset 5, line 2" in _refused(_file(tmp_path, b"\xef\xbb\xbfa\n\xff"))


@pytest.mark.parametrize("tail", [b"\xc3", b"\xe6\xbc", b"\xf0\x9f\x98"])
def test_a_text_cut_inside_a_character_is_refused(tmp_path: Path, tail: bytes) -> None:
    assert "offset 2, line 1" in _refused(_file(tmp_path, b"ab" + tail))


def test_encoded_surrogates_are_not_utf8(tmp_path: Path) -> None:
    assert "is not UTF-8" in _refused(_file(tmp_path, b"\xed\xa0\x80"))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"PK\x03\x04\xff", "a zip archive"),
        (b"%PDF-1.7\n%\xe2\xe3", "a PDF document"),
        ("text".encode("utf-16"), "UTF-16 text: read it with `encoding` utf-16"),
        (b"\xfe\xff" + "text".encode("utf-16-be"), "UTF-16 text: read it with `encoding` utf-16"),
    ],
)
def test_an_error_names_the_kind_of_a_file_that_is_not_text(
    tmp_path: Path, content: bytes, what: str
) -> None:
    path = _file(tmp_path, content)
    assert _refused(path).startswith(f"{path} is {what}")


def test_a_text_that_begins_like_an_archive_is_read(tmp_path: Path) -> None:
    assert corpus.read([_file(tmp_path, b"BZh is German")]).text == "BZh is German"


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = _file(tmp_path, content)
    assert _refused(path).startswith(f"{path} is empty (0 characters)")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    assert _refused(tmp_path).startswith(f"{tmp_path} is an empty folder")


def test_a_folder_of_hidden_files_is_empty(tmp_path: Path) -> None:
    _file(tmp_path, b"a", ".hidden")
    _file(tmp_path, b"a", ".git/text")
    assert "is an empty folder" in _refused(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _refused("none.txt").startswith(f"none.txt does not exist (looked in {tmp_path})")


def test_a_folder_is_read_in_the_order_of_names_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.txt", "a/.hidden", ".git/x", "c.txt", "a.txt"):
        _file(tmp_path, f"<{name}>".encode(), name)
    read = corpus.read([tmp_path])
    names = [Path(file).relative_to(tmp_path.resolve()).as_posix() for file in read.files]
    assert names == ["a/z.txt", "a.txt", "b.txt", "c.txt"]  # by path, part by part
    assert read.text == "<a/z.txt><a.txt><b.txt><c.txt>"


def test_a_hidden_folder_named_by_the_user_is_read(tmp_path: Path) -> None:
    _file(tmp_path, b"a", ".notes/a.txt")
    assert corpus.read([tmp_path / ".notes"]).text == "a"


def test_files_are_read_in_the_order_given(tmp_path: Path) -> None:
    first, second = _file(tmp_path, b"1", "z.txt"), _file(tmp_path, b"2", "a.txt")
    read = corpus.read([first, second])
    assert (read.text, read.name) == ("12", "z")


def test_standard_input_is_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = types.SimpleNamespace(buffer=io.BytesIO("é\n".encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    read = corpus.read(["-"])
    assert (read.name, read.files) == ("stdin", ("-",))
    assert [read.text, read.text] == ["é\n", "é\n"]  # it can be read again


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    inside = _file(tmp_path, b"a") / "b"  # a path through a file
    assert _refused(inside) == f"{inside} cannot be read: Not a directory"


def test_war_and_peace_has_a_mark_and_crlf(tmp_path: Path, corpora_folder: Path) -> None:
    packed = (corpora_folder / "warandpeace.txt.gz").read_bytes()
    path = _file(tmp_path, gzip.decompress(packed), "warandpeace.txt")
    kept = corpus.read([path])
    made = corpus.read([path], Reading(newline="lf"))
    assert len(kept.notices) == len(made.notices) == 2
    assert made.text == kept.text.replace("\r\n", "\n")
    assert kept.text.encode() == path.read_bytes()[3:]


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}


def _zstd(data: bytes) -> bytes:
    zstandard = pytest.importorskip("zstandard")
    packed: bytes = zstandard.ZstdCompressor().compress(data)
    return packed


@pytest.mark.parametrize("pack", [*PACKERS.values(), _zstd])
def test_compressed_files_are_recognized_by_their_bytes(tmp_path: Path, pack: Any) -> None:
    data = ("packed é\n" * 40_000).encode()
    assert corpus.read([_file(tmp_path, pack(data), "plain.txt")]).text == data.decode()
    two = _file(tmp_path, pack(data) + pack(b"more"), "two")  # as made by two appending programs
    assert corpus.read([two]).text == data.decode() + "more"
    assert corpus.read([_file(tmp_path, pack(b"x"), "x")]).text == "x"


@pytest.mark.parametrize("pack", [*PACKERS.values(), _zstd])
def test_truncated_compressed_files_are_refused(tmp_path: Path, pack: Any) -> None:
    packed = pack(random.Random(1).randbytes(9000).hex().encode())
    assert "is damaged" in _refused(_file(tmp_path, packed[: len(packed) // 2]))


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_corrupt_compressed_files_are_refused(tmp_path: Path, pack: Any) -> None:
    packed = bytearray(pack(random.Random(1).randbytes(9000).hex().encode()))
    packed[len(packed) // 2] ^= 0xFF
    assert "text.txt" in _refused(_file(tmp_path, bytes(packed)))


@pytest.mark.parametrize("pack", [*PACKERS.values(), _zstd])
def test_a_small_file_that_decompresses_to_a_huge_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Any
) -> None:
    monkeypatch.setattr(sources, "MIN_UNPACKED", 10**5)
    path = _file(tmp_path, pack(b"a" * 10**6 * 3))
    message = _refused(path)
    assert "unpacks to more than" in message
    assert "`max_unpacked`" in message
    assert corpus.read([path], Reading(max_unpacked=3 * 10**6)).characters == 3 * 10**6
    with pytest.raises(CorpusError, match="more than 2,999,999"):
        corpus.read([path], Reading(max_unpacked=2_999_999))


def test_without_zstandard_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    assert "run pip install '.[zstd]' in a clone of charrnn" in _refused(
        _file(tmp_path, b"\x28\xb5\x2f\xfd\x00")
    )


def test_a_compressed_tar_archive_is_refused(tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(_file(tmp_path, b"text"))
    assert "is a packed tar archive" in _refused(tmp_path / "a.tar.gz")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "utf-32", "cp1252"])
def test_other_encodings_are_read_when_named(tmp_path: Path, encoding: str) -> None:
    text = "one\r\ncafé\n" * 30_000
    read = corpus.read([_file(tmp_path, text.encode(encoding))], Reading(encoding=encoding))
    assert read.text == text
    assert read.num_bytes == len(text.encode())


@pytest.mark.parametrize("encoding", ["shift-jis", "gb18030", "big5", "euc-kr"])
def test_encodings_with_characters_across_chunks(
    tmp_path: Path, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "CHUNK", 7)
    text = "ab日本c\n" * 20
    read = corpus.read([_file(tmp_path, text.encode(encoding))], Reading(encoding=encoding))
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
        corpus.read([_file(tmp_path, data)], Reading(encoding=encoding))
    found = re.search(r"at offset (\d+), line (\d+)", str(caught.value))
    assert found
    assert int(found[1]) == offset
    assert encoding != "utf-16-le" or int(found[2]) >= 1  # whose line feeds have two bytes
    assert encoding == "utf-16-le" or int(found[2]) == line


def test_the_encoding_is_guessed_for_the_message(tmp_path: Path) -> None:
    text = "Съешь же ещё этих мягких французских булок, да выпей чаю.\n" * 20
    message = _refused(_file(tmp_path, text.encode("cp1251")))
    assert "it looks like cp1251: `encoding` cp1251 reads it" in message


def test_invalid_bytes_are_replaced_when_asked(tmp_path: Path) -> None:
    read = corpus.read([_file(tmp_path, b"caf\xe9 ol\xc3\xa9")], Reading(errors="replace"))
    assert read.text == "caf\ufffd olé"
    assert "became U+FFFD" in read.notices[0]


@pytest.mark.parametrize("name", ["utf-9", "base64", "", "a\x00", "rot13"])
def test_an_unknown_encoding_is_refused(name: str) -> None:
    with pytest.raises(OptionError, match="`encoding`"):
        Reading(encoding=name)


def test_an_unknown_newline_policy_is_refused() -> None:
    with pytest.raises(OptionError, match=r"`newline` 'crlf' is not known: did you mean lf\?"):
        Reading(newline="crlf")


@settings(max_examples=100)
@given(st.lists(st.sampled_from(["\r", "\n", "a", "é", "\r\n"]), max_size=12), st.integers(1, 4))
def test_line_ends_across_chunks(parts: list[str], chunk: int) -> None:
    text = "".join([*parts, "."])
    source = Source("text", data=text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "CHUNK", chunk)
        kept = corpus.survey("text", "text", Reader([source], Reading(), silent, "reading"))
        as_lf = Reader([source], Reading(newline="lf"), silent, "reading")
        made = corpus.survey("text", "text", as_lf)
        assert (kept.text, made.text) == (text, text.replace("\r\n", "\n"))
    assert any("CR LF" in notice for notice in kept.notices) == ("\r\n" in text)


@settings(max_examples=100)
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


@given(any_text)
def test_code_points_are_those_of_the_text(text: str) -> None:
    assert utf8.code_points(text.encode()).tolist() == list(map(ord, text))


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


def test_include_and_exclude_select_files_of_a_folder(tmp_path: Path) -> None:
    for name in ("a.c", "b.h", "old/c.c", "old/d.txt"):
        _file(tmp_path, f"<{name}>".encode(), name)
    read = corpus.read([tmp_path], Reading(include="*.[ch]", exclude=("old/*",)))
    assert read.text == "<a.c><b.h>"
    assert (
        corpus.read([tmp_path], Reading(include=("*.c", "d.*"))).text == "<a.c><old/c.c><old/d.txt>"
    )
    with pytest.raises(CorpusError, match="has no such files"):
        corpus.read([tmp_path], Reading(include="*.py"))


def test_a_pattern_reads_all_matching_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b.txt", "a.txt", "c/d.txt", "e.md"):
        _file(tmp_path, f"<{name}>".encode(), name)
    monkeypatch.chdir(tmp_path)
    assert corpus.read(["*.txt"]).text == "<a.txt><b.txt>"
    assert corpus.read(["**/*.txt"]).text == "<a.txt><b.txt><c/d.txt>"
    assert _file(tmp_path, b"literal", "[x].txt")
    assert corpus.read(["[x].txt"]).text == "literal"
    assert _refused("*.rst").startswith("*.rst does not exist, and as a pattern it matches no file")


def test_an_error_about_a_missing_file_suggests_a_similar_name(tmp_path: Path) -> None:
    near = _file(tmp_path, b"a", "shakespeare.txt")
    assert f"did you mean {near}?" in _refused(tmp_path / "shakespear.txt")


def test_a_pipe_is_read_once_and_can_be_read_again(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.write(theirs, b"through a pipe")
    os.close(theirs)
    read = corpus.read([f"/dev/fd/{ours}"])
    os.close(ours)
    assert (read.text, read.files) == ("through a pipe", ("-",))


def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = _file(tmp_path, b"x" * 2**18)

    def grow(what: str, done: int, total: int) -> None:
        with path.open("ab") as file:
            file.write(b"more")
        os.utime(path, ns=(0, done))

    with pytest.raises(CorpusError, match="changed while it was read"):
        corpus.read([path], progress=grow)


def test_progress_is_in_bytes_of_the_files(tmp_path: Path) -> None:
    packed = gzip.compress(random.Random(1).randbytes(200_000).hex().encode())
    seen: list[tuple[str, int, int]] = []
    corpus.read([_file(tmp_path, packed)], progress=lambda *step: seen.append(step))
    assert {(what, total) for what, _, total in seen} == {("reading", len(packed))}
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert seen[-1][1] == len(packed)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("binary\x00" * 9, ["looks binary", "9 of its characters are NUL"]),
        ("a\x1b[0mb\x07", ["2 control characters (U+0007, U+001B)"]),
        ("lost \ufffd", ["U+FFFD 1 times"]),
        ("aaaa", ["one character over and over"]),
        ("h\x00e\x00l\x00l\x00o\x00", ["--encoding utf-16-le"]),
    ],
)
def test_suspicious_characters_give_notices(text: str, words: list[str]) -> None:
    (notice,) = corpus.from_text(text).notices
    assert [word for word in words if word not in notice] == []


def test_many_files_give_one_notice_of_each_kind(tmp_path: Path) -> None:
    for number in range(5):
        _file(tmp_path, b"\xef\xbb\xbfa\r\nb", f"{number}.txt")
    first, second = corpus.read([tmp_path]).notices
    assert first.startswith(f"{tmp_path / '0.txt'} and 4 more files: byte order marks at")
    assert second.startswith(f"{tmp_path / '0.txt'} and 4 more files: lines end in CR LF")


def test_code_points_are_64_bit_integers() -> None:
    assert corpus.from_text("é").points.dtype == np.int64


@pytest.mark.parametrize("places", [(0,), (8191, 8192), (20_000,), (3, 39_998), (39_998,)])
def test_only_blocks_beyond_ascii_are_cut_small(places: tuple[int, ...]) -> None:
    text = bytearray(b"x" * 40_000)
    for place in places:
        text[place : place + 2] = "é".encode()
    blocks = list(utf8.small_blocks(iter([bytes(text)])))
    assert b"".join(blocks) == text
    small = [block for block in blocks if not block.isascii()]
    assert all(len(block) <= utf8.SMALL for block in small)
    between = (places[-1] + 1) // 8192 - places[0] // 8192 + 1
    assert len(blocks) <= between + 2  # before and behind in one piece each
