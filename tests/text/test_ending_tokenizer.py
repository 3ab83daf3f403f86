from __future__ import annotations

import pytest

from charrnn.config import END
from charrnn.decoding.vocabulary import stop_ids
from charrnn.errors import PromptError
from charrnn.text.tokenizer import ByteTokenizer, CharTokenizer, EndingTokenizer, train_pieces


def _tokenizers() -> list[EndingTokenizer]:
    pieces = train_pieces([b"the cat is at the sea\n" * 40], 900, "bpe", 300)
    inner = (CharTokenizer("abct "), CharTokenizer("ab", True), ByteTokenizer(), pieces)
    return [EndingTokenizer(tokenizer) for tokenizer in inner]


@pytest.mark.parametrize("tokenizer", _tokenizers(), ids=lambda made: made.kind)
def test_the_last_token_ends_a_target(tokenizer: EndingTokenizer) -> None:
    last = tokenizer.vocab_size - 1
    ids = tokenizer.encode(f"a cat{END}")
    assert ids[-1] == last
    assert last not in ids[:-1]
    assert tokenizer.decode(ids) == f"a cat{END}"
    assert tokenizer.decode(ids[:-1]) == "a cat"
    assert stop_ids(tokenizer, [END]) == [(last,)]
    assert len(set(tokenizer.token_names)) == tokenizer.vocab_size
    assert tokenizer.token_names[last] == "<end>"


def test_other_characters_are_as_unknown_as_before() -> None:
    with pytest.raises(PromptError, match="never seen"):
        EndingTokenizer(CharTokenizer("ab")).encode("abc")


def test_model_files_hold_the_alphabet_alone() -> None:
    assert EndingTokenizer(CharTokenizer("ab")).to_json() == CharTokenizer("ab").to_json()
