"""Kill, stop and resume trainings on the command line."""

from __future__ import annotations

import itertools
import random
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import strict_json
from waiting import wait_until

from cli.conftest import BY_LIBRARY, Cli, Run, story
from cli.forked import Forked

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
CLOCKED = ("seconds", "chars_per_second")
# A checkpoint every few steps, so that most signals arrive while one is written.
WORDS = ("--steps", 60, "--hidden-size", 16, "--batch-size", 4, "--seq-len", 16, "--dropout", 0.2)
WORDS = (
    *WORDS,
    "--cell",
    "lstm",
    "--backend",
    "library",
    "--checkpoint-every",
    5,
    "--out",
    "run",
    "--seed",
    3,
)
Times = Callable[[int, int], int]
ReportTrials = Callable[[str, int], None]


def outcome(run_dir: Path) -> tuple[bytes, list[dict[str, Any]]]:
    """Return the model's bytes and the metrics without times."""
    rows = strict_json.rows(run_dir / "metrics.jsonl")
    for row in rows:
        for name in CLOCKED:
            del row[name]
    return (run_dir / "model.safetensors").read_bytes(), rows


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "story.txt"
    path.write_text(story(6000), "utf-8", newline="")
    return path


@pytest.fixture(scope="module")
def whole(text: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, float]:
    """Return the result of an undisturbed training and the seconds it takes."""
    return undisturbed(tmp_path_factory.mktemp("whole"), text, WORDS)


def undisturbed(folder: Path, text: Path, words: tuple[object, ...]) -> tuple[Any, float]:
    Forked(folder, "train", text, *words).end()  # the server is warm now
    began = time.monotonic()
    done = Forked(folder, "train", text, *words, "--force").end()
    assert done.code == 0
    return outcome(folder / "run"), time.monotonic() - began


# The same for pairs, whose epochs have 10 batches: they end between checkpoints.
PAIR_WORDS = ("--pairs", "--steps", 36, "--hidden-size", 8, "--batch-size", 15, "--dropout", 0.2)
PAIR_WORDS = (*PAIR_WORDS, *BY_LIBRARY, "--checkpoint-every", 3, "--out", "run", "--seed", 3)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "words.tsv"
    words = ["".join(word) for word in itertools.product("abc", repeat=5)][:160]
    path.write_text(
        "".join(f"{word[: 1 + n % 5]}{n}\t{word[::-1]}\n" for n, word in enumerate(words))
    )
    return path


@pytest.fixture(scope="module")
def whole_of_pairs(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, float]:
    """Return the same of a training on pairs."""
    return undisturbed(tmp_path_factory.mktemp("whole"), pairs, PAIR_WORDS)


def trainings(
    folder: Path,
    text: Path,
    whole: tuple[Any, float],
    signals: int,
    number: signal.Signals,
    words: tuple[object, ...] = WORDS,
) -> tuple[int, int]:
    """Send signals to trainings until each ends, and check that all results are the same.

    Returns the number of interruptions and the number of trainings that ended.
    """
    chance = random.Random(signals + number)
    expected, seconds = whole
    sent = ended = interrupted = 0
    while sent < signals or interrupted:
        run_dir = folder / f"{ended}"
        run_dir.mkdir(exist_ok=True)
        forked = Forked(run_dir, "train", text, *words, "--resume")
        if sent < signals and forked.kill(chance.uniform(0, seconds), number):
            sent += 1
        done = forked.end()
        interrupted = done.code != 0
        stopped = 130 if number == signal.SIGINT else 143
        assert done.code in (0, stopped, -number), done.err  # the last: before the process was ours
        assert done.code != stopped or number != signal.SIGKILL
        if not interrupted:
            assert outcome(run_dir / "run") == expected
            ended += 1
    return sent, ended


def test_nothing_is_lost_when_killed_at_random_moments(
    tmp_path: Path, text: Path, whole: tuple[Any, float], times: Times, report_trials: ReportTrials
) -> None:
    sent, _ = trainings(tmp_path, text, whole, times(6, 500), signal.SIGKILL)
    report_trials("SIGKILL at a random moment of a training, then resumed", sent)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_at_random_moments_prints_how_to_resume(
    tmp_path: Path,
    text: Path,
    whole: tuple[Any, float],
    times: Times,
    report_trials: ReportTrials,
    number: signal.Signals,
) -> None:
    sent, _ = trainings(tmp_path, text, whole, times(3, 100), number)
    report_trials(f"{number.name} at a random moment, then resumed", sent)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_training_on_pairs_ends_alike_after_signals_at_random_moments(
    tmp_path: Path,
    pairs: Path,
    whole_of_pairs: tuple[Any, float],
    times: Times,
    report_trials: ReportTrials,
    number: signal.Signals,
) -> None:
    sent, _ = trainings(tmp_path, pairs, whole_of_pairs, times(3, 100), number, PAIR_WORDS)
    report_trials(f"{number.name} at a random moment of a training on pairs, then resumed", sent)


