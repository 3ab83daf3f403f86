"""Learning while reading: predicts a text token by token, and learns from each.

    network    follows the text by gradient steps (dynamic evaluation)
    counts     what came after the last 1 to 8 tokens and after the word so far; longest repetition
    mixer      one probability from all of these, with weights that are learnt on the way
    reading    scores, codes and decodes tokens by it, in compiled code
    memory     what all these know, as arrays
    predictor  all together

A token is predicted as a path of binary choices. ``charrnn eval``, ``score`` and ``compress`` use
the same predictor with ``--dynamic``. ``sample --adapt`` writes with weights that have followed a
text; counts take no part in writing, as they would copy that text.
"""

from __future__ import annotations

from charrnn.config import EngineOptions, ModelConfig
from charrnn.errors import OptionError


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
