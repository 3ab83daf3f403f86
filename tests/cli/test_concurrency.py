"""Commands that share files with others that run at the same time, or that were moved."""

from __future__ import annotations

import json
import random
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
import strict_json
from waiting import wait_until

from .conftest import TINY, Cli, Run, story

if sys.platform != "win32":
    from .forked import Forked

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are not forked there")


def test_two_trainings_may_prepare_the_same_text_at_once(cli: Cli) -> None:
    (cli.folder / "new.txt").write_text(story(5_000), "utf-8")
    trainings = [Forked(cli.folder, "train", "new.txt", *TINY, "--out", out) for out in "ab"]
    assert [training.end().code for training in trainings] == [0, 0]
    first, second = (cli.folder / out / "model.safetensors" for out in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_a_run_that_was_moved_is_resumed(cli: Cli) -> None:
    (cli.folder / "new.txt").write_text(story(4_000), "utf-8")
    cli("train", "new.txt", *TINY, "--out", "before")
    shutil.copytree(cli.folder / "before", cli.folder / "copy")
    (cli.folder / "before").rename(cli.folder / "after")
    for run in ("after", "copy"):
        cli("train", "new.txt", "--out", run, "--resume", "--steps", 70)
    first, second = (cli.folder / run / "model.safetensors" for run in ("after", "copy"))
    assert first.read_bytes() == second.read_bytes()


def _lines(count: int) -> str:
    return "".join(f"the cat {number} is home\n" for number in range(count))


def test_what_a_killed_prepare_left_is_removed_by_the_next_one(
    cli: Cli, times: Callable[[int, int], int]
) -> None:
    (cli.folder / "new.txt").write_text(_lines(100_000), "utf-8")
    (cli.folder / "old.txt").write_text(_lines(100), "utf-8")
    cli("prepare", "new.txt", "--out", "right")
    cli("prepare", "old.txt", "--out", "data")
    right, old = _content(cli.folder / "right"), _content(cli.folder / "data")
    chance = random.Random(3)
    words = ("prepare", "new.txt", "--out", "data", "--force")

    def killed(after: float) -> bool:
        """Kill a `prepare`; return whether it left something, which nobody could remove."""
        preparing = Forked(cli.folder, *words)
        if not after:
            wait_until(lambda: _unfinished(cli.folder) or not preparing.process.is_alive())
        preparing.kill(after)
        assert preparing.end().code in (0, -signal.SIGKILL)
        assert _content(cli.folder / "data") in (old, right)  # whole, whichever it is
        return bool(_unfinished(cli.folder))

    wait_until(lambda: killed(0))  # on a busy machine one may have ended before
    for _ in range(times(3, 60)):
        killed(chance.uniform(0, 0.6))
    cli("prepare", "new.txt", "--out", "data", "--force")
    assert _content(cli.folder / "data") == right
    assert _unfinished(cli.folder) == []


def _unfinished(folder: Path) -> list[Path]:
    return list(folder.glob(".data.*"))


def _content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_model_may_be_replaced_while_it_is_read(tiny: Run, cli: Cli) -> None:
    words = ("train", tiny.text, *TINY, "--steps", 2, "--seed", 5, "--out", "other")
    cli(*words)
    shutil.copytree(tiny.folder, cli.folder / "run")
    models = [run / "model.safetensors" for run in (tiny.folder, cli.folder / "other")]
    target, ended = cli.folder / "run" / "model.safetensors", threading.Event()

    def swap() -> None:
        for number in count():
            copy = shutil.copy(models[number % 2], target.with_name(".copy"))
            Path(copy).replace(target)
            if ended.wait(0.002):
                return

    commands = [
        ("sample", "-n", 20, "--seed", 1, "-m"),
        ("eval", tiny.text, "--json", "-m"),
        ("info", "--json"),
    ]
    expected = [[_told(cli, words, model) for model in models] for words in commands]
    drawn = _told(cli, ("plot", "--json"), target)
    thread = threading.Thread(target=swap, daemon=True)
    thread.start()
    try:
        for words, either in zip(commands, expected, strict=True):
            for _ in range(3):
                assert _told(cli, words, target) in either, words
        assert _told(cli, ("plot", "--json"), target) == drawn
    finally:
        ended.set()
        thread.join()


def _told(cli: Cli, words: tuple[object, ...], model: Path) -> str:
    """Return what a command prints about a model, without the model's name."""
    named = model.parent if "plot" in words else model
    out = cli(*words, named).out
    if "info" in words:  # the seconds are those of the run that it lies in
        out = json.dumps(strict_json.loads(out) | {"seconds": None})
    return out.replace(str(model), "MODEL").replace(str(model.parent), "RUN")


def test_of_two_resumes_of_a_run_one_trains(cli: Cli) -> None:
    (cli.folder / "new.txt").write_text(story(4_000), "utf-8")
    cli("train", "new.txt", *TINY, "--out", "run")
    words = ("train", "new.txt", "--out", "run", "--resume", "--steps", 10**9)
    both = [Forked(cli.folder, *words) for _ in range(2)]
    wait_until(lambda: not all(resume.process.is_alive() for resume in both))
    refused, trains = sorted(both, key=lambda resume: resume.process.is_alive())
    done = refused.end()
    assert done.code == 1
    assert f"run is in use by another training (process {trains.process.pid} on " in done.sentence
    assert trains.process.is_alive()
    assert trains.kill(0, signal.SIGTERM)
    assert "--out run --resume" in trains.end().err


def test_the_cache_of_datasets_may_be_deleted(
    cli: Cli, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("CHARRNN_DATASETS", str(cache))
    (cli.folder / "new.txt").write_text(story(4_000), "utf-8")
    whole = Forked(cli.folder, "train", "new.txt", *TINY, "--steps", 150, "--out", "whole").end()
    assert whole.code == 0
    training = Forked(cli.folder, "train", "new.txt", *TINY, "--steps", 150, "--out", "run")
    wait_until((cli.folder / "run" / "metrics.jsonl").exists)
    shutil.rmtree(cache)
    training.kill(0, signal.SIGTERM)
    assert training.end().code in (0, 143)
    shutil.rmtree(cache, ignore_errors=True)
    cli("train", "new.txt", "--out", "run", "--resume")
    first, second = (cli.folder / run / "model.safetensors" for run in ("whole", "run"))
    assert first.read_bytes() == second.read_bytes()
    assert list(cache.iterdir())  # it was made again
