"""A corpus as ids, split by position: the first part trains, the last part validates."""

from __future__ import annotations

from dataclasses import dataclass

from charrnn.corpus import Corpus
from charrnn.errors import CorpusError
from charrnn.tokenizer import CharTokenizer, Ids


@dataclass(frozen=True)
class Dataset:
    """The ids of a corpus and where they are cut.

    Attributes:
        name: the corpus's short name.
        tokenizer: knows every symbol of both parts.
        train: ids (N,) of the training part.
        valid: ids (M,) of the validation part; M may be 0.
        valid_bytes: length of the validation part in UTF-8.
        newline: id of the line feed, where the alphabet has one.
        sha256: of the training corpus (before the split), by name of its use.
    """

    name: str
    tokenizer: CharTokenizer
    train: Ids
    valid: Ids
    valid_bytes: int
    sha256: dict[str, str]

    @property
    def newline(self) -> int | None:
        """The id of the line feed, None where no line ends."""
        at = self.tokenizer.symbols.find("\n")
        return None if at < 0 else at


def make(corpus: Corpus, valid_fraction: float, valid: Corpus | None = None) -> Dataset:
    """Tokenize `corpus`; its last `valid_fraction` is held out unless `valid` is a text of its own.

    Raises:
        CorpusError: there is nothing left to train on.
    """
    if valid is None:
        cut = split_position(len(corpus.text), valid_fraction)
        train_text, valid_text = corpus.text[:cut], corpus.text[cut:]
    else:
        train_text, valid_text = corpus.text, valid.text
    if len(train_text) < 2:
        raise CorpusError(
            f"{corpus.name} leaves {len(train_text)} character(s) to train on: "
            "at least 2 are needed; use a longer text"
        )
    tokenizer = CharTokenizer.from_texts(train_text, valid_text)
    sha256 = {"corpus": corpus.sha256, **({"valid": valid.sha256} if valid else {})}
    return Dataset(
        corpus.name,
        tokenizer,
        tokenizer.encode(train_text),
        tokenizer.encode(valid_text),
        len(valid_text.encode()),
        sha256,
    )


def split_position(length: int, valid_fraction: float) -> int:
    """Where the validation part starts; it has a character at least if any fraction is asked."""
    if valid_fraction == 0:
        return length
    return min(int(length * (1 - valid_fraction)), length - 1)
