"""The tokens of a text with their log-probabilities, as OpenAI's protocol names them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from charrnn.decoding.continuous import Token
from charrnn.text.tokenizer import Decoder, Tokenizer


class Logprobs:
    """Names the tokens of one text, in order, as it grows."""

    def __init__(self, tokenizer: Tokenizer, offset: int = 0) -> None:
        """Begin with a text's first token.

        Args:
            tokenizer: of the model.
            offset: characters before the text.
        """
        self._names, self._decoder = tokenizer.token_names, Decoder(tokenizer)
        self._offset = offset  # of the next token
        self._waiting: list[Token] = []

    def take(self, tokens: Iterable[Token], end: int) -> dict[str, Any]:
        """Add tokens; return those that begin before `end`, which were not returned yet.

        Args:
            tokens: that follow those given before; what a constraint wrote in place of one ends
                the text.
            end: how many characters of the text have been sent.
        """
        self._waiting += [token for token in tokens if token.id >= 0]
        taken: list[Token] = []
        offsets: list[int] = []
        for token in self._waiting:
            if self._offset >= end:
                break
            taken.append(token)
            offsets.append(self._offset)
            self._offset += len(self._decoder.feed((token.id,)))
        del self._waiting[: len(taken)]
        return {
            "tokens": [self._names[token.id] for token in taken],
            "token_logprobs": [-token.nats for token in taken],
            "top_logprobs": [self._likeliest(token) for token in taken],
            "text_offset": offsets,
        }

    def _likeliest(self, token: Token) -> dict[str, float]:
        found: Sequence[int] = token.likeliest.tolist()
        pairs = zip(found, token.likeliest_nats.tolist(), strict=True)
        return {self._names[number]: -nats for number, nats in pairs}
