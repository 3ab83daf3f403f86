"""Compare how often a symbol must occur to be a token, at equal minutes; rare ones are bytes.

    python tests/benchmarks/rare_symbols.py TEXT... [--minutes 1] [--seeds 3] [--learned auto 1 20]

A TEXT is a file, as it is or compressed. For each, and for each number of `--learned`, networks are
planned and trained for the minutes: auto is what `--min-count auto` does; 1 makes every symbol a
token, 20 those that occur 20 times in the training text. Nothing else may run. The last lines are
a table: validation loss in nats per character, mean and standard deviation.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import charrnn
from charrnn.config import AUTO
from charrnn.run_dir import RunDir
from charrnn.text import alphabet

PLANNED = alphabet.LEARNED, alphabet.RARE_SHARE


@dataclass(frozen=True)
class Row:
    """The trainings of one text with one number of occurrences."""

    text: str
    learned: str
    tokens: int
    rare: int
    hidden_size: int
    passes: float
    nats: tuple[float, ...]

    def __str__(self) -> str:
        """Return the row of a table in Markdown."""
        spread = statistics.stdev(self.nats) if len(self.nats) > 1 else 0.0
        return (
            f"| {self.text} | {self.learned} | {self.tokens:,} | {self.rare:,} "
            f"| 2 x {self.hidden_size} | {self.passes:.1f} "
            f"| {statistics.mean(self.nats):.4f} | {spread:.4f} |"
        )


def trained(text: Path, learned: str, minutes: float, seeds: int) -> Row:
    """Train on a text with several seeds."""
    alphabet.LEARNED, alphabet.RARE_SHARE = PLANNED if learned == AUTO else (int(learned), 1.0)
    min_count = 1 if learned == "1" else AUTO
    nats = []
    for seed in range(1, seeds + 1):
        with tempfile.TemporaryDirectory() as folder:
            run = charrnn.train(
                text, minutes=minutes, min_count=min_count, seed=seed, out=Path(folder) / "run"
            )
            config = RunDir(Path(run.run_dir)).read_config()
        assert run.valid_nats is not None
        nats.append(run.valid_nats)
    model, rare = config["model"], config["corpus"].get("rare_symbols", 0)
    size = model["hidden_size"]
    return Row(text.name, learned, model["vocab_size"], rare, size, run.epochs, tuple(nats))


def rows(asked: argparse.Namespace) -> Iterator[Row]:
    """Yield the rows of the table, and print each as it is made."""
    for text in asked.texts:
        for learned in asked.learned:
            row = trained(text, learned, asked.minutes, asked.seeds)
            print(row, flush=True)
            yield row


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("texts", nargs="+", type=Path)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--learned", nargs="+", default=[AUTO, "1", "20"])
    made = list(rows(parser.parse_args()))
    print("\n| text | occurrences | tokens | as bytes | network | passes | nats | spread |")
    print("|---|---|---|---|---|---|---|---|")
    print("\n".join(map(str, made)))
