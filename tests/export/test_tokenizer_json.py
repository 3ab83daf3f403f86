from __future__ import annotations

import json
import random
from typing import Any

import pytest

from charrnn.export import tokenizer_json
from charrnn.text.tokenizer import ByteTokenizer, CharTokenizer, Tokenizer, train_pieces

TEXT = "the café is near the sea.\n\n   aaaa bbb abab\tAnd the harbour, and the quiet sea 🙂\n" * 9
# Also what sentencepiece cannot take as text, and what looks like the name of a byte.
OTHERS = [*set(TEXT), *"\u2581\u2585\x00\r\u0301\u00bd\ufeff日", "<0x41>", "<s>"]


def tokenizers() -> dict[str, Tokenizer]:
    made: dict[str, Tokenizer] = {
        "characters": CharTokenizer.from_texts(TEXT),
        "partly bytes": CharTokenizer("\n aehst", byte_fallback=True),
        "bytes": ByteTokenizer(),
    }
    data = TEXT.encode()
    for kind in ("bpe", "unigram", "char"):
        made[kind] = train_pieces([data], len(data), kind, 320)
    return made


def equally_likely(tokenizer: Any, *encodings: list[int]) -> bool:
    """Return whether a unigram model has no reason to prefer one of them."""
    scores = [sum(tokenizer.library.get_score(i + 1) for i in ids) for ids in encodings]
    return max(scores) - min(scores) < 1e-4


@pytest.mark.parametrize("kind", tokenizers())
def test_the_library_gives_the_same_ids_and_texts(kind: str) -> None:
    library = pytest.importorskip("tokenizers", reason="needs 'pip install transformers'")
    tokenizer = tokenizers()[kind]
    described = tokenizer_json.files(tokenizer)["tokenizer.json"]
    found = library.Tokenizer.from_str(json.dumps(described))
    chance = random.Random(4)
    known = [*set(TEXT)] if kind == "characters" else OTHERS
    texts = ["", TEXT, "e" * 3000, TEXT[3:50]]
    texts += ["".join(chance.choices(known, k=chance.randrange(1, 40))) for _ in range(200)]
    texts += ["".join(chance.choices("aab e\n", k=chance.randrange(1, 60))) for _ in range(200)]
    for text in texts:
        ids, ours = (
            found.encode(text, add_special_tokens=False).ids,
            tokenizer.encode(text).tolist(),
        )
        assert ids == ours or (kind == "unigram" and equally_likely(tokenizer, ids, ours))
        assert found.decode(ids) == text
    assert found.encode("the").ids == [tokenizer.vocab_size, *tokenizer.encode("the").tolist()]
    assert found.id_to_token(tokenizer.vocab_size) == tokenizer_json.START
