"""The runs that the planner's rules and the forecast were fitted to: made here, kept as a table.

    python tests/benchmarks/plan_runs.py make FOLDER_OF_TEXTS [WORKER OF_WORKERS]
    python tests/benchmarks/plan_runs.py table

Every run is a number of steps with one thread: what it reaches does not depend on the machine's
speed, and several can go at a time. Rows that are there already are not made again.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import charrnn
from charrnn import checkpoint

TABLE = Path(__file__).with_suffix(".jsonl")
TEXTS = {
    "names": "names.txt",
    "tiny": "tinyshakespeare.txt",
    "folk": "folk.abc",
    "peace": "warandpeace.txt",
    "wiki": "enwik8-prefix-4MB.txt",
    "stacks": "stacks.tex",
}


@dataclass(frozen=True)
class Case:
    """A text, so many characters read, and a size; the rest is planned unless named."""

    text: str
    millions: float
    hidden_size: int
    cell: str = "lstm-coupled"
    seed: int = 1
    dropout: float | None = None


def cases() -> list[Case]:
    """For each text and length, sizes around the best; found by going on from the middle."""
    made = []
    for text in ("tiny", "folk", "peace", "stacks"):
        for millions, sizes in (
            (1.5, (128, 192, 256, 384)),
            (5, (256, 384, 512)),
            (12, (384, 640)),
        ):
            made += [Case(text, millions, size) for size in sizes]
    made += [Case("names", millions, size) for millions in (1.5, 4) for size in (128, 256)]
    return made


def make(folder: Path, worker: int, workers: int) -> None:
    """Make what is not in the table yet; every so-manieth of it."""
    for case in cases()[worker::workers]:
        name = repr(case)
        if name in {row["case"] for row in rows()}:
            continue
        with tempfile.TemporaryDirectory() as place:
            row = {"case": name, **measured(case, folder / TEXTS[case.text], Path(place) / "run")}
        with TABLE.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(name, row["valid_nats"], flush=True)


def measured(case: Case, text: Path, run_dir: Path) -> dict[str, object]:
    """A training's size, length and losses along the way."""
    options = {} if case.dropout is None else {"dropout": case.dropout}
    result = charrnn.train(
        text,
        out=run_dir,
        cell=case.cell,
        hidden_size=case.hidden_size,
        steps=round(case.millions * 1e6 / 2048),
        seed=case.seed,
        threads=1,
        **options,
    )
    config = json.loads((run_dir / "config.json").read_text())
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return {
        "text": case.text,
        "characters": config["corpus"]["train_characters"],
        "symbols": checkpoint.load(checkpoint.find(run_dir)).config.vocab_size,
        "cell": case.cell,
        "hidden_size": case.hidden_size,
        "parameters": result.parameters,
        "read": result.characters,
        "epochs": result.epochs,
        "dropout": config["train"]["dropout"],
        "learning_rate": config["train"]["learning_rate"],
        "valid_nats": result.valid_nats,
        "window256_nats": result.valid_window256_nats,
        "train_curve": [[x["fraction"], x["train_nats"]] for x in lines[::4]],
        "valid_curve": [[x["fraction"], x["valid_nats"]] for x in lines if x["valid_nats"]],
    }


def rows() -> list[dict[str, object]]:
    """What was measured."""
    return [json.loads(line) for line in TABLE.read_text().splitlines()] if TABLE.exists() else []


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "make":
        make(Path(rest[0]), *map(int, rest[1:] or ("0", "1")))
    else:
        for row in rows():
            print(row["case"], row["parameters"], row["dropout"], row["valid_nats"])
