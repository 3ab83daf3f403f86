from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from charrnn.errors import ModelError, RunError
from charrnn.storage.files import is_special, would_replace, write_atomically
from charrnn.storage.tensors import read

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such files")


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """Return a named pipe."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """Return a device that forgets what is written, with a name of its own."""
    path = tmp_path / "null"
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except OSError:
        pytest.skip("only root may make a device")
    return path


@pytest.fixture
def reader(pipe: Path) -> Iterator[int]:
    """Yield the reading end of the pipe."""
    descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    yield descriptor
    os.close(descriptor)


def test_a_device_is_written_into_and_not_replaced(device: Path) -> None:
    assert not would_replace(device)
    write_atomically(device, b"text")
    assert stat.S_ISCHR(device.stat().st_mode)
    assert list(device.parent.iterdir()) == [device]


def test_a_link_to_a_device_is_not_replaced(device: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(device)
    write_atomically(link, b"text")
    assert link.is_symlink()
    assert stat.S_ISCHR(device.stat().st_mode)


def test_a_reader_of_a_pipe_gets_the_bytes(pipe: Path, reader: int) -> None:
    write_atomically(pipe, b"text")
    assert os.read(reader, 10) == b"text"
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_nobody_waits_for_the_reader_of_a_pipe(pipe: Path) -> None:
    with pytest.raises(RunError, match=r"pipe could not be written: no program reads from it$"):
        write_atomically(pipe, b"text")
    assert is_special(pipe)


def test_nobody_waits_for_a_model_in_a_pipe(pipe: Path) -> None:
    with pytest.raises(ModelError, match=r"pipe is a device or a pipe: name a file$"):
        read(pipe, lambda header: None)


def test_files_and_folders_are_not_special(tmp_path: Path) -> None:
    file = tmp_path / "file"
    assert not would_replace(file)
    file.touch()
    assert would_replace(file)
    assert [path for path in (file, tmp_path, tmp_path / "absent") if is_special(path)] == []


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="this system has no /dev/shm")
def test_files_in_shared_memory_are_files() -> None:
    try:
        folder = tempfile.TemporaryDirectory(dir="/dev/shm")
    except OSError:
        pytest.skip("/dev/shm cannot be written")
    with folder as name:
        file = Path(name) / "file"
        file.write_text("text")
        assert not is_special(file)
        assert would_replace(file)
        write_atomically(file, b"other")
        assert file.read_bytes() == b"other"
        os.mkfifo(file.with_name("pipe"))
        assert is_special(file.with_name("pipe"))
    for special in ("/dev/null", "/dev/stdout"):
        assert is_special(Path(special)) == Path(special).exists()
