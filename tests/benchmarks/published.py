"""Measure trainings without flags on real texts, and char-rnn's default settings, for RESULTS.md.

    python tests/benchmarks/published.py train TEXT... --minutes 1 --seeds 1 2 3 [--counts on]
        [--test-fraction 0.05] [--keep FOLDER]
    python tests/benchmarks/published.py plain TEXT... --minutes 1
    python tests/benchmarks/published.py table

Each training is `charrnn train TEXT --minutes M --seed S` in a process of its own; its time and
peak memory are measured from start to exit. Plain is a torch.nn.LSTM of 2 x 128 with char-rnn's
default settings (B 50, T 50, Adam at 2e-3, no dropout, norm clipped at 5), trained for the same
minutes and scored by the same functions. Rows are appended to published.jsonl, with versions and
machine. Run nothing else at the same time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.model import model_file

TABLE = Path(__file__).with_suffix(".jsonl")


def flagless(
    text: Path, minutes: float, seed: int, test_fraction: float, counts: str, keep: Path | None
) -> dict[str, Any]:
    """Train in a process of its own and return its row; `keep` is a folder for the run."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(keep or folder) / f"{text.stem}-{minutes:g}-{seed}"
        command = [sys.executable, "-m", "charrnn", "train", str(text), "--json", "--force"]
        command += ["--minutes", str(minutes), "--seed", str(seed), "--out", str(run)]
        command += ["--counts", counts] if counts != "off" else []
        command += ["--test-fraction", str(test_fraction)] if test_fraction else []
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout
        output = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        assert status == 0, f"{text}: exit {status}"
        result = json.loads(output.splitlines()[-1])
        model = model_file.load(run / "model.safetensors")
        row = {name: result[name] for name in FIELDS}
        row |= {
            "network": model.config.size_words,
            "dropout": json.loads((run / "config.json").read_text())["train"]["dropout"],
            "logits_factor": model.training["logits_factor"],
            "wall_seconds": seconds,
            "peak_memory_mb": used.ru_maxrss / 1024,
        }
        if test_fraction:
            scored = subprocess.run(
                [*command[:3], "eval", "-m", str(run), "--part", "test", "--json"],
                capture_output=True,
                check=True,
            )
            row["test_nats"] = json.loads(scored.stdout.splitlines()[-1])["nats"]
        return row


FIELDS = (
    *("cell", "parameters", "steps", "epochs", "characters", "chars_per_second", "seconds"),
    *("valid_nats", "valid_counts_nats", "valid_whole", "valid_bits_per_byte"),
    *("valid_window256_nats", "stopped_by"),
)


