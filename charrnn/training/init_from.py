"""Start a training from a trained network, on a text with another alphabet.

Whatever belongs to a character (a row of the embedding and of the output, a column of the input
where it is one-hot) moves to the same character in the new alphabet. A character that is new starts
as the nearest one that the network knows (a curly quotation mark as the straight one, é as e), or
else as in a new network; those that do not occur in the new text are left out.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn.arrays import Floats32, Integers
from charrnn.config import ModelConfig, ModelReading, cell_name, flag, to_json
from charrnn.errors import CorpusError, OptionError
from charrnn.model import parameters
from charrnn.model.model_file import Model
from charrnn.model.parameters import Parameters
from charrnn.terminal import visible
from charrnn.text.tokenizer import CharTokenizer, Tokenizer
from charrnn.text.unknown_symbols import replace

DOCUMENTS = {"items", "document_separator", "reset_at_documents"}


@dataclass(frozen=True)
class AlphabetChange:
    """The characters that two alphabets share, and those that only the new or the old one has."""

    kept: str
    added: str
    dropped: str

    def __str__(self) -> str:
        """Return the sentence that the model file stores, which must not change."""
        parts = [f"{len(self.kept)} symbols kept"]
        for verb, characters in (("added", self.added), ("dropped", self.dropped)):
            shown = visible(characters[:20]).replace("\n", "␊").replace("\t", "␉")
            listed = f" ({shown}{'…' if len(characters) > 20 else ''})" if characters else ""
            parts.append(f"{len(characters)} {verb}{listed}")
        return ", ".join(parts)


def options(model: Model, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options for the network of `model`, together with the given ones.

    The new text is read as that of the model was, unless given options say otherwise.

    Raises:
        OptionError: a given option differs from the model.
    """
    network = to_json(model.config)
    del network["vocab_size"]
    for name in network.keys() & given.keys():
        if given[name] not in (None, network[name]):
            raise OptionError(
                f"{flag(name)} {_shown(given[name])} does not go with --init-from, whose network "
                f"has {_shown(network[name])}: leave it out"
            )
    return {**_reading(model.reading, given), **given, **network}


