from __future__ import annotations

from pathlib import Path

import pytest
import strict_json

from cli.conftest import Cli, story

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


def test_what_cannot_be_logged(cli: Cli) -> None:
    line = ("train", "nowhere.txt", "--log-to")
    assert "did you mean tensorboard?" in cli(*line, "tensorbord", code=2).sentence
    (cli.folder / "absent").mkdir()
    (cli.folder / "absent" / "tensorboard.py").write_text("raise ImportError('no')")
    environment = {"PYTHONPATH": str(cli.folder / "absent")}
    done = cli(*line, "tensorboard", code=2, env=environment)
    assert done.sentence.endswith("run pip install '.[tensorboard]' in a clone of charrnn")
