"""charrnn: train a character-level language model on any text and generate more of it.

    import charrnn

    run = charrnn.train("corpus.txt", minutes=3)
    model = charrnn.load(run.model)
    print(model.sample(prompt="It was", temperature=0.8))

The subpackages and modules, each of which imports only those before it:

- ``errors``, ``terminal``, ``arrays``: messages, safe output, names of array types
- ``config``: the options of models, training and decoding
- ``storage``: files that are whole or absent, safetensors, caches
- ``cells``: the equations of the recurrent cells
- ``compiler``: equation -> derivative -> machine code
- ``text``: sources -> corpus -> tokenizer -> dataset -> streams of windows
- ``counts``: counts of the training text, and their mixture with a network
- ``model``: parameters, the model file, saved states
- ``network``: the torch module, its fused kernels and its loss
- ``inference``: the engines that run a trained network
- ``decoding``: filters, sampling, beam search, constraints
- ``run_dir``, ``scoring``: a run's folder; how well a model predicts a text
- ``adaptive``: a model that learns from what it reads
- ``export``: a network for other programs: ONNX, transformers
- ``generator``, ``compression``: what a trained model can do
- ``training``: plan, trainer, checkpoints
- ``inspection``, ``server``, ``bench``: analyses; a page and HTTP; measurements, as numbers
- ``cli``: the command line

`api` holds what Python callers use, as `__main__` does for the command line, and `llm_plugin` for
the command ``llm``.

Importing this package imports none of them; only training, learning while reading and CUDA load
torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from charrnn.api import load, train, train_seeds
    from charrnn.decoding.output_text import Sample
    from charrnn.errors import CharRNNError
    from charrnn.generator import Generator
    from charrnn.scoring import Score
    from charrnn.training.events import Best, Done, Event, Notice, Planned, Progress, Result
    from charrnn.training.seeds import Seeds

_EVENTS = ("Best", "Done", "Event", "Notice", "Planned", "Progress", "Result")
__all__ = [
    "Best",
    "CharRNNError",
    "Done",
    "Event",
    "Generator",
    "Notice",
    "Planned",
    "Progress",
    "Result",
    "Sample",
    "Score",
    "Seeds",
    "load",
    "train",
    "train_seeds",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name == "CharRNNError":
        from charrnn.errors import CharRNNError

        return CharRNNError
    if name in _EVENTS:
        from charrnn.training import events

        return getattr(events, name)
    if name == "Seeds":
        from charrnn.training.seeds import Seeds

        return Seeds
    if name in __all__:
        from charrnn import api

        return getattr(api, name)
    raise AttributeError(f"module 'charrnn' has no attribute '{name}'")


def __dir__() -> list[str]:
    """Return the public names, whatever modules have been imported."""
    return sorted([*__all__, "__doc__", "__file__", "__name__", "__path__", "__version__"])
