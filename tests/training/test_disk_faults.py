"""A training on a failing disk continues, says so, and leaves only complete files."""

import errno
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from following import Follower, resume, train
from waiting import HANGS

import charrnn
from charrnn.config import TrainOptions
from charrnn.errors import RunError
from charrnn.run_dir import RunDir, checkpoints
from charrnn.text.corpus import from_text
from charrnn.training import background_writer
from charrnn.training.events import Result

TEXT = "the cat is home.\nthe café is near the sea.\n" * 20
OPTIONS = {"steps": 12, "hidden_size": 4, "embedding_size": 3, "seq_len": 8, "batch_size": 4}
OPTIONS |= {"device": "cpu", "cell": "lstm", "backend": "library", "dropout": 0.1}
CALLS = ("open", "write", "fsync", "rename", "replace", "mkdir")
needs_names = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="no files' names by their numbers here"
)


class Listening(Follower):
    def __init__(self) -> None:
        self.notices: list[str] = []

    def notice(self, sentence: str) -> None:
        self.notices.append(sentence)


class Disk:
    """System calls below a folder, some of which fail.

    Attributes:
        count: calls so far.
        first, last: which of them fail.
    """

    def __init__(
        self, patch: pytest.MonkeyPatch, under: Path, first: int, last: float, error: int
    ) -> None:
        self.under, self.first, self.last, self.error = under, first, last, error
        self.count = 0
        for call in CALLS:
            patch.setattr(os, call, self.wrapped(getattr(os, call)))

    def wrapped(self, real: Any) -> Any:
        def call(target: Any, *more: Any, **named: Any) -> Any:
            if self.concerns(target):
                self.count += 1
                if self.first <= self.count <= self.last:
                    raise OSError(self.error, os.strerror(self.error), str(target))
            return real(target, *more, **named)

        return call

    def concerns(self, target: Any) -> bool:
        if isinstance(target, int):
            target = Path(f"/proc/self/fd/{target}").readlink()
        return str(target).startswith(str(self.under)) and not str(target).endswith(".lock")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"PATIENCE": HANGS, "RETRY": 0.02, "LAST_PATIENCE": 0.1}.items():
        monkeypatch.setattr(background_writer, name, seconds)


def _train(out: Path, follower: Follower | None = None) -> Result:
    options = TrainOptions(**OPTIONS)  # type: ignore[arg-type]
    text = from_text(TEXT, "tiny")
    return train(text, options, out=out, follower=follower, checkpoint_every=4)


def _resume(out: Path) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        # the disk works again, but may be busy
        patch.setattr(background_writer, "LAST_PATIENCE", HANGS)
        return resume(from_text(TEXT, "tiny"), OPTIONS, out=out, checkpoint_every=4)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the model of a training on a working disk."""
    return Path(_train(tmp_path_factory.mktemp("whole") / "run").model).read_bytes()


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> int:
    """Return how many calls such a training makes."""
    folder = tmp_path_factory.mktemp("counted")
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(patch, folder / "run", 0, 0, 0)
        _train(folder / "run")
    return disk.count


@needs_names
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_one_failing_system_call_loses_nothing(
    tmp_path: Path, whole: bytes, calls: int, error: int, times: Any, report_trials: Any
) -> None:
    tried = range(1, calls + 1, times(11, 1))
    early: list[Path] = []
    for at in tried:
        follower = Listening()
        out = tmp_path / str(at)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(background_writer, "LAST_PATIENCE", HANGS)
            Disk(patch, out, at, at, error)
            try:
                result = _train(out, follower)
            except RunError:  # before there was anything to lose
                early.append(out)
                continue
        assert Path(result.model).read_bytes() == whole
        assert all(isinstance(found, checkpoints.Found) for found in checkpoints.found(RunDir(out)))
    reported = [out / "metrics.jsonl" for out in early if (out / "metrics.jsonl").exists()]
    assert not any(path.stat().st_size for path in reported)
    report_trials(f"{os.strerror(error)}, at one system call, for every system call", len(tried))


@needs_names
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS])
def test_a_training_whose_disk_failed_for_good_can_be_resumed(
    tmp_path: Path, whole: bytes, calls: int, error: int, times: Any, report_trials: Any
) -> None:
    tried = range(12, calls + 1, times(29, 1))
    for at in tried:
        follower = Listening()
        out = tmp_path / str(at)
        with pytest.MonkeyPatch.context() as patch:
            Disk(patch, out, at, float("inf"), error)
            with pytest.raises(RunError) as caught:
                _train(out, follower)
        # The last file may not have been tried yet.
        assert os.strerror(error) in str(caught.value) or "does not respond" in str(caught.value)
        for found in checkpoints.found(RunDir(out)):
            assert isinstance(found, checkpoints.Found)
        if (out / "model.safetensors").exists():
            charrnn.load(out)
        if not (out / "summary.json").exists():  # else all was there but the folder's sync
            assert Path(_resume(out).model).read_bytes() == whole
    report_trials(
        f"{os.strerror(error)} for good, from each system call on; then resumed", len(tried)
    )


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 64 kB, less than a training writes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not _mounted("-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)):
        pytest.skip("no right to mount a disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _mounted(*words: str) -> bool:
    try:
        return subprocess.run(["mount", *words], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def test_nothing_is_lost_on_a_full_disk(disk: Path, whole: bytes, report_trials: Any) -> None:
    with pytest.raises(RunError, match=r"No space left|does not respond"):
        _train(disk / "run")
    for found in checkpoints.found(RunDir(disk / "run")):
        assert isinstance(found, checkpoints.Found)
    assert _mounted("-o", "remount,size=16m", str(disk))
    assert Path(_resume(disk / "run").model).read_bytes() == whole
    report_trials("a disk of 64 kB that fills up; resumed on one of 16 MB", 1)


@needs_names
def test_a_disk_that_is_full_for_a_while_is_reported_and_waited_for(
    tmp_path: Path, whole: bytes, calls: int
) -> None:
    follower = Listening()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(background_writer, "LAST_PATIENCE", HANGS)
        disk = Disk(patch, tmp_path / "run", calls // 3, calls // 3 + 30, errno.ENOSPC)
        result = _train(tmp_path / "run", follower)
        assert disk.count > disk.last
    assert Path(result.model).read_bytes() == whole
    assert [n for n in follower.notices if "No space left" in n and "training continues" in n]
    assert [n for n in follower.notices if n.endswith(": now written")]
    assert (tmp_path / "run" / "metrics.jsonl").read_text().count("\n") == 12


def test_a_disk_that_hangs_does_not_stop_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bytes
) -> None:
    monkeypatch.setattr(background_writer, "PATIENCE", 0.05)
    monkeypatch.setattr(background_writer, "LAST_PATIENCE", HANGS)
    answers, fsync = threading.Event(), os.fsync
    main = threading.current_thread()

    def hanging(file: int) -> None:
        if threading.current_thread() is not main:
            answers.wait(HANGS)
        fsync(file)

    class Impatient(Listening):
        trained = False

        def progress(self, metrics: Any, network: Any) -> None:
            if metrics.step == 12:
                self.trained = True
                answers.set()

    monkeypatch.setattr(os, "fsync", hanging)
    follower = Impatient()
    result = _train(tmp_path / "run", follower)
    assert follower.trained
    assert Path(result.model).read_bytes() == whole


def test_the_wall_clock_may_jump(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bytes
) -> None:
    hours = iter(range(10**9, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(hours)))
    assert Path(_train(tmp_path / "run").model).read_bytes() == whole
    assert Path(_resume(tmp_path / "run").model).read_bytes() == whole
