import gzip
import hashlib
import io
import sys
import types
from pathlib import Path

import pytest

from charrnn import corpus
from charrnn.errors import CorpusError, OptionError


def _file(folder: Path, content: bytes, name: str = "text.txt") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _refused(*paths: Path | str) -> str:
    with pytest.raises(CorpusError) as caught:
        corpus.read(paths)
    return str(caught.value)


def test_a_plain_text_is_read_as_it_is(tmp_path: Path) -> None:
    path = _file(tmp_path, "a\ncafé\t漢\x00".encode(), "my.text.txt")
    read = corpus.read([path])
    assert read.text == "a\ncafé\t漢\x00"
    assert read.num_bytes == 12  # a, LF, c, a, f: 5; é: 2; tab: 1; 漢: 3; NUL: 1
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
    assert (read.text, read.newline) == ("a\r\nb\n", "keep")
    assert "CR LF" in read.notices[0]


def test_crlf_becomes_lf_when_asked(tmp_path: Path) -> None:
    read = corpus.read([_file(tmp_path, b"a\r\nb\rc\n")], newline="lf")
    assert (read.text, read.newline, read.num_bytes) == ("a\nb\rc\n", "lf", 6)
    assert "made LF" in read.notices[0]


def test_an_unknown_newline_policy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="--newline 'crlf' is not known: use keep or lf"):
        corpus.read([_file(tmp_path, b"a")], newline="crlf")


def test_invalid_utf8_is_refused_with_file_offset_and_line(tmp_path: Path) -> None:
    path = _file(tmp_path, b"one\ntwo\ncaf\xe9\n")
    message = _refused(path)
    # "one\n" and "two\n" are 8 bytes, "caf" 3 more: the byte e9 is at offset 11, in line 3
    assert message.startswith(f"{path} is not UTF-8: byte e9 at offset 11, line 3 (")
    assert "iconv" in message


def test_the_offset_counts_from_the_start_of_the_file_also_after_a_mark(tmp_path: Path) -> None:
    assert "byte ff at offset 5, line 2" in _refused(_file(tmp_path, b"\xef\xbb\xbfa\n\xff"))


@pytest.mark.parametrize("tail", [b"\xc3", b"\xe6\xbc", b"\xf0\x9f\x98"])
def test_a_text_cut_inside_a_character_is_refused(tmp_path: Path, tail: bytes) -> None:
    assert "offset 2, line 1" in _refused(_file(tmp_path, b"ab" + tail))


def test_encoded_surrogates_are_not_utf8(tmp_path: Path) -> None:
    assert "is not UTF-8" in _refused(_file(tmp_path, b"\xed\xa0\x80"))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (gzip.compress(b"text", mtime=0), "a gzip archive: unpack it first"),
        (b"BZh91AY&SY\xff\xff", "a bzip2 archive: unpack it first"),
        (b"\xfd7zXZ\x00", "an xz archive: unpack it first"),
        (b"\x28\xb5\x2f\xfd\x00", "a zstandard archive: unpack it first"),
        (b"PK\x03\x04\xff", "a zip archive"),
        (b"%PDF-1.7\n%\xe2\xe3", "a PDF document"),
        ("text".encode("utf-16"), "UTF-16 text: convert it first"),
        (b"\xfe\xff" + "text".encode("utf-16-be"), "UTF-16 text: convert it first"),
    ],
)
def test_files_that_are_no_text_are_named_for_what_they_are(
    tmp_path: Path, content: bytes, what: str
) -> None:
    path = _file(tmp_path, content)
    assert _refused(path).startswith(f"{path} is {what}")


def test_a_text_that_begins_like_an_archive_is_a_text(tmp_path: Path) -> None:
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
    assert (read.text, read.name, read.files) == ("é\n", "stdin", ("-",))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    inside = _file(tmp_path, b"a") / "b"  # a path through a file
    assert _refused(inside) == f"{inside} cannot be read: Not a directory"


def test_war_and_peace_has_a_mark_and_crlf(tmp_path: Path, corpora_folder: Path) -> None:
    packed = (corpora_folder / "warandpeace.txt.gz").read_bytes()
    path = _file(tmp_path, gzip.decompress(packed), "warandpeace.txt")
    kept = corpus.read([path])
    made = corpus.read([path], newline="lf")
    assert len(kept.notices) == len(made.notices) == 2
    assert made.text == kept.text.replace("\r\n", "\n")
    assert kept.text.encode() == path.read_bytes()[3:]
