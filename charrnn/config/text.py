"""Options of a text: how it is read, split and tokenized."""

from __future__ import annotations

import codecs
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from charrnn.config.escapes import unescape
from charrnn.config.fields import (
    TEXT,
    TOKENIZER,
    Option,
    Options,
    choice,
    declare,
    flag,
    integer,
    integer_or,
    number,
    same,
    string,
    strings,
    switch,
)
from charrnn.errors import OptionError, excerpt, nearest

TokenizerName = Literal["char", "byte", "sentencepiece"]
PieceName = Literal["unigram", "bpe", "char"]
SplitName = Literal["position", "document", "hash"]
ErrorsName = Literal["strict", "replace"]
NewlineName = Literal["keep", "lf"]
END = "\ufdd0"  # how the end of a target is written: Unicode promises that no text has it
AUTO = "auto"  # decided for each file or text
ITEM_ENDS = {"lines": "\n", "blank-lines": "\n\n"}  # of the kinds of items that have a name
ENCODINGS = (  # suggested when a name is unknown; every text codec of Python is valid
    AUTO,
    "utf-8",
    "utf-16",
    "utf-32",
    "latin-1",
    "cp1251",
    "cp1252",
    "koi8-r",
    "shift-jis",
    "euc-jp",
    "euc-kr",
    "gb18030",
    "big5",
)


def _check_encoding(name: str, value: Any) -> Any:
    """Refuse unknown codecs, and codecs that do not decode text (base64, zip)."""
    try:
        known = isinstance(value, str) and (value == AUTO or codecs.lookup(value)._is_text_encoding)
    except (LookupError, ValueError):  # ValueError: a NUL in the name
        known = False
    if not known:
        raise OptionError(
            f"{flag(name)} '{excerpt(value)}' is not known: {nearest(str(value), ENCODINGS)}"
        )
    return value


def _check_unicode(name: str, value: Any) -> Any:
    try:
        value.encode()
    except (UnicodeEncodeError, AttributeError):
        raise OptionError(f"{flag(name)} must be Unicode text") from None
    return value


def _check_items(name: str, value: Any) -> Any:
    """Return what ends an item: its text or a name; refuse what is almost a name."""
    _check_unicode(name, value)
    near = difflib.get_close_matches(value, ITEM_ENDS, n=1, cutoff=0.6)
    if value not in ITEM_ENDS and (near or value == "line"):
        raise OptionError(
            f"{flag(name)} '{value}' is not known: use {', '.join(ITEM_ENDS)}, or the text that "
            "ends each item"
        )
    return value


