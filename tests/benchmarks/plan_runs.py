"""The runs that the planner's rule of size was fitted to: made here, kept as a table.

    python tests/benchmarks/plan_runs.py make FOLDER_OF_TEXTS [WORKER OF_WORKERS]
    python tests/benchmarks/plan_runs.py table
    python tests/benchmarks/plan_runs.py fit

Every run is one layer, for a number of steps, with one thread: what it reaches does not depend on
the machine's speed, and several can go at a time. Rows that are there already are not made again.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import charrnn
from charrnn.config import ModelConfig
from charrnn.model import model_file, parameters
from charrnn.run_dir import find_model

CELL = "lstm-coupled"
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
    cell: str = CELL
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
        num_layers=1,
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
        "symbols": model_file.load(find_model(run_dir)).config.vocab_size,
        "cell": case.cell,
        "hidden_size": case.hidden_size,
        "parameters": result.parameters,
        "read": result.characters,
        "epochs": result.epochs,
        "dropout": config["train"]["dropout"],
        "learning_rate": config["train"]["learning_rate"],
        "valid_nats": result.valid_nats,
        "window256_nats": result.valid_window256_nats,
        "train_curve": [[round(x["fraction"], 4), round(x["train_nats"], 4)] for x in lines[::8]],
        "valid_curve": [
            [round(x["fraction"], 4), round(x["valid_nats"], 4)] for x in lines if x["valid_nats"]
        ],
    }


def laws() -> list[tuple[float, float, float, NDArray[np.float64]]]:
    """ln nats = e_text + c N D / U^2 + b D^-beta + a N^-alpha, fitted to all long enough texts.

    N are the parameters, D the characters read, U those of the text, all in millions. Returns, the
    best first, the mean error, alpha, beta and the coefficients (c, b and a last).
    """
    kept = [row for row in rows() if row["text"] != "names"]
    texts = sorted({row["text"] for row in kept})
    wanted = np.log([row["valid_nats"] for row in kept])
    size, read, whole = (
        np.array([row[name] for row in kept]) / 1e6 for name in ("parameters", "read", "characters")
    )
    own = np.array([[row["text"] == text for text in texts] for row in kept], float)
    found = []
    for alpha, beta in itertools.product(np.arange(0.05, 1.0, 0.05), repeat=2):
        given = np.column_stack([own, size * read / whole**2, read**-beta, size**-alpha])
        solved, *_ = np.linalg.lstsq(given, wanted, rcond=None)
        error = float(np.sqrt(np.mean((given @ solved - wanted) ** 2)))
        found.append((error, float(alpha), float(beta), solved))
    return sorted(found, key=lambda law: law[0])


def fit() -> None:
    """What each rule of characters per parameter costs on a long text, beside the best size.

    The runs leave the exponents open: the worst over all laws that fit within a twentieth of the
    best is told, in parts of the loss.
    """
    near = [law for law in laws() if law[0] < 1.05 * laws()[0][0]]
    error, alpha, beta, _ = near[0]
    print(f"best: error {error:.4f}, alpha {alpha:.2f}, beta {beta:.2f}; {len(near)} laws near it")
    sizes = np.array(
        [
            parameters.count(ModelConfig(80, cell=CELL, hidden_size=hidden)) / 1e6
            for hidden in range(64, 1600, 32)
        ]
    )
    for seconds in (20, 60, 180, 600):
        read = seconds / (1.3 + 9 * sizes)  # microseconds for a character, on two threads here
        cost = {}
        for rule in (4, 8, 12, 16, 20, 30, 40):
            chosen = np.abs(np.log(read / sizes / rule)).argmin()
            losses = [w[-1] * sizes**-alpha + w[-2] * read**-beta for _, alpha, beta, w in near]
            cost[rule] = max(loss[chosen] - loss.min() for loss in losses)
        print(f"{seconds} s:", ", ".join(f"{rule}: {worst:.1%}" for rule, worst in cost.items()))


def rows() -> list[dict[str, Any]]:
    """What was measured."""
    return [json.loads(line) for line in TABLE.read_text().splitlines()] if TABLE.exists() else []


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "make":
        make(Path(rest[0]), *map(int, rest[1:] or ("0", "1")))
    elif what == "fit":
        fit()
    else:
        for row in rows():
            print(row["case"], row["parameters"], row["dropout"], row["valid_nats"])
