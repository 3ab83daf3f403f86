"""Start a training from a trained network, on a text with another alphabet.

Whatever belongs to a character (a row of the embedding and of the output, a column of the input
where it is one-hot) moves to the same character in the new alphabet. A character that is new starts
as the nearest one that the network knows (a curly quotation mark as the straight one, é as e), or
else as in a new network; those that do not occur in the new text are left out. Bytes, which stand
for rare characters, move to bytes. A new character that the network knows as its bytes is read as
their last one, and predicted as their first one, whose probability all such characters share.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from charrnn.arrays import Floats32, Integers
from charrnn.config import AUTO, ModelConfig, ModelReading, cell_name, flag, to_json
from charrnn.errors import CorpusError, OptionError
from charrnn.model import parameters
from charrnn.model.model_file import Model
from charrnn.model.parameters import Parameters
from charrnn.terminal import visible
from charrnn.text import alphabet
from charrnn.text.tokenizer import BYTES, CharTokenizer, Tokenizer
from charrnn.text.unknown_symbols import replace

DOCUMENTS = {"items", "document_separator", "reset_at_documents"}


@dataclass(frozen=True)
class AlphabetChange:
    """The characters that two alphabets share, and those that only the new or the old one has.

    Attributes:
        kept: characters of both.
        added: characters of the new one alone.
        dropped: characters of the old one alone.
        bytes_before: whether the old one writes all other characters as bytes.
        bytes_after: whether the new one does.
    """

    kept: str
    added: str
    dropped: str
    bytes_before: bool = False
    bytes_after: bool = False

    def __str__(self) -> str:
        """Return the sentence that the model file stores, which must not change."""
        parts = [f"{len(self.kept)} symbols kept"]
        for verb, characters in (("added", self.added), ("dropped", self.dropped)):
            shown = visible(characters[:20]).replace("\n", "␊").replace("\t", "␉")
            listed = f" ({shown}{'…' if len(characters) > 20 else ''})" if characters else ""
            parts.append(f"{len(characters)} {verb}{listed}")
        if self.bytes_before or self.bytes_after:
            both = self.bytes_before and self.bytes_after
            verb = "kept" if both else "added" if self.bytes_after else "dropped"
            parts.append(f"{BYTES} bytes {verb}")
        return ", ".join(parts)


def options(model: Model, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options for the network of `model`, together with the given ones.

    The new text is read as that of the model was, unless given options say otherwise.

    Raises:
        OptionError: a given option differs from the model.
    """
    network = to_json(model.config)
    del network["vocab_size"]
    network |= {"ensemble": model.config.ensemble}
    for name in network.keys() & given.keys():
        if given[name] not in (None, network[name]):
            raise OptionError(
                f"{flag(name)} {_shown(given[name])} does not go with --init-from, whose network "
                f"has {_shown(network[name])}: leave it out"
            )
    if given.get("min_count", AUTO) == AUTO:  # what is rare here, the model may know well
        network |= alphabet.options_of(model.tokenizer)
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
    old = _char_tokenizer(model.tokenizer, "the model of --init-from has")
    new = _char_tokenizer(tokenizer, "the text has")
    before, after = set(old.alphabet), set(new.alphabet)
    return AlphabetChange(
        "".join(sorted(before & after)),
        "".join(sorted(after - before)),
        "".join(sorted(before - after)),
        old.byte_fallback,
        new.byte_fallback,
    )


def _char_tokenizer(tokenizer: Tokenizer, whose: str) -> CharTokenizer:
    if isinstance(tokenizer, CharTokenizer):
        return tokenizer
    raise OptionError(
        f"--init-from maps tokens by character, and {whose} no characters as tokens (--tokenizer "
        f"{tokenizer.kind}): both need --tokenizer char"
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
    moves = _moves(model, tokenizer, config)
    starts = parameters.members(config, initial)
    return parameters.together(
        [
            _moved(network, config.member, start, moves)
            for network, start in zip(model.networks, starts, strict=True)
        ]
    )


def _moved(
    model: Model, config: ModelConfig, initial: Parameters, moves: _Moves
) -> dict[str, Floats32]:
    """Return the rearranged parameters of a model of one network."""
    larger = parameters.shapes(dataclasses.replace(config, vocab_size=config.vocab_size + 1))
    moved: dict[str, Floats32] = {}
    for name, shape in parameters.shapes(config).items():
        value = np.asarray(model.values[name])
        # An axis that grows with V has one index per token.
        axis = next((axis for axis in range(len(shape)) if shape[axis] != larger[name][axis]), None)
        if axis is not None:
            predicted = name.startswith("output.") or name.endswith(".weight_hh")
            old_ids = moves.predicted_as if predicted else moves.read_as
            source = _indices(value.shape[axis], model.config, not predicted, old_ids)
            target = _indices(shape[axis], config, not predicted, moves.new_ids)
            new = np.moveaxis(np.array(initial[name]), axis, 0)
            new[target] = np.moveaxis(value, axis, 0)[source]
            if name == "output.bias":
                new[moves.new_ids] -= np.log(moves.sharing)
            value = np.moveaxis(new, 0, axis)
        moved[name] = np.array(value, np.float32, order="C")
    return moved


class _Moves(NamedTuple):
    """Which tokens of a new alphabet start as which of the old one.

    Attributes:
        new_ids: (N,) of the new alphabet.
        read_as: (N,) the token of the old alphabet that the network reads each of them as.
        predicted_as: (N,) the one that it predicts each of them as.
        sharing: (N,) how many new tokens share the probability of that one.
    """

    new_ids: Integers
    read_as: Integers
    predicted_as: Integers
    sharing: Integers


def _moves(model: Model, tokenizer: Tokenizer, config: ModelConfig) -> _Moves:
    """Return which tokens start as which ones of the model."""
    change = compare_alphabets(model, tokenizer)
    start_as = _start_as(change)
    old = model.tokenizer.encode("".join(start_as.values())).astype(np.int64)
    new = tokenizer.encode("".join(start_as)).astype(np.int64)
    if change.bytes_before and change.bytes_after:
        old = np.append(old, np.arange(model.tokenizer.vocab_size)[-BYTES:])
        new = np.append(new, np.arange(tokenizer.vocab_size)[-BYTES:])
    if config.encoder:  # what ends a target stays what it is
        old = np.append(old, model.config.end_token)
        new = np.append(new, config.end_token)
    in_bytes = change.added if change.bytes_before else ""
    spelled = [model.tokenizer.encode(character) for character in in_bytes]
    firsts = np.array([ids[0] for ids in spelled], np.int64)
    lasts = np.array([ids[-1] for ids in spelled], np.int64)
    _, which, counts = np.unique(firsts, return_inverse=True, return_counts=True)
    return _Moves(
        np.append(new, tokenizer.encode(in_bytes).astype(np.int64)),
        np.append(old, lasts),
        np.append(old, firsts),
        np.append(np.ones_like(old), counts[which]),
    )


def _start_as(change: AlphabetChange) -> dict[str, str]:
    """Return the characters of a new text, and for each the one of the model that it starts as.

    Those that the model knows as their bytes, or does not know at all, are left out.
    """
    kept = {character: character for character in change.kept}
    if change.bytes_before:
        return kept
    known = set(change.kept) | set(change.dropped)
    nearest = {new: replace(new, known.issuperset, nearest=True).text for new in change.added}
    return kept | {new: old for new, old in nearest.items() if len(old) == 1}


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
