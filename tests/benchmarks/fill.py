"""Measure what the right context of a gap is worth: train with both sides, and with the left alone.

    python tests/benchmarks/fill.py CORPUS --minutes 10

Both networks have the same sizes, batches and budget and are scored on the same missing passages.
It prints one row of a table for each: nats per missing character, with those of the ends of gaps
and without (only the right context tells where a gap ends), and the shares of gaps that are filled
exactly right, greedily and by beam search.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import charrnn
from charrnn.generator import Generator
from charrnn.inference.pair_engine import PairEngine
from charrnn.inspection.pair_answers import evaluate_pairs
from charrnn.model.model_file import MODEL_NAME
from charrnn.run_dir import read_model
from charrnn.run_dir.run_text import held_out
from charrnn.scoring.answers import target_surprisals
from charrnn.text.gaps import Gaps, GapText

_drawn = GapText.drawn


def left_alone(self: GapText, *seed: int, limit: int | None = None) -> Gaps:
    """Return the gaps that are drawn, with empty right contexts."""
    gaps = _drawn(self, *seed, limit=limit)
    left, start, end, _ = gaps.bounds
    return replace(gaps, bounds=np.stack([left, start, end, end]))


def row(name: str, corpus: str, options: dict[str, Any]) -> str:
    """Train, score on the validation part, and return a row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        result = charrnn.train(corpus, fill=True, out=Path(folder) / "run", **options)
        path = Path(result.run_dir) / MODEL_NAME
        model = read_model(path)
        ids, documents = held_out(path, model.tokenizer, "valid")
        part = GapText(ids, documents, model.tokenizer).held_out()
        generator = Generator(model)
        found = evaluate_pairs(generator, part)
        assert isinstance(generator.engine, PairEngine)
        each = target_surprisals(generator.engine, part, 0)
        without_ends = sum(float(text.nats.sum()) for text in each) / found.score.characters
    return (
        f"| {name} | {result.parameters:,} | {result.epochs:.1f} | {found.score.nats:.4f} | "
        f"{without_ends:.4f} | "
        f"{found.greedy.exact:.1%} | {found.beam.exact:.1%} |"
    )


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--num-layers", type=int, default=2)
    given = parser.parse_args()
    options = {name: value for name, value in vars(given).items() if value is not None}
    corpus = options.pop("corpus")
    columns = ("context", "parameters", "epochs", "nats per missing character", "without ends")
    columns += ("greedy", "beam 5")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    print(row("both sides", corpus, options), flush=True)
    GapText.drawn = left_alone  # type: ignore[method-assign]
    print(row("left alone", corpus, options), flush=True)


if __name__ == "__main__":
    main()
