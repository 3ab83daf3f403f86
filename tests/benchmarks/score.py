"""Compare scoring with matrix products (1,000 texts) and a loop over torch.nn (one long text).

    python tests/benchmarks/score.py [CELL LAYERS HIDDEN]

The texts have random lengths, 40 characters on average. Their speed is given as a fraction of that
of large float32 matrix products in the same run. The loop reads one character at a time with
torch.nn and takes its log-probability, on 1 thread or all, whichever is faster. Medians of rounds
in turns.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from charrnn.bench.measuring import VOCAB_SIZE, in_turns, peak
from charrnn.bench.training import MODULES, Plain
from charrnn.config import ModelConfig
from charrnn.generator import Generator
from charrnn.inference.compiled_engine import CompiledEngine
from charrnn.model import parameters
from charrnn.model.model_file import Model
from charrnn.network.module import CharRNN
from charrnn.text.tokenizer import CharTokenizer

TEXTS, MEAN = 1000, 40
LONG, LOOP = 2000, 100  # characters
ROUNDS = 3


def loop(
    model: ModelConfig, values: parameters.Parameters, ids: NDArray[np.int64], threads: int
) -> Callable[[], float]:
    """Return a function that scores a text step by step."""
    network = (Plain(model) if model.cell in MODULES else CharRNN(model, values)).eval()

    @torch.inference_mode()
    def run() -> float:
        torch.set_num_threads(threads)
        total = 0.0
        state = None if isinstance(network, Plain) else network.start_state(1)
        for before, symbol in itertools.pairwise(ids):
            logits, state = network(torch.full((1, 1), int(before)), state)
            total -= float(torch.log_softmax(logits[0, 0], -1)[symbol])
        return total

    return run


def main() -> None:
    cell, layers, hidden = sys.argv[1:] or ("lstm", "3", "512")
    model = ModelConfig(VOCAB_SIZE, cell, int(layers), int(hidden))
    values = parameters.initial(model, 1)
    tokenizer = CharTokenizer("".join(map(chr, range(48, 48 + VOCAB_SIZE))))
    generator = Generator(Model(model, tokenizer, values))
    engine = generator.engine
    assert isinstance(engine, CompiledEngine)
    rng = np.random.default_rng(1)
    lengths = 1 + rng.exponential(MEAN, TEXTS).astype(int)
    texts = [rng.integers(0, VOCAB_SIZE, length).astype(np.uint8) for length in lengths]
    long = rng.integers(0, VOCAB_SIZE, LONG)
    all_threads = torch.get_num_threads()
    runs = [lambda: generator.scorer.surprisals(texts), lambda: generator.scorer.surprisals([long])]
    runs += [lambda: generator.scorer.surprisals([long], 3)]
    runs += [loop(model, values, long[:LOOP], threads) for threads in sorted({1, all_threads})]
    many, one, likeliest, *loops = in_turns(runs, ROUNDS)
    torch.set_num_threads(all_threads)
    limit = peak(torch.float32) / (2 * engine.weight_count)
    speed, plain = lengths.sum() / many, LOOP / min(loops)
    print(f"{cell} {layers}x{hidden}, {engine.threads} threads of {all_threads}")
    print(f"  {TEXTS:,} texts     {speed:9,.0f} characters/s, {speed / limit:.2f} of products")
    print(f"  one long text   {LONG / one:9,.0f} characters/s, {LONG / one / plain:.1f} x torch.nn")
    print(f"  with the likeliest {LONG / likeliest:6,.0f} characters/s")
    print(f"  loop of torch.nn {plain:8,.0f} characters/s")


if __name__ == "__main__":
    main()
