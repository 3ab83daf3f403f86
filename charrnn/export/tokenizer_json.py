"""A tokenizer as ``tokenizer.json``, which the library tokenizers reads without further code.

Characters and bytes are byte-pair encoding there without any pairs to merge; pieces of
sentencepiece are such an encoding, or a unigram model. What has no token of its own is bytes.
"""

from __future__ import annotations

from typing import Any

from charrnn.text.tokenizer import BYTES, CharTokenizer, SentencePieceTokenizer, Tokenizer
from charrnn.text.tokenizer.sentencepiece import SEGMENTS

START = "<|start|>"  # the text of the token that starts a text
_AFTER = {"type_id": 0}


def files(tokenizer: Tokenizer) -> dict[str, dict[str, Any]]:
    """Return the JSON files of a tokenizer by name."""
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": START,
        "pad_token": START,
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 10**30,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    return {"tokenizer.json": _described(tokenizer), "tokenizer_config.json": settings}


def _described(tokenizer: Tokenizer) -> dict[str, Any]:
    start = tokenizer.vocab_size
    names = ("single_word", "lstrip", "rstrip", "normalized")
    special = {"id": start, "content": START, "special": True, **dict.fromkeys(names, False)}
    begins = {"SpecialToken": {"id": START, **_AFTER}}
    text, second = ({"Sequence": {"id": name, **_AFTER}} for name in "AB")
    model = _model(tokenizer)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [special],
        "normalizer": None,
        "pre_tokenizer": _splits(tokenizer, model),
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begins, text],
            "pair": [begins, text, second],
            "special_tokens": {START: {"id": START, "ids": [start], "tokens": [START]}},
        },
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": model,
    }


def _splits(tokenizer: Tokenizer, model: dict[str, Any]) -> dict[str, Any] | None:
    """Return what cuts a text into the units of encoding; None if it is one unit."""
    if not isinstance(tokenizer, SentencePieceTokenizer):
        return None
    patterns = [SEGMENTS.pattern]
    if model["type"] == "Unigram":  # which would read the name of a byte as that byte
        patterns.append("<(?=0x[0-9A-F]{2}>)")
    splits = [
        {"type": "Split", "pattern": {"Regex": each}, "behavior": "Isolated", "invert": False}
        for each in patterns
    ]
    return {"type": "Sequence", "pretokenizers": splits}


def _model(tokenizer: Tokenizer) -> dict[str, Any]:
    names = _names(tokenizer)
    if not isinstance(tokenizer, SentencePieceTokenizer):
        return _pairs(names, [])
    scores = [tokenizer.library.get_score(index + 1) for index in range(len(names))]
    # Byte-pair encoding numbers its pieces from 0 down; a unigram model has log-probabilities.
    if scores[BYTES:] == [-float(rank) for rank in range(len(names) - BYTES)]:
        return _pairs(names, _merges(names))
    if all(len(name) == 1 for name in names[BYTES:]):
        return _pairs(names, [])
    vocab = [list(pair) for pair in zip(names, scores, strict=True)]
    # A character without a piece is looked up as bytes before it becomes token `unk_id`.
    return {"type": "Unigram", "unk_id": 0, "vocab": vocab, "byte_fallback": True}


def _names(tokenizer: Tokenizer) -> list[str]:
    """Return each token as the library looks it up: its text, or ``<0x41>`` for a byte."""
    alphabet = len(tokenizer.alphabet) if isinstance(tokenizer, CharTokenizer) else 0
    byte_ids = range(alphabet, alphabet + BYTES)
    return [
        f"<0x{token[0]:02X}>" if index in byte_ids else token.decode()
        for index, token in enumerate(tokenizer.token_bytes)
    ]


def _pairs(names: list[str], merges: list[list[str]]) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": True,
        "ignore_merges": False,
        "vocab": {name: index for index, name in enumerate(names)},
        "merges": merges,
    }


def _merges(names: list[str]) -> list[list[str]]:
    """Return the pairs that make each piece, the pieces in their order."""
    known = {name: index for index, name in enumerate(names)}
    return [
        pair
        for name in names[BYTES:]
        for pair in sorted(
            ([name[:cut], name[cut:]] for cut in range(1, len(name))),
            key=lambda pair: [known.get(part, 0) for part in pair],
        )
        if pair[0] in known and pair[1] in known
    ]