def plain(text: Path, minutes: float, seed: int, test_fraction: float) -> dict[str, Any]:
    """Train a torch.nn.LSTM for the same time and return its row."""
    began = time.perf_counter()
    import torch
    from torch import nn

    from charrnn import scoring
    from charrnn.config import TrainOptions
    from charrnn.text import corpus, dataset

    torch.manual_seed(seed)
    options = TrainOptions(test_fraction=test_fraction)
    data = dataset.make(corpus.read([text], options), options)
    vocab_size = data.tokenizer.vocab_size
    lstm, output = nn.LSTM(vocab_size + 1, 128, 2), nn.Linear(128, vocab_size)
    weights = [*lstm.parameters(), *output.parameters()]
    optimizer = torch.optim.Adam(weights, lr=2e-3)
    length = len(data.train) // 50
    streams = np.asarray(data.train[: length * 50]).reshape(50, length).T.astype(np.int64)

    def logits(ids: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        outputs, state = lstm(nn.functional.one_hot(ids, vocab_size + 1).float(), state)
        return output(outputs), state

    class Engine:
        """The engine that scoring needs."""

        def start_state(self, batch_size: int) -> Any:
            return tuple(
                (torch.zeros(batch_size, 128), torch.zeros(batch_size, 128)) for _ in range(2)
            )

        @torch.no_grad()
        def nats(self, inputs: Any, targets: Any, state: Any) -> tuple[Any, Any]:
            stacked = tuple(torch.stack([layer[k] for layer in state]) for k in range(2))
            found, (h, c) = logits(torch.from_numpy(inputs), stacked)
            wanted = torch.from_numpy(targets).flatten()
            nats = nn.functional.cross_entropy(found.flatten(0, 1), wanted, reduction="none")
            return nats.view(targets.shape).numpy(), tuple(zip(h, c, strict=True))

    scored = time.perf_counter()
    Engine().nats(*[np.zeros((128, 32), np.int64)] * 2, Engine().start_state(32))
    each = (time.perf_counter() - scored) / (128 * 32)
    counted = len(data.valid) + min(len(data.valid), scoring.MAX_WINDOWS * scoring.WINDOW)
    deadline = began + 60 * minutes - each * counted
    steps, at, state = 0, 0, None
    while time.perf_counter() < deadline:
        if at + 51 > length:
            at, state = 0, None
        window = torch.from_numpy(streams[at : at + 51])
        found, state = logits(window[:-1], state)
        state = tuple(part.detach() for part in state)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(found.flatten(0, 1), window[1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 5)
        optimizer.step()
        steps, at = steps + 1, at + 50
    score = scoring.score(Engine(), data.valid, data.tokenizer, vocab_size)
    return {
        "cell": "torch.nn.LSTM 2x128",
        "characters": steps * 2500,
        "valid_nats": score.nats,
        "valid_bpc": score.bpc,
        "valid_window256_nats": scoring.window_nats(Engine(), data.valid, data.tokenizer),
        "wall_seconds": time.perf_counter() - began,
    }


def machine() -> dict[str, Any]:
    """Return the versions and the machine, on which the figures depend."""
    import numba
    import numpy as np
    import torch

    return {
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "numba": numba.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }


def table() -> Iterator[str]:
    """Yield the rows as Markdown: means over seeds, with their range."""
    rows = [json.loads(line) for line in TABLE.read_text().splitlines()]
    titles = ("text", "minutes", "network", "seeds", "valid nats", "with counts", "windows of 256")
    titles += ("characters/s", "seconds", "MB")
    yield f"| {' | '.join(titles)} |"
    yield "|---" * len(titles) + "|"

    def setting(row: dict[str, Any]) -> tuple[Any, ...]:
        return row["what"], row["text"], row["minutes"], row["test_fraction"], row["counts"]

    for (what, text, minutes, part, _), group in groupby(sorted(rows, key=setting), setting):
        each = list(group)
        speeds = [row.get("chars_per_second") or row["characters"] / (60 * minutes) for row in each]
        memory = [row["peak_memory_mb"] for row in each if "peak_memory_mb" in row]
        networks = dict.fromkeys(row.get("network") or row["cell"] for row in each)
        cells = (
            text + f" (test part {part:g})" * bool(part),
            f"{minutes:g}" + ", char-rnn's default" * (what == "plain"),
            ", ".join(networks),
            str(len(each)),
            *(spread(each, name) for name in ("valid_nats", "valid_counts_nats")),
            spread(each, "valid_window256_nats"),
            f"{statistics.median(speeds):,.0f}",
            f"{max(row['wall_seconds'] for row in each):.1f}",
            f"{max(memory):,.0f}" if memory else "",
        )
        yield f"| {' | '.join(cells)} |"


def spread(rows: list[dict[str, Any]], name: str) -> str:
    """Return the mean of a figure, and its range over several seeds; "" without figures."""
    found = [row[name] for row in rows if row.get(name) is not None]
    if not found:
        return ""
    within = f" ({min(found):.3f} to {max(found):.3f})" if len(found) > 1 else ""
    return f"{statistics.mean(found):.3f}{within}"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("train", "plain", "table"))
    parser.add_argument("texts", nargs="*", type=Path)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--test-fraction", type=float, default=0.0)
    parser.add_argument("--counts", choices=("off", "on", "auto"), default="off")
    parser.add_argument("--keep", type=Path, help="a folder for the runs")
    asked = parser.parse_args()
    if asked.what == "table":
        print("\n".join(table()))
        return
    trained = partial(flagless, counts=asked.counts, keep=asked.keep)
    run = trained if asked.what == "train" else plain
    for text in asked.texts:
        for seed in asked.seeds:
            row = {
                "what": asked.what,
                "text": text.name,
                "minutes": asked.minutes,
                "seed": seed,
                "test_fraction": asked.test_fraction,
                "counts": asked.counts,
                **run(text, asked.minutes, seed, asked.test_fraction),
                **machine(),
            }
            with TABLE.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(row["text"], seed, row["valid_nats"], f"{row['wall_seconds']:.1f} s", flush=True)


if __name__ == "__main__":
    main()
