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
- ``model``: parameters, the model file, saved states
- ``network``: the torch module, its fused kernels and its loss
- ``inference``: the engines that run a trained network
- ``decoding``: filters, sampling, beam search, constraints
- ``run_dir``, ``scoring``, ``generator``, ``compression``: what a trained model can do
- ``training``: plan, trainer, checkpoints
- ``inspection``, ``bench``: analyses and measurements, as numbers
- ``cli``: the command line

Importing this package imports none of them; only training and CUDA load torch.
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
    """Import a public name when it is first used."""
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