def _reading(known: ModelReading, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that read a text as the model's was; some decide others."""
    options: dict[str, Any] = {name: getattr(known, name) for name in ("encoding", "errors")}
    options |= {} if known.items or known.pairs else {"newline": known.newline}
    options |= {"pairs": True, "swap": known.swap} if known.pairs else {}
    options |= {"fill": True} if known.fill else {}
    if known.documents_apart and not given.keys() & DOCUMENTS:
        apart = {"document_separator": known.document_separator, "reset_at_documents": True}
        options |= {"items": known.items} if known.items else apart
    return options


@contextlib.contextmanager
def reading_alike(model: Model | None, given: Container[str]) -> Iterator[None]:
    """Let an error about a text that is read as pairs say so, if it is the model that decides it.

    Args:
        model: the model to start from, if there is one.
        given: the names of the options that the user gave.

    Raises:
        CorpusError: the text is not one of pairs.
    """
    try:
        yield
    except CorpusError as error:
        if model is None or not model.reading.pairs or "pairs" in given:
            raise
        raise CorpusError(
            f"{error.message}; the text is read as pairs, as that of the model of --init-from was"
        ) from None


def origin(model: Model, tokenizer: Tokenizer) -> dict[str, Any]:
    """Return what a run's files say about the model that it starts from.

    Raises:
        OptionError: the tokens of the model or of the text are not characters.
    """
    return {
        "steps": model.training.get("steps"),
        "symbols": str(compare_alphabets(model, tokenizer)),
        "characters": known_characters(model),
    }


def known_characters(model: Model) -> int:
    """Return the length of the texts that a model has learned from; 0 if its file does not tell."""
    return sum(
        count
        for part, name in (("corpus", "train_characters"), ("init_from", "characters"))
        if isinstance(known := model.training.get(part), Mapping)
        and isinstance(count := known.get(name), int)
    )


def _shown(value: Any) -> Any:
    """Return the value of an option as a message shows it."""
    return cell_name(value) if isinstance(value, str) else value


def compare_alphabets(model: Model, tokenizer: Tokenizer) -> AlphabetChange:
    """Compare the model's alphabet with that of a text.

    Raises:
        OptionError: the tokens of one of them are not characters.
    """
    old = _characters(model.tokenizer, "the model of --init-from has")
    new = _characters(tokenizer, "the text has")
    common = set(old) & set(new)
    return AlphabetChange(
        "".join(sorted(common)),
        "".join(sorted(set(new) - common)),
        "".join(sorted(set(old) - common)),
    )


def _characters(tokenizer: Tokenizer, whose: str) -> str:
    if isinstance(tokenizer, CharTokenizer) and tokenizer.whole_characters:
        return tokenizer.alphabet
    what = "rare characters as bytes" if tokenizer.kind == "char" else "no characters as tokens"
    raise OptionError(
        f"--init-from maps tokens by character, and {whose} {what} (--tokenizer "
        f"{tokenizer.kind}): both need --tokenizer char, without --min-count"
    )


def values(
    model: Model, config: ModelConfig, tokenizer: Tokenizer, initial: Parameters
) -> dict[str, Floats32]:
    """Return the model's parameters, rearranged for another alphabet.

    Args:
        model: the trained model.
        config: the new network: the model's, with another V.
        tokenizer: the new alphabet.
        initial: the parameters of a new network, for the characters that are new.
    """
    start_as = _start_as(compare_alphabets(model, tokenizer))
    old_ids = model.tokenizer.encode("".join(start_as.values())).astype(np.int64)
    new_ids = tokenizer.encode("".join(start_as)).astype(np.int64)
    if config.encoder:  # what ends a target stays what it is
        old_ids = np.append(old_ids, model.config.end_token)
        new_ids = np.append(new_ids, config.end_token)
    larger = parameters.shapes(dataclasses.replace(config, vocab_size=config.vocab_size + 1))
    moved: dict[str, Floats32] = {}
    for name, shape in parameters.shapes(config).items():
        value = np.asarray(model.values[name])
        # An axis that grows with V has one index per token.
        axis = next((axis for axis in range(len(shape)) if shape[axis] != larger[name][axis]), None)
        if axis is not None:
            has_start = not (name.startswith("output.") or name.endswith(".weight_hh"))
            source = _indices(value.shape[axis], model.config, has_start, old_ids)
            target = _indices(shape[axis], config, has_start, new_ids)
            new = np.moveaxis(np.array(initial[name]), axis, 0)
            new[target] = np.moveaxis(value, axis, 0)[source]
            value = np.moveaxis(new, 0, axis)
        moved[name] = np.array(value, np.float32, order="C")
    return moved


def _start_as(change: AlphabetChange) -> dict[str, str]:
    """Return the characters of a new text, and for each the one of the model that it starts as."""
    known = set(change.kept) | set(change.dropped)
    nearest = {new: replace(new, known.issuperset, nearest=True).text for new in change.added}
    alike = {new: old for new, old in nearest.items() if len(old) == 1}
    return {character: character for character in change.kept} | alike


def _indices(size: int, config: ModelConfig, has_start: bool, ids: Integers) -> Integers:
    """Return the indices of an axis to copy: outputs below, tokens, start token, what follows.

    Args:
        size: the length of the axis.
        config: the network; V indices of the axis belong to tokens.
        has_start: whether the next index belongs to the start token.
        ids: the tokens to copy.
    """
    units = size - config.vocab_size - has_start
    first = min(units, config.hidden_size)  # behind the tokens is what attention adds
    start = [first + config.vocab_size] if has_start else []
    after = np.arange(first + config.vocab_size + has_start, size)
    return np.concatenate([np.arange(first), first + ids, np.array(start, np.int64), after])
