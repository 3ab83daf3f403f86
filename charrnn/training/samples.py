"""Samples of a network while it is trained: for its run's folder, and for a person who watches."""

from __future__ import annotations

from charrnn.config import END, BeamConfig, SampleConfig, escape, to_json
from charrnn.generator import Generator
from charrnn.model.model_file import Model
from charrnn.network.module import CharRNN
from charrnn.text.dataset import Dataset
from charrnn.text.gaps import GapText
from charrnn.training.plan import Plan
from charrnn.training.setup import pairs_of

LENGTH = 1000  # characters
MAX_ENTRIES = 20  # of a model of separate documents, and answers of one of pairs
MAX_ANSWER = 100  # tokens
SEED = 1  # always the same: what differs is what was learned
TEMPERATURE = 0.8


def sample_text(network: CharRNN, data: Dataset, plan: Plan, length: int = LENGTH) -> str:
    """Return what a network writes with its current weights, from a random generator of its own."""
    reading = plan.reading(data.reading)
    described = {"reading": to_json(reading)}
    writer = Generator(Model(network.config, data.tokenizer, network.values(), described))
    if plan.model.encoder:
        return _answers(writer, data)[:length]
    separator = reading.separator
    count = MAX_ENTRIES if separator else 1
    config = SampleConfig(length=length, temperature=TEMPERATURE, seed=SEED, num_samples=count)
    return "".join(sample.text + separator for sample in writer.samples("", config))[:length]


def _answers(writer: Generator, data: Dataset) -> str:
    """Return sources, of the validation pairs if there are any, each with the likeliest answer.

    Gaps in a text are shown filled, in brackets.
    """
    pairs = pairs_of(data, "valid" if len(data.valid) else "train")
    if isinstance(pairs, GapText):
        pairs = pairs.held_out()
    count = min(MAX_ENTRIES, len(pairs))
    spread = [index * len(pairs) // count for index in range(count)]
    sources = list(dict.fromkeys(writer.tokenizer.decode(pairs.source(index)) for index in spread))
    answers = writer.answers(sources, BeamConfig(width=1, length=MAX_ANSWER))
    return "".join(
        f"{escape(source.replace(END, f'[{best.text}]'))}\n"
        if END in source
        else f"{escape(source)}\t{escape(best.text)}\n"
        for source, (best, *_) in zip(sources, answers, strict=True)
    )