def test_the_printed_command_resumes(tmp_path: Path, text: Path, whole: tuple[Any, float]) -> None:
    name = "a text/story.txt"
    for attempt in itertools.count():
        folder = tmp_path / str(attempt)
        (folder / "a text").mkdir(parents=True)
        (folder / name).write_bytes(text.read_bytes())
        forked = Forked(folder, "train", name, *WORDS)
        wait_until((folder / "run" / "latest").exists)
        forked.kill(0, signal.SIGTERM)
        done = forked.end()
        if done.code:  # on a busy machine it may have ended before the signal
            break
    assert done.code == 143
    assert "stopped early after" in done.err
    (line,) = [line for line in done.err.splitlines() if line.startswith("resume ")]
    assert line == f"resume   charrnn train '{name}' --out run --resume"
    done = Forked(folder, "train", name, "--out", "run", "--resume").end()
    assert done.code == 0
    assert "resumed  at step" in done.err
    assert outcome(folder / "run") == whole[0]


@pytest.fixture
def busy(tmp_path: Path, text: Path) -> Any:
    """Yield a long training in the folder ``run``."""
    words = ("--steps", 10**9, "--hidden-size", 8, *BY_LIBRARY, "--out", "run")
    forked = Forked(tmp_path, "train", text, *words)
    wait_until((tmp_path / "run" / "metrics.jsonl").exists)
    yield forked
    forked.kill(0)
    forked.end()


@pytest.mark.parametrize("word", ["--resume", "--force"])
def test_a_folder_is_locked_during_training(
    tmp_path: Path, text: Path, busy: Forked, word: str
) -> None:
    done = Forked(tmp_path, "train", text, "--out", "run", "--steps", 5, word).end()
    assert done.code == 1
    assert f"run is in use by another training (process {busy.process.pid} on " in done.sentence
    assert busy.process.is_alive()


def test_the_lock_of_a_killed_training_is_ignored(tmp_path: Path, text: Path, busy: Forked) -> None:
    busy.kill(0)
    busy.end()
    assert str(busy.process.pid) in (tmp_path / "run" / ".lock").read_text()
    words = ("--hidden-size", 8, *BY_LIBRARY, "--steps", 3)
    assert Forked(tmp_path, "train", text, "--out", "run", "--resume", *words).end().code == 0


def test_a_text_that_was_edited_is_refused(tiny: Run, cli: Cli) -> None:
    edited = cli.folder / "story.txt"
    edited.write_text(tiny.text.read_text("utf-8").replace("sea", "see", 1), "utf-8")
    before = {path: path.read_bytes() for path in tiny.folder.rglob("*") if path.is_file()}
    words = ("--out", tiny.folder, "--resume", "--hidden-size", 64)
    done = cli("train", edited, *words, code=2)
    assert "the text has SHA-256" in done.sentence
    assert "--hidden-size was 32, now 64" in done.sentence
    del before[tiny.folder / ".lock"]
    assert {path: path.read_bytes() for path in before} == before


def test_errors_of_resume(tiny: Run, cli: Cli) -> None:
    done = cli("train", tiny.text, "--resume", "--force", "--out", "x", code=2)
    assert "--force replaces a run, --resume continues it" in done.sentence
    done = cli("train", tiny.text, "--checkpoint-every", 0, code=2)
    assert "--checkpoint-every" in done.err


def test_a_text_that_has_grown_is_refused_with_the_command_that_trains_on_it(
    cli: Cli, tiny: Run
) -> None:
    shutil.copytree(tiny.folder, cli.folder / "old run")
    grown = cli.folder / "my text.txt"
    grown.write_text(tiny.text.read_text("utf-8") + "one more line\n", "utf-8")
    done = cli("train", grown.name, "--out", "old run", "--resume", "--newline", "lf", code=2)
    command = done.sentence.rpartition(": ")[2]
    assert command == "charrnn train 'my text.txt' --newline lf --init-from 'old run'"
    more = ("--steps", 2, *BY_LIBRARY, "--json")
    again = cli(*shlex.split(command)[1:], *more)
    assert "starting from a model" in again.err
    assert again.json["run_dir"] == str(Path("runs") / "my text-1")
