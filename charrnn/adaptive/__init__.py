"""Learning while reading: predicts a text token by token, and learns from each.

    network    follows the text by gradient steps (dynamic evaluation)
    counts     what came after the last 1 to 8 tokens, after the word so far, and after what such
               tokens were followed by before; longest repetitions
    mixer      one probability from all of these, with weights that are learnt on the way
    reading    scores, codes and decodes tokens by it, in compiled code
    memory     what all these know, as arrays
    predictor  all together

A token is predicted as a path of binary choices. ``charrnn eval``, ``score`` and ``compress`` use
the same predictor with ``--dynamic``. ``sample --adapt`` writes with weights that have followed a
text; counts take no part in writing, as they would copy that text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from charrnn.arrays import Ids
from charrnn.config import EngineOptions, ModelConfig
from charrnn.errors import OptionError
from charrnn.inference.select import EngineSelector, compile_errors
from charrnn.model.model_file import Model

if TYPE_CHECKING:
    from charrnn.adaptive.predictor import AdaptivePredictor


def check(config: ModelConfig, engine: EngineOptions, option: str = "--dynamic") -> None:
    """Refuse what cannot learn while it reads.

    Args:
        config: the architecture.
        engine: what would run the model.
        option: what asks for it.

    Raises:
        OptionError: says what to leave out.
    """
    if config.encoder:
        raise OptionError(f"{option} is for texts, not for models of pairs or gaps: leave it out")
    if engine.weights != "float32":
        raise OptionError(
            f"{option} changes the weights, which must be float32: "
            f"leave out --weights {engine.weights}"
        )
    if engine.device != "cpu":
        raise OptionError(f"{option} runs on the CPU: leave out --device {engine.device}")


def make(
    model: Model,
    options: EngineOptions,
    selector: EngineSelector,
    length: int,
    counted: Ids | None,
    progress: Callable[[int], object],
    *,
    older: bool = False,
) -> AdaptivePredictor:
    """Return a predictor that starts with what a model knows, and learns from what it reads.

    Args:
        model: the model, which does not change.
        options: what would run it.
        selector: has its engine.
        length: the most tokens that it reads.
        counted: tokens of which it counts first what follows what.
        progress: called with how many of these are counted.
        older: see `AdaptivePredictor`.

    Raises:
        OptionError: the model is one of pairs, or its options or this machine do not allow it.
    """
    check(model.config, options)
    try:
        with selector.compiling():
            from charrnn.adaptive.predictor import AdaptivePredictor

            given: Any = {"counted": counted, "progress": progress, "older": older}
            return AdaptivePredictor(model, length, threads=selector.threads, **given)
    except compile_errors() as error:
        raise OptionError(
            f"--dynamic needs compiled code, which is not available here: {error}"
        ) from error
