"""charrnn: point it at any text and, minutes later, it writes more of it.

    import charrnn

    run = charrnn.train("corpus.txt", minutes=3)
    model = charrnn.load(run.model)
    print(model.sample(prompt="It was", temperature=0.8))

The rooms, in the order data flows: ``corpus`` (files -> text), ``tokenizer`` (text <-> ids),
``dataset`` and ``streams`` (ids -> windows), ``cells`` (the equations), ``parameters``,
``kernels`` (what runs the cells), ``checkpoint`` (the model file), ``decoding`` (the next symbol),
``scoring``, ``generator`` (a model that writes), ``compression``, ``novelty`` (what it copies),
``network`` and ``training``, ``cli``.
Importing this package imports nothing else; torch is loaded for training only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["CharRNNError", "load", "train"]

if TYPE_CHECKING:
    from charrnn.errors import CharRNNError
    from charrnn.generator import load
    from charrnn.training.api import train


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first used."""
    if name == "load":
        from charrnn.generator import load

        return load
    if name == "train":
        from charrnn.training.api import train

        return train
    if name == "CharRNNError":
        from charrnn.errors import CharRNNError

        return CharRNNError
    raise AttributeError(f"module 'charrnn' has no attribute '{name}'")
