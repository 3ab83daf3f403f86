"""Make and show the trainings behind the plan of a fine-tuning on pairs.

    python tests/benchmarks/fine_tuning_pairs.py make FOLDER_OF_PAIRS FOLDER_OF_RUNS
    python tests/benchmarks/fine_tuning_pairs.py table

FOLDER_OF_PAIRS holds names-language.tsv and cmudict.train.tsv.gz. A network of 2 x 128 learns from
some of the pairs for ten epochs; then it is trained on others, in the same or the other direction.
Every training has a number of epochs and one thread, so its loss does not depend on the speed of
the machine. Rows that exist are not made again; fine_tuning_pairs.jsonl holds them.
"""

from __future__ import annotations

import gzip
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fine_tuning import add, outcome, rows

import charrnn

TABLE = Path(__file__).with_suffix(".jsonl")
FILES = {"sounds": "cmudict.train.tsv.gz", "languages": "names-language.tsv"}
KNOWN, NEW, HELD_OUT = 4_000, 1_000, 500  # pairs: of the first training, of the next, to judge


@dataclass(frozen=True)
class Case:
    """A training on new pairs. What is None is planned; without a base, its weights are new."""

    pairs: str
    swap: bool
    base: bool
    epochs: float
    learning_rate: float | None = None
    dropout: float | None = None


def cases() -> list[Case]:
    """Return fine-tunings as planned, new networks, and other rates, epochs and dropouts."""
    directions = [(pairs, swap) for pairs in FILES for swap in (False, True)]
    made = []
    for where in directions:
        made += [Case(*where, True, 10.0), Case(*where, False, 30.0)]
        rates = (0.02, 0.0273) if where[1] else (0.002, 0.0069)
        made += [Case(*where, True, 10.0, rate) for rate in (0.004, *rates)]
        made += [Case(*where, True, 20.0), Case(*where, True, 20.0, rates[1])]
    more = [Case("sounds", False, True, 10.0, 0.02), Case("sounds", False, True, 10.0, None, 0.0)]
    return made + more


def written(pairs: str, folder: Path, target: Path) -> dict[str, Path]:
    """Write the parts of a file of pairs; return where they are."""
    data = (folder / FILES[pairs]).read_bytes()
    text = gzip.decompress(data) if FILES[pairs].endswith(".gz") else data
    lines = text.decode().splitlines(keepends=True)
    random.Random(1).shuffle(lines)
    found = {}
    for part, count in (("known", KNOWN), ("new", NEW), ("valid", HELD_OUT)):
        found[part] = target / f"{pairs}-{part}.tsv"
        found[part].write_text("".join(lines[:count]), "utf-8", newline="")
        lines = lines[count:]
    return found


def measured(case: Case, folder: Path, runs: Path) -> dict[str, Any]:
    """Train, and return what was planned and the losses along the way."""
    parts = written(case.pairs, folder, runs)
    base = runs / case.pairs
    if case.base and not (base / "summary.json").exists():
        sizes = {"num_layers": 2, "skip_connections": True, "hidden_size": 128, "epochs": 10}
        options = {"pairs": True, "threads": 1, "out": base, "force": True}
        charrnn.train(parts["known"], valid=parts["valid"], **options, **sizes)
    options = {"pairs": True, "swap": case.swap, "epochs": case.epochs, "threads": 1}
    options |= {"init_from": base} if case.base else {}
    options |= {
        name: value
        for name in ("learning_rate", "dropout")
        if (value := getattr(case, name)) is not None
    }
    return outcome(case, parts["new"], valid=parts["valid"], **options)


def make(folder: Path, runs: Path) -> None:
    """Run every case that is not in the table yet."""
    runs.mkdir(parents=True, exist_ok=True)
    add(TABLE, cases(), lambda case: measured(case, folder, runs))


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        for row in rows(TABLE):
            print(row["case"], row["learning_rate"], row["dropout"], row["valid_nats"])
