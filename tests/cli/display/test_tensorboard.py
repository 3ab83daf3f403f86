from __future__ import annotations

from pathlib import Path

import pytest
import strict_json

from charrnn.run_dir import RunDir
from charrnn.training.events import Metrics, Planned, Progress
from cli.conftest import Cli, modules_in, story

SMALL = ("--hidden-size", 8, "--threads", 1, "--out", "run")


def curves(folder: Path) -> dict[str, dict[int, float]]:
    """Return what TensorBoard reads: the values of each curve by step."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {
        name: {point.step: point.value for point in events.Scalars(name)}
        for name in events.Tags()["scalars"]
    }


def test_the_curves_are_those_of_the_metrics_even_after_a_resume(cli: Cli) -> None:
    (cli.folder / "text.txt").write_text(story(6000), "utf-8")
    cli("train", "text.txt", *SMALL, "--steps", 6, "--tensorboard")
    cli("train", "text.txt", *SMALL, "--resume", "--steps", 9, "--log-to", "tensorboard")
    rows = strict_json.rows(cli.folder / "run" / "metrics.jsonl")
    found = curves(cli.folder / "run" / "tensorboard")
    assert {
        "nats/train",
        "nats/valid",
        "training/learning rate",
        "training/characters per second",
    } <= found.keys()
    assert rows[-1]["step"] == 9
    for name, column in (("nats/train", "train_nats"), ("nats/valid", "valid_nats")):
        expected = {row["step"]: row[column] for row in rows if row[column] is not None}
        assert found[name] == pytest.approx(expected, rel=1e-6)


def test_the_curves_of_a_training_that_is_planned_anew_begin_again(tmp_path: Path) -> None:
    planned = Planned(RunDir(tmp_path), *[None] * 3)  # type: ignore[arg-type]
    from charrnn.cli.display.tensorboard import TensorBoard

    with TensorBoard() as board:
        for steps in ((1, 5), (3, 6)):
            board.show(planned)
            for step in steps:
                metrics = Metrics(step, 0.1, 9, 0.1, 1.0, 2.0, None, 0.01, 1.0, 0.0, 9.0)
                board.show(Progress(metrics, None))  # type: ignore[arg-type]
    assert curves(tmp_path / "tensorboard")["nats/train"] == {3: 2.0, 6: 2.0}


def test_what_cannot_be_logged(cli: Cli) -> None:
    line = ("train", "nowhere.txt", "--log-to")
    assert "did you mean tensorboard?" in cli(*line, "tensorbord", code=2).sentence
    (cli.folder / "absent").mkdir()
    (cli.folder / "absent" / "tensorboard.py").write_text("raise ImportError('no')")
    done = cli(*line, "tensorboard", code=2, env=modules_in(cli.folder / "absent"))
    assert done.sentence.endswith("run pip install '.[tensorboard]' in a clone of charrnn")