@dataclass(frozen=True)
class Reading(Options):
    """How files become one text; `items` decide separator and line ends."""

    encoding: str = string(
        AUTO,
        "Encoding of files that are not UTF-8 (a Python codec name); auto: decided for each file.",
        _check_encoding,
        panel=TEXT,
    )
    errors: str = choice(
        ErrorsName,
        "strict",
        "Bytes that cannot be decoded: strict (report an error) or replace (by U+FFFD).",
        panel=TEXT,
    )
    newline: str = choice(
        NewlineName,
        "keep",
        "Line ends: keep them, or lf (turn CR LF, CR, NEL, U+2028 and U+2029 into LF).",
        panel=TEXT,
    )
    include: str | Sequence[str] = strings(
        "Read only files of a folder that match this pattern, such as '*.c'; may be repeated.",
        panel=TEXT,
        shown="all",
    )
    exclude: str | Sequence[str] = strings(
        "Skip files of a folder that match this pattern; may be repeated.",
        panel=TEXT,
        shown="none",
    )
    document_separator: str = string(
        "",
        r"Text that separates documents, besides the end of a file; escapes such as \n work.",
        _check_unicode,
        panel=TEXT,
        shown="none",
        parse=unescape,
    )
    items: str = string(
        "",
        "Read a list of items: lines, blank-lines (an item ends at a blank line), or the text that "
        "ends each item. Training shuffles them at every epoch and holds some out by hash; a "
        "sample is one item.",
        _check_items,
        panel=TEXT,
        shown="none",
        values=tuple(ITEM_ENDS),
        parse=unescape,
    )
    pairs: bool = switch(
        r"Read pairs: each line is a source, a tab and its target (\t, \n and \\ stand for a tab, "
        "a line end and a backslash); in .jsonl files, an object with source and target.",
        panel=TEXT,
        omit=True,
    )
    swap: bool = switch(
        "With --pairs: the source is after the tab, the target before it.", panel=TEXT, omit=True
    )
    max_unpacked: int | None = integer(
        1,
        2**60,
        None,
        "Maximum size in bytes of one decompressed file.",
        panel=TEXT,
        shown="200 times the compressed size",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pairs:
            self._check_pairs()
        elif self.swap:
            raise OptionError("--swap exchanges the two sides of pairs: add --pairs")
        if not self.items:
            return
        separator = ITEM_ENDS.get(self.items, self.items)
        if self.document_separator not in ("", separator):
            raise OptionError(
                "--items and --document-separator both say where an item ends: give one of them"
            )
        object.__setattr__(self, "document_separator", separator)
        if self.items in ITEM_ENDS:
            object.__setattr__(self, "newline", "lf")

    def _check_pairs(self) -> None:
        """Refuse what has no meaning for pairs; their lines end alike, whatever ends them."""
        for name in ("items", "document_separator"):
            if getattr(self, name):
                raise OptionError(
                    f"{flag(name)} says where an item ends, and each line is a pair: leave it out"
                )
        object.__setattr__(self, "newline", "lf")


@dataclass(frozen=True)
class ModelReading(Options):
    """How the text of a training was read: a model remembers it, to read other texts like it."""

    encoding: str = same(Reading, "encoding", Reading.encoding)
    errors: str = same(Reading, "errors", Reading.errors)
    newline: str = same(Reading, "newline", Reading.newline)
    document_separator: str = same(Reading, "document_separator", Reading.document_separator)
    items: str = same(Reading, "items", Reading.items)
    documents_apart: bool = switch("Whether each document began from the start state.")
    pairs: bool = same(Reading, "pairs", default=False)
    swap: bool = same(Reading, "swap", default=False)
    fill: bool = switch(
        "Learn to fill gaps in texts (charrnn fill): passages that are left out of the text, given "
        "what is left and right of them.",
        panel=TEXT,
        omit=True,
    )
    target_only: str = string(
        "", "The characters that targets of the pairs had, and no source.", omit=True
    )

    @property
    def separator(self) -> str:
        """The text that ends a document, after which the model knows nothing; "" without one."""
        if self.pairs or self.fill:
            return END
        return self.document_separator if self.documents_apart else ""

    @property
    def kind(self) -> str:
        """What the model is of: texts, pairs or gaps."""
        return "pairs" if self.pairs else "gaps" if self.fill else "texts"

    def options(self, given: Mapping[str, Any] | None = None) -> Reading:
        """Return how to read a text for the model; the `given` options of a user come first."""
        given = dict(given or {})
        names = ("encoding", "errors", "newline", "pairs", "swap")
        known = {name: getattr(self, name) for name in names}
        known["document_separator"] = "" if self.separator == END else self.separator
        if not given.keys() & {"document_separator", "newline"}:  # items would decide them
            known["items"] = self.items
        return Reading(**known | given)


@dataclass(frozen=True)
class TextOptions(Reading):
    """How a text is read, tokenized, and split into train, valid and test."""

    tokenizer: str = choice(
        TokenizerName, "char", "Tokenizer: char (code points), byte, or sentencepiece."
    )
    min_count: int | str = declare(
        AUTO,
        Option(
            str,
            "char: write characters that occur fewer times than this as their bytes. auto: those "
            "seen fewer than 100 times in the training text (fewer still where they are over 2 % "
            "of it), if they are more than 256; with --init-from, those that the model writes as "
            "bytes.",
            integer_or(AUTO, 1, 10**12),
            panel=TOKENIZER,
        ),
    )
    vocab_size: int | None = integer(
        300, 2**20, None, "sentencepiece: vocabulary size.", panel=TOKENIZER, shown="1024"
    )
    pieces: str | None = choice(
        PieceName, None, "sentencepiece: unigram, bpe or char.", panel=TOKENIZER, shown="bpe"
    )
    split: str | None = choice(
        SplitName,
        None,
        "Hold out the end of the text (position), the last documents (document), or documents "
        "chosen by a hash of their content (hash; for pairs, of their source).",
        panel=TEXT,
        shown="position; hash with --items and --pairs",
    )
    valid_fraction: float = number(
        0.0, 0.9, 0.1, "Fraction of the text held out for validation.", panel=TEXT
    )
    test_fraction: float = number(
        0.0, 0.9, 0.0, "Fraction of the text held out for a final test.", panel=TEXT
    )

    # With --min-count auto: the characters that the model to start from has as tokens. No flag of
    # its own: `charrnn.training.init_from` sets it, and the files of a run remember it.
    known_symbols: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_unicode("known_symbols", self.known_symbols)
        if self.split is None:
            by_hash = self.items or self.pairs
            object.__setattr__(self, "split", "hash" if by_hash else "position")
        if self.pairs and self.split != "hash":
            raise OptionError(
                f"--split {self.split} would put one source into two parts: pairs are split by a "
                "hash of their source"
            )
        if self.valid_fraction + self.test_fraction > 0.9:
            raise OptionError(
                "--valid-fraction and --test-fraction leave less than a tenth to train on: "
                "lower one of them"
            )
        if self.min_count not in (AUTO, 1) and self.tokenizer != "char":
            raise OptionError(f"--min-count is for --tokenizer char, not {self.tokenizer}")
        for name in ("vocab_size", "pieces"):
            if getattr(self, name) is not None and self.tokenizer != "sentencepiece":
                raise OptionError(f"{flag(name)} is for --tokenizer sentencepiece")
