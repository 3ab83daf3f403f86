"""Make and show the trainings behind the plan of a fine-tuning; fine_tuning.jsonl holds them.

    python tests/benchmarks/fine_tuning.py make FOLDER_OF_TEXTS FOLDER_OF_RUNS [WORKER OF_WORKERS]
    python tests/benchmarks/fine_tuning.py table

FOLDER_OF_TEXTS holds the files named in `FILES`, as they are or packed with gzip. The models that
are fine-tuned are trained first and kept in FOLDER_OF_RUNS. Every training has a number of steps or
epochs and one thread, so its loss does not depend on the speed of the machine, and several can run
at a time. Rows that exist are not made again.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import charrnn

C = TypeVar("C")  # a case
TABLE = Path(__file__).with_suffix(".jsonl")
CORPORA = Path(__file__).parents[2] / "corpora"
FILES = {
    "peace": ("warandpeace.txt", 0, None),
    "tiny": ("tinyshakespeare.txt", 0, None),
    "wiki": ("enwik8-prefix-4MB.txt", 0, None),
    "folk": ("folk.abc", 0, None),
    "stacks": ("stacks.tex", 0, 6_000_000),
    "plays": ("tinyshakespeare.txt", 500_000, 620_000),
    "harbour": ("harbour.txt", 0, None),
    "prose": ("warandpeace.txt", 1_000_000, 1_250_000),
    "tunes": ("tunes.abc", 0, 80_000),
    "chapter": ("warandpeace.txt", 2_000_000, 2_030_000),
}


@dataclass(frozen=True)
class Base:
    """A network that is fine-tuned: two layers with skip connections, all else planned."""

    text: str
    hidden_size: int
    steps: int


@dataclass(frozen=True)
class Case:
    """A training on a text. What is None is planned; without a base, its weights are new."""

    text: str
    base: Base | None
    epochs: float
    learning_rate: float | None = None
    dropout: float | None = None
    hidden_size: int | None = None


PEACE, SMALL_PEACE = Base("peace", 256, 3000), Base("peace", 128, 5000)
TINY, WIKI, FOLK, STACKS = (Base(text, 128, 1500) for text in ("tiny", "wiki", "folk", "stacks"))
# Pairs of a text and the network that is fine-tuned on it; epochs, rates and dropouts tried for it.
TRIED: dict[tuple[str, Base], tuple[tuple[float, float, float], ...]] = {
    ("chapter", WIKI): (
        (10.0, 0.005882, 0.3),
        (10.0, 0.006, 0.45),
        (10.0, 0.006782, 0.43),
        (10.0, 0.01, 0.0),
        (10.0, 0.01, 0.3),
        (10.0, 0.03, 0.3),
        (30.0, 0.005, 0.3),
        (30.0, 0.01, 0.5),
    ),
    ("harbour", PEACE): (
        (8.0, 0.005, 0.0),
        (10.0, 0.005, 0.3),
        (10.0, 0.005498, 0.47),
        (10.0, 0.008, 0.45),
        (10.0, 0.008118, 0.3),
        (10.0, 0.01, 0.3),
    ),
    ("harbour", SMALL_PEACE): (
        (8.0, 0.005, 0.0),
        (8.0, 0.01, 0.0),
        (10.0, 0.008118, 0.23),
        (10.0, 0.010996, 0.28),
        (15.0, 0.005, 0.3),
        (15.0, 0.01, 0.4),
        (15.0, 0.03, 0.4),
    ),
    ("plays", PEACE): (
        (5.0, 0.005, 0.0),
        (5.0, 0.005, 0.3),
        (5.0, 0.01, 0.0),
        (5.0, 0.01, 0.3),
        (6.0, 0.01, 0.4),
        (10.0, 0.006, 0.45),
        (10.0, 0.01, 0.45),
        (10.0, 0.010045, 0.27),
        (20.0, 0.010045, 0.3),
    ),
    ("plays", SMALL_PEACE): (
        (5.0, 0.005, 0.0),
        (5.0, 0.005, 0.2),
        (5.0, 0.01, 0.0),
        (5.0, 0.01, 0.2),
        (5.0, 0.02, 0.0),
        (5.0, 0.03, 0.2),
        (10.0, 0.01, 0.1),
        (10.0, 0.01, 0.3),
        (10.0, 0.010045, 0.18),
        (10.0, 0.015138, 0.17),
        (15.0, 0.01, 0.3),
        (15.0, 0.03, 0.3),
    ),
    ("plays", STACKS): (
        (10.0, 0.008143, 0.18),
        (10.0, 0.01, 0.3),
        (10.0, 0.03, 0.3),
    ),
    ("prose", TINY): ((10.0, 0.018223, 0.12),),
    ("tunes", FOLK): (
        (10.0, 0.005, 0.2),
        (10.0, 0.01, 0.0),
        (10.0, 0.01, 0.3),
        (10.0, 0.01, 0.35),
        (10.0, 0.01011, 0.21),
        (10.0, 0.015284, 0.24),
        (10.0, 0.03, 0.0),
        (10.0, 0.03, 0.3),
    ),
    ("tunes", PEACE): ((10.0, 0.008776, 0.3),),
}
NEW = (
    ("chapter", None, 10.0, None, None, 128),
    ("chapter", None, 30.0, None, None, 128),
    ("harbour", None, 10.0, None, None, 128),
    ("harbour", None, 15.0, None, None, 128),
    ("harbour", None, 30.0, None, None, 128),
    ("harbour", None, 30.0, None, None, None),
    ("plays", None, 10.0, None, None, 128),
    ("plays", None, 15.0, None, None, 128),
    ("plays", None, 30.0, None, None, None),
    ("plays", None, 5.0, None, None, 128),
    ("prose", None, 10.0, None, None, 128),
    ("tunes", None, 10.0, None, None, 128),
    ("tunes", None, 30.0, None, None, None),
)


def cases() -> list[Case]:
    """Return fine-tunings as planned, with other rates and dropouts, and new networks."""
    planned = [Case(text, base, 10.0) for text, base in TRIED]
    tried = [Case(*pair, *values) for pair, others in TRIED.items() for values in others]
    return [*planned, *tried, *(Case(*new) for new in NEW)]


def text(name: str, folder: Path) -> str:
    """Return a text without byte order mark, its lines ended by LF."""
    file, begin, end = FILES[name]
    path = (CORPORA if (CORPORA / file).exists() else folder) / file
    data = path.read_bytes() if path.exists() else gzip.decompress(Path(f"{path}.gz").read_bytes())
    return data.decode().removeprefix("\ufeff").replace("\r\n", "\n")[begin:end]


def trained(base: Base, texts: Path, runs: Path) -> Path:
    """Return the run of a base, which is trained if it does not exist."""
    run = runs / f"{base.text}-{base.hidden_size}-{base.steps}"
    if not (run / "summary.json").exists():
        charrnn.train(
            text=text(base.text, texts),
            out=run,
            force=True,
            num_layers=2,
            skip_connections=True,
            hidden_size=base.hidden_size,
            steps=base.steps,
            threads=1,
        )
    return run


def measured(case: Case, texts: Path, runs: Path) -> dict[str, Any]:
    """Train, and return what was planned and the losses along the way."""
    options: dict[str, Any] = {"epochs": case.epochs, "threads": 1}
    if case.base:
        options["init_from"] = trained(case.base, texts, runs)
    elif case.hidden_size:
        options |= {"hidden_size": case.hidden_size, "num_layers": 2, "skip_connections": True}
    options |= {
        name: value
        for name in ("learning_rate", "dropout")
        if (value := getattr(case, name)) is not None
    }
    options |= {"locked_dropout": True} if case.dropout else {}
    return outcome(case, text=text(case.text, texts), **options)


def outcome(case: object, *texts: Path, **options: Any) -> dict[str, Any]:
    """Train in a folder that is removed, and return the row of a case."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        result = charrnn.train(*texts, out=run, **options)
        config = json.loads((run / "config.json").read_text())
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {
        "case": repr(case),
        "characters": config["corpus"]["train_characters"],
        "hidden_size": config["model"]["hidden_size"],
        "learning_rate": config["train"]["learning_rate"],
        "dropout": config["train"]["dropout"],
        "valid_nats": result.valid_nats,
        "valid_curve": [
            [round(x["epoch"], 2), round(x["valid_nats"], 4)] for x in lines if x["valid_nats"]
        ],
    }


def add(table: Path, cases: Iterable[C], measure: Callable[[C], dict[str, Any]]) -> None:
    """Measure every case that is not in a table yet."""
    for case in cases:
        if repr(case) in {row["case"] for row in rows(table)}:
            continue
        row = measure(case)
        with table.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(case, row["learning_rate"], row["dropout"], row["valid_nats"], flush=True)


def rows(table: Path = TABLE) -> list[dict[str, Any]]:
    """Return the rows of a table."""
    return [json.loads(line) for line in table.read_text().splitlines()] if table.exists() else []


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "make":
        worker, workers = map(int, rest[2:] or ("0", "1"))
        made, runs = cases()[worker::workers], Path(rest[1])
        add(TABLE, made, lambda case: measured(case, Path(rest[0]), runs))
    else:
        for row in rows():
            print(row["case"], row["learning_rate"], row["dropout"], row["valid_nats"])
