"""Make the base model of English and compare it with new weights; base_model.jsonl holds the runs.

    python tests/benchmarks/base_model.py make FOLDER_OF_TEXTS FOLDER_OF_RUNS
    python tests/benchmarks/base_model.py compare FOLDER_OF_TEXTS
    python tests/benchmarks/base_model.py table

`make` trains for 3,000 steps on War and Peace and writes charrnn/model/english.safetensors. The
texts to compare on are none of the base's: FOLDER_OF_TEXTS holds them as NAME.txt, those with a
longer validation text than a tenth of theirs also as NAME-valid.txt. New weights get the size that
is planned for 30 epochs, the base is trained for the 10 that are planned; for the shortest texts
new weights also get as many seconds as the base. Every training has a number of epochs and one
thread, so that its loss does not depend on how busy the machine is; seconds are those of the
processor. Rows that exist are not made again.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fine_tuning import Base, add, outcome, rows, trained

from charrnn.model import model_file
from charrnn.model.bases import BASES
from charrnn.model.model_file import INT8_FORMAT

TABLE = Path(__file__).with_suffix(".jsonl")
WORK = "War and Peace by Leo Tolstoy, translated by Louise and Aylmer Maude (1922-1923)"
LONGER = ("plays200", "wiki200")
LICENSE = "CC0-1.0: no rights reserved; the text is in the public domain"


@dataclass(frozen=True)
class Case:
    """A training on a text, from the base or with new weights; what is not given is planned."""

    text: str
    base: bool
    epochs: float
    seed: int = 1


def cases() -> list[Case]:
    """Return the trainings, the shortest texts first."""
    made = []
    texts = ("wiki3", "vim10", "gpl", "guide", "wiki", "rust", "code")
    for text in texts:
        for seed in (1, 2, 3) if text in ("wiki3", "vim10") else (1,):
            made += [Case(text, True, 10.0, seed), Case(text, False, 30.0, seed)]
    # New weights for as many seconds as the base took.
    made += [Case("wiki3", False, 80.0), Case("vim10", False, 60.0)]
    made.append(Case("harbour", True, 10.0))  # fine_tuning.py has the same from float32
    # English among markup, and code with sentences of English; then longer texts of English.
    for text in ("latex", "latex2", "markup", "troff", "texinfo", "docstrings", *LONGER):
        made += [Case(text, True, 10.0), Case(text, False, 30.0)]
    return made


def make(texts: Path, runs: Path) -> None:
    """Train the base and write it into the package, its matrices in int8."""
    run = trained(Base("peace", 256, 3000), texts, runs)
    model = model_file.load(run / model_file.MODEL_NAME)
    corpus = {**model.training["corpus"], "name": WORK}
    training = {"license": LICENSE, **model.training, "corpus": corpus}
    model_file.save(BASES["english"], replace(model, training=training, format=INT8_FORMAT))


def measured(case: Case, texts: Path) -> dict[str, Any]:
    """Train, and return what was planned, the losses along the way and the seconds."""
    options: dict[str, Any] = {"epochs": case.epochs, "seed": case.seed, "threads": 1}
    options |= {"init_from": "english"} if case.base else {}
    valid = texts / f"{case.text}-valid.txt"
    options |= {"valid": valid} if valid.exists() else {}
    began = time.process_time()
    row = outcome(case, texts / f"{case.text}.txt", **options)
    return {**row, "seconds": round(time.process_time() - began, 1)}


def compare(texts: Path) -> None:
    """Run the cases that are not in the table yet."""
    add(TABLE, cases(), lambda case: measured(case, texts))


if __name__ == "__main__":
    what, *folders = sys.argv[1:]
    if what == "table":
        for row in rows(TABLE):
            print(row["case"], row["hidden_size"], row["seconds"], row["valid_nats"])
    else:
        {"make": make, "compare": compare}[what](*map(Path, folders))
