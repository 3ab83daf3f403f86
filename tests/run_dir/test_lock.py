import os
from pathlib import Path

import pytest

from charrnn.errors import RunError
from charrnn.run_dir import RunDir, lock


def test_a_folder_is_locked_once_at_a_time(tmp_path: Path) -> None:
    for _ in range(2):
        with (
            lock.held(RunDir(tmp_path)),
            pytest.raises(
                RunError, match=rf"in use by another training \(process {os.getpid()} on"
            ),
            lock.held(RunDir(tmp_path)),
        ):
            pass


@pytest.mark.parametrize("told", [b"", b"{", b"[]", b'{"pid": "x", "host": 3}', b"\xff" * 2000])
def test_an_unreadable_owner_is_left_out(tmp_path: Path, told: bytes) -> None:
    with lock.held(RunDir(tmp_path)):
        RunDir(tmp_path).lock.write_bytes(told)
        with (
            pytest.raises(RunError, match="in use by another training: wait for its end"),
            lock.held(RunDir(tmp_path)),
        ):
            pass


def test_a_file_cannot_be_locked_as_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be locked"), lock.held(RunDir(tmp_path / "file")):
        pass
