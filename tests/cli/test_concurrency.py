"""Commands that share files with others that run at the same time, or that were moved."""

from __future__ import annotations

import shutil
import sys

import pytest

from .conftest import TINY, Cli, story

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are not forked there")


def test_two_trainings_may_prepare_the_same_text_at_once(cli: Cli) -> None:
    from .forked import Forked

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
