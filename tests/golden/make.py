"""Make the golden files of format version N in ``tests/golden/N``: ``python tests/golden/make.py``.

They are made once per version and never again: later versions of charrnn must read them. What the
folder of the version lacks is made.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from charrnn import load
from charrnn.config import Reading, TextOptions, TrainOptions
from charrnn.inspection.pair_answers import evaluate_pairs
from charrnn.model.model_file import FORMAT_VERSION, MODEL_NAME
from charrnn.text import corpus, dataset
from charrnn.text.corpus import Corpus
from charrnn.text.open import Texts
from charrnn.training.control import Control
from charrnn.training.events import result_of
from charrnn.training.resume import resume
from charrnn.training.start import start

HERE = Path(__file__).parent
TEXT = "the cat is home.\nthe café is near the sea.\n" * 20
WORDS = [f"{a}{b}{c}" for a in "bcdfg" for b in "aeé" for c in "lmn"]
PAIRS = "".join(f"{word}\t{word[::-1]}\\t{len(word)}\n" for word in WORDS) + "bal\tten\n"
OPTIONS: dict[str, Any] = {"hidden_size": 4, "embedding_size": 3, "seq_len": 8, "batch_size": 4}
OPTIONS |= {"steps": 30, "device": "cpu", "backend": "library", "dropout": 0.1, "threads": 1}
PAIR_OPTIONS = {name: value for name, value in OPTIONS.items() if name != "seq_len"}
PAIR_OPTIONS |= {"cell": "lstm", "num_layers": 2, "skip_connections": True}


class Stopping:
    """Requests a stop after 12 steps."""

    asked = 0

    def stop(self) -> bool:
        self.asked += 1
        return self.asked > 12


def stopped_run(text: Corpus, options: TrainOptions, folder: Path) -> float:
    """Make a run that was stopped; return the validation loss after it is resumed."""
    control = Control(Stopping().stop)
    result_of(start(Texts(text), options, out=folder, control=control))
    (folder / ".lock").unlink()
    for name in ("config.json", "summary.json"):
        path = folder / name
        path.write_text(path.read_text().replace(str(HERE), "/golden"))
    later = shutil.copytree(folder, folder.parent / "later")
    result_of(resume(Texts(text), {}, out=later))
    nats = json.loads((later / "summary.json").read_text())["valid_nats"]
    shutil.rmtree(later)
    return float(nats)


def make_text(folder: Path) -> None:
    """Make a run on a text."""
    (folder / "text.txt").write_text(TEXT, "utf-8", newline="")
    text = corpus.read([folder / "text.txt"])
    nats = stopped_run(text, TrainOptions(**OPTIONS), folder / "run")
    model = load(folder / "run")
    expected = {
        "greedy": model.greedy("the", length=30).text,
        "nats": model.score(TEXT[-86:]).nats,
        "steps": 30,
        "valid_nats": nats,
    }
    write(folder / "expected.json", expected)


def make_pairs(folder: Path) -> None:
    """Make a run on pairs, a dataset of them, a model of the other form, and one of gaps."""
    file = folder / "words.tsv"
    file.write_text(PAIRS, "utf-8", newline="")
    pairs = corpus.read([file], Reading(pairs=True))
    options = TrainOptions(pairs=True, **PAIR_OPTIONS)
    nats = stopped_run(pairs, options, folder / "run")
    data = dataset.make(pairs, TextOptions(pairs=True, test_fraction=0.1), folder=folder / "data")
    other = TrainOptions(pairs=True, encoder="forward", context="fixed", **PAIR_OPTIONS)
    one_model(pairs, other, folder / "fixed")
    gaps = TrainOptions(fill=True, **PAIR_OPTIONS)
    one_model(corpus.read([folder.parent / "text.txt"]), gaps, folder / "gaps")
    expected: dict[str, Any] = {"valid_nats": nats, "steps": 30, "parts": {}, "models": {}}
    for part in ("train", "valid", "test"):
        found = data.pairs(part)
        texts = [(found.source(n), found.target(n)) for n in range(len(found))]
        decoded = [[data.tokenizer.decode(side) for side in pair] for pair in texts]
        expected["parts"][part] = decoded
    for name in ("run", "fixed"):
        model = load(folder / name / MODEL_NAME)
        answer = model.answer("café", length=9)
        score = evaluate_pairs(model, data.pairs("valid")).score
        told = {"answer": answer.text, "log_prob": answer.log_prob, "nats": score.nats}
        expected["models"][name] = told
    filled = load(folder / "gaps" / MODEL_NAME).fill("the ___ is near", length=6)
    expected["fill"] = {"text": filled.text, "log_prob": filled.log_prob}
    write(folder / "expected.json", expected)


def make_ensemble(folder: Path) -> None:
    """Make a run of an ensemble on the same pairs.

    That of version 1 was made on 30 November 2026, when an ensemble was stored as one network with
    zeros between its parts.
    """
    pairs = corpus.read([folder.parent / "pairs" / "words.tsv"], Reading(pairs=True))
    form = {"context": "fixed", "ensemble": 2, "embedding_size": 4}
    nats = stopped_run(pairs, TrainOptions(pairs=True, **PAIR_OPTIONS | form), folder / "run")
    answer = load(folder / "run").answer("café", length=9)
    told = {"answer": answer.text, "log_prob": answer.log_prob}
    write(folder / "expected.json", {"valid_nats": nats, "steps": 30, **told})


def one_model(text: Corpus, options: TrainOptions, folder: Path) -> None:
    """Make the model of a finished training, without the rest of its run."""
    run = folder.with_name("whole")
    result_of(start(Texts(text), options, out=run))
    folder.mkdir()
    shutil.move(run / MODEL_NAME, folder / MODEL_NAME)
    shutil.rmtree(run)


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


def main() -> None:
    folder = HERE / str(FORMAT_VERSION)
    makers: dict[Path, Callable[[Path], None]] = {
        folder: make_text,
        folder / "pairs": make_pairs,
        folder / "ensemble": make_ensemble,
    }
    missing = {path: make for path, make in makers.items() if not path.exists()}
    if not missing:
        sys.exit(f"{folder} exists: the golden files of a version are made once")
    for path, make in missing.items():
        path.mkdir()
        make(path)


if __name__ == "__main__":
    main()
