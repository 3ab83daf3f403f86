"""What the commands with ``--dynamic`` share: the predictor that learns while it reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.cli.display.progress import ProgressBar

if TYPE_CHECKING:
    from charrnn.adaptive.predictor import AdaptivePredictor
    from charrnn.arrays import Ids
    from charrnn.config import DynamicOptions
    from charrnn.generator import Generator


def recalled(model: Path | None, generator: Generator) -> Ids:
    """Return the tokens of the text that a model was trained on, read again from its files.

    Raises:
        OptionError: the text is not available or has changed.
    """
    from charrnn.run_dir import find_model
    from charrnn.run_dir.run_text import held_out

    ids, _ = held_out(find_model(model), generator.tokenizer, "train")
    return ids


def predictor(
    generator: Generator, model: Path | None, learning: DynamicOptions, length: int
) -> AdaptivePredictor:
    """Return what reads texts of `length` tokens in all and learns from them.

    Args:
        generator: the model.
        model: what ``--model`` names.
        learning: whether the text of the training is counted first.
        length: of all texts together, in tokens.

    Raises:
        OptionError: the model cannot learn, or the text of its training is not available.
    """
    if not learning.recall:
        return generator.adaptive(length)
    counted = recalled(model, generator)
    with ProgressBar(in_bytes=False) as bar:
        return generator.adaptive(length, counted, bar.of("counting", len(counted)))
