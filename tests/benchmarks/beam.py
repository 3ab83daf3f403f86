"""Beam search beside greedy writing: what it costs, and how much more probable its texts are.

python tests/benchmarks/beam.py            # the cost for each character, lstm 3x512
python tests/benchmarks/beam.py RUN_DIR    # also the gain after 200 prompts of held-out text
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
from charrnn.text.tokenizer import CharTokenizer

WIDTH, LENGTH, ROUNDS, PROMPTS, PROMPT = 5, 200, 7, 200, 100


def cost(threads: int) -> None:
    """Seconds for a character, in turns, medians."""
    config = ModelConfig(65, num_layers=3, hidden_size=512)
    symbols = CharTokenizer("".join(map(chr, range(48, 113))))
    generator = Generator(Model(config, symbols, parameters.initial(config, 1)), threads=threads)
    read = generator.read("")
    ways = (
        lambda: generator.samples(read, SampleConfig(temperature=0.0, length=LENGTH)),
        lambda: generator.beam(read, BeamConfig(width=WIDTH, length=LENGTH)),
    )
    seconds: list[list[float]] = [[], []]
    for _ in range(ROUNDS + 1):  # the first is a warm-up
        for way, kept in zip(ways, seconds, strict=True):
            began = time.perf_counter()
            way()
            kept.append(time.perf_counter() - began)
    greedy, beam = (statistics.median(kept[1:]) / LENGTH for kept in seconds)
    print(f"{threads} threads: greedy {greedy * 1e6:.0f} us, beam {beam * 1e6:.0f} us for each")
    print(f"  character: {beam / greedy:.2f} times as long")


def gain(run_dir: Path, length: int = 100) -> None:
    """Log-probability per character after passages of the run's validation text."""
    model = find_model(run_dir)
    generator = charrnn.load(model)
    ids = RunDir(model.parent).dataset().valid
    starts = np.random.default_rng(0).integers(0, len(ids) - PROMPT, PROMPTS)
    found = []
    for start in starts:
        read = generator.read(generator.tokenizer.decode(ids[start : start + PROMPT]))
        greedy = generator.greedy(read, length=length).log_prob
        beam = generator.beam(read, BeamConfig(width=WIDTH, length=length))[0].log_prob
        found.append((beam - greedy) / length)
    error = statistics.stdev(found) / PROMPTS**0.5
    better = sum(difference > 0 for difference in found) / PROMPTS
    print(f"{statistics.mean(found):+.3f} nats for each character (standard error {error:.3f})")
    print(f"  better after {better:.1%} of {PROMPTS} prompts")


if __name__ == "__main__":
    for threads in (1, 2):
        cost(threads)
    if sys.argv[1:]:
        gain(Path(sys.argv[1]))
