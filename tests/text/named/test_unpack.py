from __future__ import annotations

import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from charrnn.text.named import unpack as unpacking
from charrnn.text.named.unpack import UnpackError, unpack

MEMBERS = {
    "top/b.txt": b"\xef\xbb\xbfsecond \xc3\xa9\n",
    "top/a.txt": b"first\n",
    "top/latin.txt": b"caf\xe9\n",
    "top/empty.txt": b"",
    "top/notes.md": b"not meant\n",
    "top/in/deep.txt": b"deep\n",
}


def tar(members: dict[str, bytes], *more: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in more:
            archive.addfile(info)
    return out.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


Made = Callable[..., bytes]


@pytest.fixture
def text_of(tmp_path: Path) -> Made:
    """Return `text_of(data, kind, *select)`: the text in an archive of these bytes."""

    def unpacked(data: bytes, kind: str, *select: str, limit: int = 1000) -> bytes:
        archive, text = tmp_path / "archive", tmp_path / "text"
        archive.write_bytes(data)
        with text.open("wb") as file:
            unpacked.left_out = unpack(archive, kind, select, file, limit)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "text"]
        return text.read_bytes()

    return unpacked


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("tar.gz", gzip.compress(tar(MEMBERS), mtime=0)),
        ("tar.xz", lzma.compress(tar(MEMBERS))),
        ("zip", zipped(MEMBERS)),
    ],
)
def test_selected_members_are_read_in_the_order_of_the_archive(
    text_of: Made, kind: str, data: bytes
) -> None:
    assert text_of(data, kind, "*.txt") == "second é\nfirst\ndeep\n".encode()
    assert text_of.left_out == 1
    assert text_of(data, kind, "top/*.txt", "*.md").endswith(b"first\nnot meant\n")


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("none", b"caf\xe9\n"),
        ("gzip", gzip.compress(b"caf\xe9\n", mtime=0)),
        ("zip", zipped({"a folder/": b"", "text8": b"caf\xe9\n"})),
    ],
)
def test_a_single_file_is_read_unchanged(text_of: Made, kind: str, data: bytes) -> None:
    assert text_of(data, kind) == b"caf\xe9\n"


def test_names_in_an_archive_never_become_paths(text_of: Made, tmp_path: Path) -> None:
    rude = {"../out.txt": b"a", "/tmp/out.txt": b"b", "C:\\out.txt": b"c", "x/../../out.txt": b"d"}
    assert text_of(gzip.compress(tar(rude)), "tar.gz", "*.txt") == b"abcd"
    assert text_of(zipped(rude), "zip", "*.txt") == b"abcd"
    assert not (tmp_path.parent / "out.txt").exists()


def test_links_and_devices_are_ignored(text_of: Made) -> None:
    others = []
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        info = tarfile.TarInfo("link.txt")
        info.type, info.linkname = kind, "/etc/passwd"
        others.append(info)
    assert text_of(gzip.compress(tar({"a.txt": b"a"}, *others)), "tar.gz", "*.txt") == b"a"


def test_a_text_over_the_limit_is_refused(text_of: Made) -> None:
    assert text_of(b"x" * 1000, "none", limit=1000)
    for kind, data in {
        "none": b"x" * 1001,
        "gzip": gzip.compress(b"x" * 1001),
        "zip": zipped({"a": b"x" * 1001}),
    }.items():
        with pytest.raises(UnpackError, match="longer than the 1,000 bytes"):
            text_of(data, kind)
    with pytest.raises(UnpackError, match="longer than the 9 bytes"):
        text_of(gzip.compress(tar(MEMBERS)), "tar.gz", "*.txt", limit=9)


def test_a_decompression_bomb_is_refused_while_it_is_read(text_of: Made) -> None:
    zeros = gzip.compress(bytes(20_000_000))  # packed a thousand times smaller
    with pytest.raises(UnpackError, match="200 times"):
        text_of(zeros, "gzip", limit=10**9)
    bomb = gzip.compress(tar({"skipped.bin": bytes(20_000_000), "a.txt": b"a"}))
    with pytest.raises(UnpackError, match="200 times"):
        text_of(bomb, "tar.gz", "*.txt", limit=10**9)
    with pytest.raises(UnpackError, match="200 times"):
        text_of(zipped({"a": bytes(20_000_000)}), "zip", limit=10**9)


def test_a_member_too_large_for_memory_is_refused(
    text_of: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "MAX_MEMBER", 5)
    members = {"a.txt": b"123456"}
    for kind, data in {"tar.gz": gzip.compress(tar(members)), "zip": zipped(members)}.items():
        with pytest.raises(UnpackError, match=r"a\.txt in it has 6 bytes"):
            text_of(data, kind, "*.txt")


def test_too_many_members_are_refused(text_of: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MAX_MEMBERS", 3)
    for kind, data in {"tar.gz": gzip.compress(tar(MEMBERS)), "zip": zipped(MEMBERS)}.items():
        with pytest.raises(UnpackError, match="more than 3 members"):
            text_of(data, kind, "*.txt")


def test_a_zip_that_understates_a_size_is_refused(text_of: Made) -> None:
    data = zipped({"a": b"x" * 500})
    lying = data.replace(struct.pack("<L", 500), struct.pack("<L", 5))
    assert lying != data
    with pytest.raises(UnpackError, match="damaged"):
        text_of(lying, "zip")


def test_damaged_archives_are_refused(text_of: Made) -> None:
    for kind, data in {
        "gzip": gzip.compress(bytes(range(250))),
        "zip": zipped({"a.txt": bytes(range(250))}),
        "tar.gz": gzip.compress(tar({"a.txt": b"a" * 500})),
        "tar.xz": lzma.compress(tar({"a.txt": b"a" * 500})),
    }.items():
        select = ("*.txt",) if kind.startswith("tar") else ()
        for broken in (b"", b"<html>Not found</html>", data[: len(data) // 2]):
            with pytest.raises(UnpackError, match=r"damaged|holds no"):
                text_of(broken, kind, *select)
    flipped = bytearray(gzip.compress(b"text " * 50))
    flipped[-6] ^= 1  # in its checksum
    with pytest.raises(UnpackError, match="damaged"):
        text_of(bytes(flipped), "gzip")


def test_an_archive_without_the_selected_text_is_refused(text_of: Made) -> None:
    with pytest.raises(UnpackError, match=r"holds no \*\.c or \*\.h"):
        text_of(gzip.compress(tar(MEMBERS)), "tar.gz", "*.c", "*.h")
    with pytest.raises(UnpackError, match="it has 2 files"):
        text_of(zipped({"a": b"a", "b": b"b"}), "zip")


def test_a_zip_with_a_password_is_refused(text_of: Made) -> None:
    data = bytearray(zipped({"a": b"secret"}))
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + at] |= 1  # the flag of encryption
    with pytest.raises(UnpackError, match="damaged"):
        text_of(bytes(data), "zip")


def test_a_full_disk_is_not_reported_as_a_damaged_archive(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.write_bytes(b"x" * 10)
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no device that is always full")
    with pytest.raises(OSError, match="No space"), full.open("wb", buffering=0) as file:
        unpack(archive, "none", (), file, 100)
