"""The folders of the caches, also where a user has none."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import platformdirs
import pytest

from charrnn.errors import RunError
from charrnn.storage import cache_dir
from charrnn.storage.cache_dir import CacheWarning, is_temporary, trusted, writable

posix = pytest.mark.skipif(os.name != "posix", reason="folders are private by their modes")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the folder for temporary files of a process in which nothing was chosen yet."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    _forget()
    yield folder
    _forget()


def _forget() -> None:
    for cached in (cache_dir._substitute, cache_dir._private_dir, cache_dir._process_dir):
        cached.cache_clear()


def _own(temporary: Path) -> Path:
    return temporary / f"charrnn-{os.getuid()}"


def _no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(platformdirs, "user_cache_path", fail)


def test_each_kind_has_a_folder_in_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / name)
    assert cache_dir.cache_dir("kernels") == tmp_path / "charrnn" / "kernels"
    assert list(tmp_path.iterdir()) == []  # naming a folder does not make it


def test_a_folder_is_made_when_it_is_written(tmp_path: Path) -> None:
    assert writable(tmp_path / "new" / "folder") == tmp_path / "new" / "folder"
    assert (tmp_path / "new" / "folder").is_dir()


@posix
def test_a_folder_that_cannot_be_written_is_replaced_and_that_is_said_once(
    tmp_path: Path, temporary: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(CacheWarning, match=f"file/kind cannot be written: .* {_own(temporary)};"):
        substitute = writable(tmp_path / "file" / "kind")
    assert substitute == _own(temporary) / "kind"
    assert substitute.is_dir()
    assert writable(tmp_path / "file" / "kind") == substitute  # warnings are errors in tests


@posix
def test_a_full_disk_is_left_alone_and_that_is_said(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cache" / "kernels"

    def usage(path: Path) -> Any:
        return SimpleNamespace(free=2**40 if Path(path).is_relative_to(temporary) else 4096)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    with pytest.warns(CacheWarning, match="its disk is full"):
        assert writable(folder) == _own(temporary) / "kernels"


def test_all_kinds_share_one_warning(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / "file" / name)
    with pytest.warns(CacheWarning, match="file/charrnn cannot be written"):
        assert cache_dir.cache_dir("corpora") == _own(temporary) / "corpora"
    assert writable(cache_dir.cache_dir("kernels") / "1") == _own(temporary) / "kernels" / "1"


@posix
@pytest.mark.parametrize("left_as_it_is", [False, True])
def test_without_a_home_folder_the_caches_lie_among_the_temporary_files(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, left_as_it_is: bool
) -> None:
    """An unknown user id is an error of platformdirs, or leaves the ~ as it is."""
    _no_home(monkeypatch)
    if left_as_it_is:
        monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: Path("~/.cache") / name)
    with pytest.warns(CacheWarning, match="no home folder"):
        assert cache_dir.cache_dir("kernels").parent == _own(temporary)
    assert _own(temporary).stat().st_mode & 0o777 == 0o700
    assert not is_temporary(_own(temporary))  # it stays for the next process
    _forget()
    with pytest.warns(CacheWarning):
        assert cache_dir.cache_dir("kernels").parent == _own(temporary)


@posix
@pytest.mark.parametrize("taken", ["a link", "open to others", "a file"])
def test_a_folder_that_others_can_write_is_not_used(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch, taken: str
) -> None:
    _no_home(monkeypatch)
    if taken == "a link":
        (tmp_path / "theirs").mkdir(mode=0o700)
        _own(temporary).symlink_to(tmp_path / "theirs")
    elif taken == "a file":
        _own(temporary).write_text("")
    else:
        _own(temporary).mkdir()
        _own(temporary).chmod(0o770)
    with pytest.warns(CacheWarning, match="until this command ends"):
        chosen = cache_dir.cache_dir("kernels")
    assert chosen.parent.parent == temporary
    assert chosen.parent != _own(temporary)
    assert is_temporary(chosen)
    assert chosen.parent.stat().st_mode & 0o777 == 0o700


@posix
def test_a_folder_of_another_user_is_not_used(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _no_home(monkeypatch)
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    _own(temporary).mkdir(mode=0o700)  # its name is that of the other user, its owner is not
    with pytest.warns(CacheWarning, match="until this command ends"):
        assert is_temporary(cache_dir.cache_dir("kernels"))


@posix
@pytest.mark.parametrize("owned", ["kernels", "home/.cache", "home"])
def test_code_is_not_executed_from_a_folder_that_another_user_owns(
    owned: str, tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "home" / ".cache" / "charrnn" / "kernels" / "1"
    folder.mkdir(parents=True)
    theirs = folder.parent if owned == "kernels" else tmp_path / owned
    assert trusted(folder) == folder
    real = Path.stat

    def stat_of(path: Path, **options: bool) -> os.stat_result:
        found = list(real(path, **options))
        found[stat.ST_UID] += 12345 * (path == theirs)
        return os.stat_result(found)

    monkeypatch.setattr(Path, "stat", stat_of)
    with pytest.warns(
        CacheWarning, match=f"{theirs} belongs to another user: .* {_own(temporary)};"
    ):
        assert trusted(folder) == _own(temporary) / "1"
    assert trusted(folder) == _own(temporary) / "1"  # said once
    assert trusted(_own(temporary) / "kernels" / "2") == _own(temporary) / "kernels" / "2"
    assert writable(folder) == folder  # of files that are only read


def test_where_nothing_can_be_written_a_sentence_says_what_to_set(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _no_home(monkeypatch)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "missing"))
    with pytest.raises(RunError, match="XDG_CACHE_HOME or TMPDIR"):
        cache_dir.cache_dir("kernels")


def test_the_folder_of_one_process_is_private_and_removed_at_the_end() -> None:
    script = (
        "from charrnn.storage.cache_dir import _process_dir\n"
        "print(oct(_process_dir().stat().st_mode & 0o777))\n"
        "print(_process_dir())\n"
    )
    command = [sys.executable, "-c", script]
    mode, folder = subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout.split()
    assert mode == "0o700" or os.name != "posix"
    assert not Path(folder).exists()
