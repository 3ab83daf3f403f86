"""What may follow a prompt, how settings change that, and the beam tree: as ``inspect next``."""

from __future__ import annotations

from typing import Any

from charrnn.generator import Generator
from charrnn.inspection import next_token
from charrnn.server.requests import NextRequest
from charrnn.server.worker import Breathe


def answer(asked: NextRequest, generator: Generator, breathe: Breathe) -> dict[str, Any]:
    """Return the distributions of the next token, and the prefixes that beam search keeps.

    Args:
        asked: the prompt, the settings to compare, how many tokens to name, and the tree's size.
        generator: the model.
        breathe: called now and then.

    Raises:
        CharRNNError: the prompt has characters that the model does not know.
    """
    prompt = generator.readable(asked.prompt, asked.unknown)
    read = generator.read(prompt, progress=breathe)
    names, options = generator.tokenizer.token_names, asked.options
    choices = next_token.choices(read, next_token.settings(options.settings))
    tree = next_token.beam_tree(generator, read, options.beam)
    return {
        "prompt": prompt,
        "choices": {
            name: {
                "entropy": choice.entropy,
                "possible": choice.possible,
                "probabilities": [
                    [names[token], float(choice.probabilities[token])]
                    for token in choice.likeliest(min(options.symbols, choice.possible))
                ],
            }
            for name, choice in choices.items()
        },
        "beam": tree.to_json(),
    }
