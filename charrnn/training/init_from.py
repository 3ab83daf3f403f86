"""A trained network as the start of another training, on a text with another alphabet.

Everything that stands for a symbol (a row of the embedding and of the output, a column where
symbols are one-hot) goes to the same character in the new alphabet. Characters that are new start
as in a new network; those that the new text lacks are left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn.config import ModelConfig, flag, to_json
from charrnn.errors import OptionError
from charrnn.model import parameters
from charrnn.model.model_file import Model
from charrnn.model.parameters import Parameters
from charrnn.terminal import one_line
from charrnn.text.tokenizer import CharTokenizer, Tokenizer


@dataclass(frozen=True)
class Alphabets:
    """What becomes of the symbols: the old ones kept, the new ones added, the old ones dropped."""

    kept: str
    added: str
    dropped: str

    def __str__(self) -> str:
        parts = [f"{len(self.kept)} symbols kept"]
        for word, symbols in (("added", self.added), ("dropped", self.dropped)):
            shown = one_line(symbols[:20])
            listed = f" ({shown}{'…' if len(symbols) > 20 else ''})" if symbols else ""
            parts.append(f"{len(symbols)} {word}{listed}")
        return ", ".join(parts)


def options(model: Model, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that make the network of `model`, with the others that were given.

    Raises:
        OptionError: something was given that is otherwise in the model.
    """
    network = to_json(model.config)
    del network["vocab_size"]
    for name in network.keys() & given.keys():
        if given[name] not in (None, network[name]):
            raise OptionError(
                f"{flag(name)} {given[name]} does not go with --init-from, whose network has "
                f"{network[name]}: leave it out"
            )
    return {**given, **network}


def alphabets(model: Model, tokenizer: Tokenizer) -> Alphabets:
    """How the model's alphabet and that of a text meet.

    Raises:
        OptionError: symbols of one of them are not characters.
    """
    old = _characters(model.tokenizer, "the model of --init-from has")
    new = _characters(tokenizer, "the text has")
    common = set(old) & set(new)
    return Alphabets(
        "".join(sorted(common)),
        "".join(sorted(set(new) - common)),
        "".join(sorted(set(old) - common)),
    )


def _characters(tokenizer: Tokenizer, whose: str) -> str:
    if isinstance(tokenizer, CharTokenizer) and tokenizer.whole_characters:
        return tokenizer.alphabet
    what = "rare characters as bytes" if tokenizer.kind == "char" else "no characters as symbols"
    raise OptionError(
        f"--init-from maps symbols by character, and {whose} {what} (--tokenizer "
        f"{tokenizer.kind}): both need --tokenizer char, without --min-count"
    )


def values(
    model: Model, config: ModelConfig, tokenizer: Tokenizer, fresh: Parameters
) -> dict[str, np.ndarray[Any, Any]]:
    """The parameters of `config` (the model's network, of another V), taken over from the model.

    Args:
        model: the trained one.
        config: the network to be trained.
        tokenizer: its alphabet.
        fresh: its parameters as in a new network, for the symbols that are new.
    """
    common = alphabets(model, tokenizer).kept
    kept_old, kept_new = (
        each.encode(common).astype(np.int64) for each in (model.tokenizer, tokenizer)
    )
    grown = parameters.shapes(dataclasses.replace(config, vocab_size=config.vocab_size + 1))
    made: dict[str, np.ndarray[Any, Any]] = {}
    for name, shape in parameters.shapes(config).items():
        value = np.array(model.values[name])
        axis = next((axis for axis in range(len(shape)) if shape[axis] != grown[name][axis]), None)
        if axis is not None:
            start = int(not (name.startswith("output.") or name.endswith(".weight_hh")))
            lead = shape[axis] - config.vocab_size - start  # what stands for no symbol, in front
            before = np.arange(lead)
            last = np.array([shape[axis] - 1] * start, np.int64)  # the start symbol
            last_old = np.array([value.shape[axis] - 1] * start, np.int64)
            target = np.concatenate([before, lead + kept_new, last])
            source = np.concatenate([before, lead + kept_old, last_old])
            whole = np.moveaxis(np.array(fresh[name]), axis, 0)
            whole[target] = np.moveaxis(value, axis, 0)[source]
            value = np.moveaxis(whole, 0, axis)
        made[name] = np.asarray(value, np.float32, order="C")
    return made
