import os
from pathlib import Path

import pytest

from charrnn.errors import RunError
from charrnn.run_dir import RunDir
from charrnn.training import lock


def test_a_folder_is_held_once_and_again_afterwards(tmp_path: Path) -> None:
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
def test_who_holds_it_is_told_where_it_can_be_read(tmp_path: Path, told: bytes) -> None:
    with lock.held(RunDir(tmp_path)):
        RunDir(tmp_path).lock.write_bytes(told)
        with (
            pytest.raises(RunError, match="in use by another training: wait for its end"),
            lock.held(RunDir(tmp_path)),
        ):
            pass


def test_what_is_no_folder_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be locked"), lock.held(RunDir(tmp_path / "file")):
        pass
