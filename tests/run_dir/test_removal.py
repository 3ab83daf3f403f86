"""The removal of a run: what charrnn wrote, and nothing else."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from following import train

from charrnn.config import TrainOptions
from charrnn.errors import ModelError, RunError
from charrnn.run_dir import RunDir, lock, removal
from charrnn.text import corpus

links = pytest.mark.skipif(sys.platform == "win32", reason="links need a permission there")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run with checkpoints; only copies of it are removed."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    options = TrainOptions(
        cell="lstm", steps=4, hidden_size=4, batch_size=2, seq_len=8, backend="library"
    )
    train(corpus.from_text("to be or not to be. " * 30), options, out=folder, checkpoint_every=2)
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> RunDir:
    """Return a run that may be removed."""
    import shutil

    return RunDir(Path(shutil.copytree(trained, tmp_path / "run")))


def test_everything_that_a_training_wrote_is_removed(run: RunDir) -> None:
    assert (run.path / "corpus.txt").is_file()  # a copy of the text, which was in no file
    for name in ("events.out.tfevents.17.host", ".config.json.9.tmp"):
        (run.path / name).touch()
    (run.checkpoints / ".6.9.tmp").mkdir()
    size = sum(path.stat().st_size for path in run.path.rglob("*") if path.is_file())
    assert removal.check(run) == size
    assert removal.remove(run) == []
    assert not run.path.exists()


def test_files_of_others_stay(run: RunDir) -> None:
    others = ["notes.txt", "picture.png", "checkpoints/mine", "corpus-2.txt"]
    for name in others:
        (run.path / name).touch()
    left_in_it = removal.remove(run)
    left = [path.relative_to(run.path).as_posix() for path in run.path.rglob("*")]
    assert sorted(left) == sorted([*others, "checkpoints"])
    names = ["checkpoints", "corpus-2.txt", "notes.txt", "picture.png"]
    assert [path.name for path in left_in_it] == names


def test_a_run_that_is_training_stays(run: RunDir) -> None:
    with lock.held(run), pytest.raises(RunError, match="is still training: stop it with Ctrl-C"):
        removal.remove(run)
    assert run.model.is_file()


def _foreign(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "model.safetensors").write_bytes(b"weights")


def _empty(folder: Path) -> None:
    pass


def _notes(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")


@pytest.mark.parametrize("fill", [_foreign, _empty, _notes])
def test_what_is_not_a_run_stays(tmp_path: Path, fill: Callable[[Path], None]) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    fill(folder)
    before = sorted(folder.iterdir())
    with pytest.raises(ModelError, match="is not a run of charrnn: it is not removed"):
        removal.remove(RunDir(folder))
    assert sorted(folder.iterdir()) == before
    with pytest.raises(ModelError, match="is not a run"):
        removal.remove(RunDir(tmp_path / "none"))


def test_a_run_whose_plan_is_damaged_can_be_removed(run: RunDir) -> None:
    run.config.write_bytes(b"")
    (left,) = removal.remove(run)
    assert left == run.path / "corpus.txt"  # which the plan named as a copy; it could be anyone's


@links
def test_a_link_to_a_run_is_not_followed(run: RunDir, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(run.path)
    with pytest.raises(ModelError, match="is a link"):
        removal.remove(RunDir(tmp_path / "link"))
    assert run.model.is_file()


@links
def test_links_in_a_run_lead_nowhere(run: RunDir, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    run.checkpoints.rename(outside)
    run.checkpoints.symlink_to(outside)
    mine = tmp_path / "mine"
    mine.write_text("mine")
    run.metrics.unlink()
    run.metrics.symlink_to(mine)
    kept = sorted(path.name for path in outside.rglob("*"))
    removal.remove(run)
    assert sorted(path.name for path in outside.rglob("*")) == kept
    assert mine.read_text() == "mine"
    assert [path.name for path in run.path.iterdir()] == ["checkpoints"]  # the link


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write all")
def test_a_folder_that_is_not_writable_is_a_sentence(run: RunDir) -> None:
    run.path.chmod(0o500)
    with pytest.raises(RunError, match=re.escape(str(run.path))):
        removal.remove(run)
    run.path.chmod(0o700)
