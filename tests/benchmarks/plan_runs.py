"""Make and evaluate the runs behind the planned network size; plan_runs.jsonl holds them.

    python tests/benchmarks/plan_runs.py make FOLDER_OF_TEXTS [WORKER OF_WORKERS]
    python tests/benchmarks/plan_runs.py table
    python tests/benchmarks/plan_runs.py fit

Every run has one layer, a number of steps and one thread, so its loss does not depend on the speed
of the machine, and several can run at a time. Rows that exist are not made again.
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
    """A text, millions of characters to read, and a size; all else is planned unless given."""

    text: str
    millions: float
    hidden_size: int
    cell: str = CELL
    seed: int = 1
    dropout: float | None = None


def cases() -> list[Case]:
    """Return, for each text and length, sizes around the best one."""
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
    """Run every `workers`-th case, from `worker` on, that is not in the table yet."""
    for case in cases()[worker::workers]:
        name = repr(case)
        if name in {row["case"] for row in rows()}:
            continue
        with tempfile.TemporaryDirectory() as parent:
            row = {"case": name, **measured(case, folder / TEXTS[case.text], Path(parent) / "run")}
        with TABLE.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(name, row["valid_nats"], flush=True)


def measured(case: Case, text: Path, run_dir: Path) -> dict[str, object]:
    """Train, and return the size, the length and the losses along the way."""
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
    """Fit ln nats = e_text + c N D / U^2 + b D^-beta + a N^-alpha to all texts but names.

    N is the number of parameters, D of characters read, U of characters in the text, in millions.
    Return (mean error, alpha, beta, coefficients with c, b and a last), the best fit first.
    """
    used = [row for row in rows() if row["text"] != "names"]
    texts = sorted({row["text"] for row in used})
    wanted = np.log([row["valid_nats"] for row in used])
    size, read, whole = (
        np.array([row[name] for row in used]) / 1e6 for name in ("parameters", "read", "characters")
    )
    own = np.array([[row["text"] == text for text in texts] for row in used], float)
    found = []
    for alpha, beta in itertools.product(np.arange(0.05, 1.0, 0.05), repeat=2):
        given = np.column_stack([own, size * read / whole**2, read**-beta, size**-alpha])
        solved, *_ = np.linalg.lstsq(given, wanted, rcond=None)
        error = float(np.sqrt(np.mean((given @ solved - wanted) ** 2)))
        found.append((error, float(alpha), float(beta), solved))
    return sorted(found, key=lambda law: law[0])


def fit() -> None:
    """Print what each ratio of characters per parameter costs on a long text, against the best.

    The runs leave the exponents open, so this prints the worst cost over all laws whose error is
    within 5 % of the best, as a fraction of the loss.
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
        read = seconds / (1.3 + 9 * sizes)  # microseconds per character, two threads
        cost = {}
        for rule in (4, 8, 12, 16, 20, 30, 40):
            chosen = np.abs(np.log(read / sizes / rule)).argmin()
            losses = [w[-1] * sizes**-alpha + w[-2] * read**-beta for _, alpha, beta, w in near]
            cost[rule] = max(loss[chosen] - loss.min() for loss in losses)
        print(f"{seconds} s:", ", ".join(f"{rule}: {worst:.1%}" for rule, worst in cost.items()))


def rows() -> list[dict[str, Any]]:
    """Return the rows of the table."""
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
