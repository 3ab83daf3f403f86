"""Finding and decompressing files, folders, patterns and standard input."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from text_files import refused, write_file

from charrnn.config import Reading
from charrnn.errors import CorpusError
from charrnn.text import corpus, sources

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
    assert corpus.read([write_file(tmp_path, pack(data), "plain.txt")]).text == data.decode()
    two = write_file(
        tmp_path, pack(data) + pack(b"more"), "two"
    )  # as made by two appending programs
    assert corpus.read([two]).text == data.decode() + "more"
    assert corpus.read([write_file(tmp_path, pack(b"x"), "x")]).text == "x"


@pytest.mark.parametrize("pack", [*PACKERS.values(), _zstd])
def test_truncated_compressed_files_are_refused(tmp_path: Path, pack: Any) -> None:
    packed = pack(random.Random(1).randbytes(9000).hex().encode())
    assert "is damaged" in refused(write_file(tmp_path, packed[: len(packed) // 2]))


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_corrupt_compressed_files_are_refused(tmp_path: Path, pack: Any) -> None:
    packed = bytearray(pack(random.Random(1).randbytes(9000).hex().encode()))
    packed[len(packed) // 2] ^= 0xFF
    assert "text.txt" in refused(write_file(tmp_path, bytes(packed)))


@pytest.mark.parametrize("pack", [*PACKERS.values(), _zstd])
def test_a_small_file_that_decompresses_to_a_huge_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Any
) -> None:
    monkeypatch.setattr(sources, "MIN_UNPACKED", 10**5)
    path = write_file(tmp_path, pack(b"a" * 10**6 * 3))
    message = refused(path)
    assert "unpacks to more than" in message
    assert "`max_unpacked`" in message
    assert corpus.read([path], Reading(max_unpacked=3 * 10**6)).characters == 3 * 10**6
    with pytest.raises(CorpusError, match="more than 2,999,999"):
        corpus.read([path], Reading(max_unpacked=2_999_999))


def test_without_zstandard_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    assert "run pip install '.[zstd]' in a clone of charrnn" in refused(
        write_file(tmp_path, b"\x28\xb5\x2f\xfd\x00")
    )


def test_a_pipe_is_read_once_and_can_be_read_again(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.write(theirs, b"through a pipe")
    os.close(theirs)
    read = corpus.read([f"/dev/fd/{ours}"])
    os.close(ours)
    assert (read.text, read.files) == ("through a pipe", ("-",))


def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = write_file(tmp_path, b"x" * 2**18)

    def grow(what: str, done: int, total: int) -> None:
        with path.open("ab") as file:
            file.write(b"more")
        os.utime(path, ns=(0, done))

    with pytest.raises(CorpusError, match="changed while it was read"):
        corpus.read([path], progress=grow)


def test_progress_is_in_bytes_of_the_files(tmp_path: Path) -> None:
    packed = gzip.compress(random.Random(1).randbytes(200_000).hex().encode())
    seen: list[tuple[str, int, int]] = []
    corpus.read([write_file(tmp_path, packed)], progress=lambda *step: seen.append(step))
    assert {(what, total) for what, _, total in seen} == {("reading", len(packed))}
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert seen[-1][1] == len(packed)
