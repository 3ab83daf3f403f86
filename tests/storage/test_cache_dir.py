"""The folders of the caches, also where a user has none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest

from charrnn.storage import cache_dir
from charrnn.storage.cache_dir import temporary_dir, user_cache_dir, writable


def test_each_kind_has_a_folder_in_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / name)
    assert cache_dir.cache_dir("kernels") == tmp_path / "charrnn" / "kernels"
    assert list(tmp_path.iterdir()) == []  # naming a folder does not make it


def test_a_folder_is_made_when_it_is_written(tmp_path: Path) -> None:
    assert writable(tmp_path / "new" / "folder") == tmp_path / "new" / "folder"
    assert (tmp_path / "new" / "folder").is_dir()


def test_a_folder_that_cannot_be_written_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    substitute = writable(tmp_path / "file" / "kind")
    assert substitute == temporary_dir() / "kind"
    assert substitute.is_dir()


def test_without_a_home_folder_nothing_is_made_in_the_working_directory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: Path("~/.cache") / name)
    assert user_cache_dir() is None
    assert cache_dir.cache_dir("kernels").parent == temporary_dir()


@pytest.mark.skipif(os.name != "posix", reason="other users can read only where modes are kept")
def test_the_temporary_folder_is_private_and_removed_at_the_end() -> None:
    script = (
        "from charrnn.storage.cache_dir import temporary_dir\n"
        "print(oct(temporary_dir().stat().st_mode & 0o777))\n"
        "print(temporary_dir())\n"
    )
    command = [sys.executable, "-c", script]
    mode, folder = subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout.split()
    assert mode == "0o700"
    assert not Path(folder).exists()
