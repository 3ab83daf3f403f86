"""Compare beam search with greedy decoding: its cost, and how much more probable its texts are.

python tests/benchmarks/beam.py            # the cost per character, lstm 3x512
python tests/benchmarks/beam.py RUN_DIR    # also the gain after 200 prompts of validation text
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import numpy as np

import charrnn
from charrnn.config import BeamConfig, ModelConfig, SampleConfig
from charrnn.generator import Generator
from charrnn.model import parameters
from charrnn.model.model_file import Model
from charrnn.run_dir import RunDir, find_model
from charrnn.run_dir.run_text import read_dataset
from charrnn.text.tokenizer import CharTokenizer

WIDTH, LENGTH, ROUNDS, PROMPTS, PROMPT = 5, 200, 7, 200, 100


def cost(threads: int) -> None:
    """Print the median seconds per character of both, measured in turns."""
    config = ModelConfig(65, num_layers=3, hidden_size=512)
    tokenizer = CharTokenizer("".join(map(chr, range(48, 113))))
    generator = Generator(Model(config, tokenizer, parameters.initial(config, 1)), threads=threads)
    read = generator.read("")
    ways = (
        lambda: generator.samples(read, SampleConfig(temperature=0.0, length=LENGTH)),
        lambda: generator.beams(read, BeamConfig(width=WIDTH, length=LENGTH)),
    )
    seconds: list[list[float]] = [[], []]
    for _ in range(ROUNDS + 1):  # the first is a warm-up
        for way, times in zip(ways, seconds, strict=True):
            began = time.perf_counter()
            way()
            times.append(time.perf_counter() - began)
    greedy, beam = (statistics.median(times[1:]) / LENGTH for times in seconds)
    print(f"{threads} threads: greedy {greedy * 1e6:.0f} us, beam {beam * 1e6:.0f} us")
    print(f"  per character: {beam / greedy:.2f} times as long")


def gain(run_dir: Path, length: int = 100) -> None:
    """Print the gain in log-probability per character after passages of the validation text."""
    model = find_model(run_dir)
    generator = charrnn.load(model)
    ids = read_dataset(RunDir(model.parent)).valid
    starts = np.random.default_rng(0).integers(0, len(ids) - PROMPT, PROMPTS)
    gains = []
    for start in starts:
        read = generator.read(generator.tokenizer.decode(ids[start : start + PROMPT]))
        greedy = generator.greedy(read, length=length).log_prob
        beam = generator.beams(read, BeamConfig(width=WIDTH, length=length))[0].log_prob
        gains.append((beam - greedy) / length)
    error = statistics.stdev(gains) / PROMPTS**0.5
    better = sum(difference > 0 for difference in gains) / PROMPTS
    print(f"{statistics.mean(gains):+.3f} nats per character (standard error {error:.3f})")
    print(f"  better after {better:.1%} of {PROMPTS} prompts")


if __name__ == "__main__":
    for threads in (1, 2):
        cost(threads)
    if sys.argv[1:]:
        gain(Path(sys.argv[1]))
