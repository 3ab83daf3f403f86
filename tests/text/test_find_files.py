"""Finding files in folders and by patterns, and leaving out what is not text."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import os
import sys
import tarfile
import tracemalloc
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from text_files import refused, write_file

from charrnn.config import Reading
from charrnn.errors import CorpusError
from charrnn.run_dir import RunDir
from charrnn.text import corpus, dataset
from charrnn.text.find_files import is_run, natural_order


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path).startswith(f"{tmp_path} is an empty folder")


def test_a_folder_of_hidden_files_is_empty(tmp_path: Path) -> None:
    write_file(tmp_path, b"a", ".hidden")
    write_file(tmp_path, b"a", ".git/text")
    assert "is an empty folder" in refused(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused("none.txt").startswith(f"none.txt does not exist (looked in {tmp_path})")


def test_a_folder_is_read_in_the_order_of_names_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.txt", "a/.hidden", ".git/x", "c.txt", "a.txt"):
        write_file(tmp_path, f"<{name}>".encode(), name)
    read = corpus.read([tmp_path])
    names = [Path(file).relative_to(tmp_path.resolve()).as_posix() for file in read.files]
    assert names == ["a/z.txt", "a.txt", "b.txt", "c.txt"]  # by path, part by part
    assert read.text == "<a/z.txt><a.txt><b.txt><c.txt>"


def test_a_folder_of_many_files_is_read_with_few_of_them_open(
    tmp_path: Path, times: Callable[[int, int], int]
) -> None:
    many = times(1_000, 100_000)
    for number in range(many):
        write_file(tmp_path, f"cat {number}\n".encode(), f"{number // 1000}/{number}.txt")
    resource = pytest.importorskip("resource")
    told: list[tuple[str, int, int]] = []
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    tracemalloc.start()
    try:
        read = corpus.read([tmp_path], progress=lambda *done: told.append(done))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    text = "".join(f"cat {number}\n" for number in range(many))
    assert read.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert len(read.files) == len(read.document_lengths) == many
    assert peak < 2**24 + 4096 * many
    done = [part for _, part, _ in told]
    assert done == sorted(done)
    assert (done[-1], told[-1][2]) == (len(text), len(text))


def test_a_hidden_folder_named_by_the_user_is_read(tmp_path: Path) -> None:
    write_file(tmp_path, b"a", ".notes/a.txt")
    assert corpus.read([tmp_path / ".notes"]).text == "a"


def test_files_are_read_in_the_order_given(tmp_path: Path) -> None:
    first, second = write_file(tmp_path, b"1", "z.txt"), write_file(tmp_path, b"2", "a.txt")
    read = corpus.read([first, second])
    assert (read.text, read.name) == ("12", "z")


def test_standard_input_is_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = types.SimpleNamespace(buffer=io.BytesIO("é\n".encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    read = corpus.read(["-"])
    assert (read.name, read.files) == ("stdin", ("-",))
    assert [read.text, read.text] == ["é\n", "é\n"]  # it can be read again


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    inside = write_file(tmp_path, b"a") / "b"  # a path through a file
    assert refused(inside) == f"{inside} cannot be read: Not a directory"


def test_a_compressed_tar_archive_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(write_file(tmp_path, b"text"))
    assert "is a compressed tar archive" in refused(tmp_path / "a.tar.gz")


def test_include_and_exclude_select_files_of_a_folder(tmp_path: Path) -> None:
    for name in ("a.c", "b.h", "old/c.c", "old/d.txt"):
        write_file(tmp_path, f"<{name}>".encode(), name)
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
        write_file(tmp_path, f"<{name}>".encode(), name)
    monkeypatch.chdir(tmp_path)
    assert corpus.read(["*.txt"]).text == "<a.txt><b.txt>"
    assert corpus.read(["**/*.txt"]).text == "<a.txt><b.txt><c/d.txt>"
    assert write_file(tmp_path, b"literal", "[x].txt")
    assert corpus.read(["[x].txt"]).text == "literal"
    assert refused("*.rst").startswith("*.rst does not exist, and as a pattern it matches no file")


def test_an_error_about_a_missing_file_suggests_a_similar_name(tmp_path: Path) -> None:
    near = write_file(tmp_path, b"a", "shakespeare.txt")
    assert f"did you mean {near}?" in refused(tmp_path / "shakespear.txt")


PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)


def write_all(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        write_file(folder, content, name)
    return folder


def zipped(**members: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def tarred(mode: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:  # type: ignore[call-overload]
        archive.addfile(tarfile.TarInfo("a.txt"))
    return packed.getvalue()


def test_numbers_in_names_are_in_natural_order(tmp_path: Path, monkeypatch: Any) -> None:
    names = ["ch10.txt", "ch2.txt", "ch1.txt", "part10/a.txt", "part9/b10.txt", "part9/b9.txt"]
    write_all(tmp_path, {name: f"<{name}>".encode() for name in names})
    order = ["ch1.txt", "ch2.txt", "ch10.txt", "part9/b9.txt", "part9/b10.txt", "part10/a.txt"]
    text = "".join(f"<{name}>" for name in order)
    assert corpus.read([tmp_path]).text == text
    monkeypatch.chdir(tmp_path)
    assert corpus.read(["**/*.txt"]).text == text


def test_natural_order_compares_any_names() -> None:
    names = ["", "1", "a", "a1", "a01", "a1b", "٣", "9" * 250, "2a"]
    assert sorted(map(Path, names), key=natural_order)
    assert natural_order(Path("a01")) == natural_order(Path("a1"))


NOT_TEXT = {
    "cover.png": (PNG, "a picture"),
    "photo.jpg": (b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(range(256)), "a picture"),
    "drawing.svg": (b"<svg></svg>", "a picture"),
    "song.mp3": (b"ID3\x04" + bytes(400), "audio"),
    "paper.pdf": (b"%PDF-1.7\n%\xe2\xe3", "a PDF document"),
    "old.doc": (OFFICE, "an old or encrypted Office document"),
    "all.zip": (zipped(a="text"), "a zip archive or an office document"),
    "table.xlsx": (zipped(mimetype="", xl="x"), "a zip archive or an office document"),
    "all.zip.gz": (gzip.compress(zipped(a="text")), "a compressed zip archive"),
    "cut.zip": (zipped(a="text")[:40], "a zip archive or an office document"),
    "all.tar": (tarred("w"), "a tar archive"),
    "all.tar.gz": (tarred("w:gz"), "a compressed tar archive"),
    "m.safetensors": ((64).to_bytes(8, "little") + b'{"a": 1}' + bytes(90), "a model"),
    "program": (bytes(range(256)) * 9, "binary data"),
}


@pytest.mark.parametrize(("name", "case"), NOT_TEXT.items(), ids=NOT_TEXT)
def test_what_is_not_text_is_skipped_in_a_folder(
    tmp_path: Path, name: str, case: tuple[bytes, str]
) -> None:
    content, what = case
    write_all(tmp_path, {"a.txt": b"text", name: content})
    read = corpus.read([tmp_path])
    assert read.text == "text"
    assert read.notices == (f"skipped 1 file that is not text: {name} ({what})",)
    assert f"{name} is" in refused(tmp_path / name)


def test_a_notice_counts_what_was_skipped_and_names_the_first(tmp_path: Path) -> None:
    left = {"~$ch1.docx": OFFICE, "Thumbs.db": OFFICE, ".DS_Store": b"Bud1", "._a": b"\x00\x05"}
    files = {"a.txt": b"text", "b.png": PNG, "c.png": PNG, "d.png": PNG, ".hidden": b"text"}
    read = corpus.read([write_all(tmp_path, {**left, **files, "desktop.ini": b"[.Shell]"})])
    assert read.text == "text"
    assert read.notices == (
        "skipped 8 files that are not text: b.png (a picture), c.png (a picture), "
        "d.png (a picture), .DS_Store (settings of macOS) and 4 more",
    )


def test_a_folder_without_any_text_is_refused(tmp_path: Path) -> None:
    write_all(tmp_path, {"b.png": PNG, "~$a.docx": OFFICE})
    words = "b.png (a picture), ~$a.docx (a lock file)"
    assert refused(tmp_path) == f"{tmp_path} holds no text, only 2 files: {words}"
    assert refused(f"{tmp_path}/*.png").endswith("only 1 file: b.png (a picture)")


def test_runs_and_datasets_of_charrnn_are_skipped(tmp_path: Path) -> None:
    write_all(tmp_path, {"a.txt": b"text", "runs/a-1/samples/1.txt": b"made up"})
    write_all(tmp_path, {f"runs/a-1/{name}": b"{}" for name in ("config.json", "metrics.jsonl")})
    dataset.make(corpus.from_text("a text " * 9), folder=tmp_path / "data")
    read = corpus.read([tmp_path])
    assert read.text == "text"
    assert read.notices == (
        "skipped 2 folders that are not text: data (made by charrnn), a-1 (made by charrnn)",
    )
    assert "holds no text, only 1 folder: a-1" in refused(tmp_path / "runs" / "a-1")


def test_the_names_of_a_runs_files_are_those_of_its_folder(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.config.touch()
    assert not is_run(tmp_path)
    run.metrics.touch()
    assert is_run(tmp_path)


def test_what_programs_leave_behind_is_refused_when_it_is_named(tmp_path: Path) -> None:
    lock = write_file(tmp_path, b"Ruth", "~$ch1.docx")
    assert refused(lock) == f"{lock} is not a text, but a lock file"


def test_binary_data_is_refused_unless_its_encoding_is_named(tmp_path: Path) -> None:
    path = write_file(tmp_path, b"text \x00\x01\x02\xff" * 99)
    advice = "if it is text, name its encoding with `encoding`"
    assert refused(path) == f"{path} is binary data: {advice}"
    assert corpus.read([path], Reading(encoding="latin-1")).characters == 9 * 99


def test_nul_may_separate_the_documents_of_a_text(tmp_path: Path) -> None:
    names = "".join(f"name {number}\0" for number in range(99))
    write_file(tmp_path, names.encode())
    read = corpus.read([tmp_path], Reading(document_separator="\0"))
    assert read.text == names
    assert len(read.document_lengths) == 99


def test_utf16_without_its_mark_is_skipped_unless_it_is_named(tmp_path: Path) -> None:
    path = write_file(tmp_path, "It was late.".encode("utf-16-le"))
    assert "(binary data, or UTF-16 without a byte order mark)" in refused(tmp_path)
    assert any("--encoding utf-16-le" in notice for notice in corpus.read([path]).sentences())


def test_excluded_files_are_not_named(tmp_path: Path) -> None:
    write_all(tmp_path, {"a.txt": b"text", "b.png": PNG, "c.md": b"more"})
    assert corpus.read([tmp_path], Reading(exclude="*.png")).notices == ()
    assert corpus.read([tmp_path], Reading(include="*.md")).text == "more"


def test_text_with_a_few_strange_characters_is_not_binary(tmp_path: Path) -> None:
    log = b"\x1b[32mok\x1b[0m \x07done\r\x08" * 50
    write_all(tmp_path, {"a.log": log, "b.txt": b"word " * 900 + b"\x00", "c.txt": b""})
    assert corpus.read([tmp_path]).characters == len(log) + 4501


def test_a_text_of_two_bytes_a_character_is_no_binary_data_if_that_is_asked_for(
    tmp_path: Path,
) -> None:
    write_file(tmp_path, "wide".encode("utf-16-le"))
    assert "holds no text" in refused(tmp_path)
    assert corpus.read([tmp_path], Reading(encoding="utf-16-le")).text == "wide"


def test_a_folder_that_cannot_be_read_is_not_left_out_silently(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(tmp_path, b"open", "a.txt")
    write_file(tmp_path, b"closed", "private/b.txt")
    scandir = os.scandir  # root may read any folder: let the system refuse this one

    def closed(path: Any) -> Any:
        if Path(path).name == "private":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    closed_folder = tmp_path / "private"
    assert refused(tmp_path) == (
        f"{closed_folder} cannot be read: Permission denied (`exclude` leaves it out)"
    )
    for pattern in ("private", "private/*"):
        assert corpus.read([tmp_path], Reading(exclude=(pattern,))).text == "open"


@pytest.mark.skipif(sys.platform == "win32", reason="names have no control characters there")
def test_a_text_and_its_runs_have_a_name_on_one_line(tmp_path: Path) -> None:
    path = write_file(tmp_path, b"text", "a\nb\x1b[1m\x7f.txt")
    assert corpus.read([path]).name == "ab1m"
