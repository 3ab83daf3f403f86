"""Compress with a model by arithmetic coding: in about as many bits as the text's score says.

    bytes -> tokens of the model, and literals: bytes that it has no tokens for  (``literals``)
    tokens -> K streams, read side by side -> whole numbers in proportion to probabilities
    -> a range coder (constriction)                                              (``coder``)
    header, literals, words of the range coder -> the archive                    (``archive``)

The decoder computes the same numbers from the same model with the compiled engine, whose sums
depend neither on threads nor on what is read side by side. An archive has a fingerprint of what the
model predicts for a fixed text, so whether results are the same here is checked before anything is
decoded. A text is cut into streams so that many tokens are coded at a time; each stream but the
first costs some 20 bits, as it does not know the text before it. If all bytes packed as literals
are smaller, the archive contains only those.

A model can also learn from the text while it is coded; that is one stream, coded choice by choice
by the adaptive predictor's own coder, and the decoder learns the same  (``adaptive_coder``).

A model of separate documents begins anew after each separator, in the decoder as in the encoder. If
its text had LF line ends and all of the bytes' are CR LF, LF is coded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from charrnn.arrays import Ids
from charrnn.compression import literals
from charrnn.compression.adaptive_coder import AdaptiveCoder
from charrnn.compression.archive import MAX_STREAMS, Archive, TextForm
from charrnn.compression.coder import Coder, CodingProgress
from charrnn.errors import ArchiveError, RunError
from charrnn.generator import Generator
from charrnn.text.sources import unpacked_limit

PER_STREAM = 32_768  # tokens: the cost of a stream's beginning is at most a thousandth of them


def silent(done: int, total: int) -> None:
    """Report progress to nobody."""


@dataclass(frozen=True)
class Compressed:
    """An archive, and what it contains.

    Attributes:
        data: the archive.
        tokens: how many tokens are coded with the model.
        literals: how many bytes are stored apart: those that the model has no tokens for, or all.
        helped: whether the model took part: else all bytes are packed without it, as that is
            smaller.
    """

    data: bytes
    tokens: int
    literals: int
    helped: bool = True


def compress(
    generator: Generator,
    data: bytes,
    made_by: str,
    progress: CodingProgress = silent,
    *,
    dynamic: bool = False,
    counted: Ids | None = None,
) -> Compressed:
    """Compress any bytes losslessly with a model.

    Args:
        generator: the model.
        data: what to compress: ideally a text like those that the model was trained on.
        made_by: name and version of the program, for the error of a machine that cannot decode it.
        progress: called with the number of tokens done and that of all; may raise.
        dynamic: let the model learn from the text while it is coded: smaller, and slower.
        counted: with `dynamic`, tokens to count first, such as those of the training text.

    Raises:
        OptionError: a package is missing, or the compiled engine is not available here.
    """
    form = _form(generator, data)
    coder: Coder | AdaptiveCoder = (
        AdaptiveCoder(generator, form.separator, counted)
        if dynamic
        else Coder(generator, form.separator)
    )
    ids, runs = literals.split(form.coded(data), generator.tokenizer)
    streams = 1 if dynamic else max(1, min(MAX_STREAMS, len(ids) // PER_STREAM))
    words = coder.encode(ids, streams, progress).astype("<u4").tobytes()
    packed = literals.pack(runs)
    helped = not data or (len(ids) > 0 and _helps(len(words) + len(packed), data))
    if not helped:
        form = TextForm()
        ids, runs, streams, words = ids[:0], [(0, data)], 1, b""
        packed = literals.pack(runs)
    archive = Archive(
        model=_model_id(generator),
        fingerprint=coder.fingerprint(),
        sha256=hashlib.sha256(data).digest(),
        size=len(data),
        tokens=len(ids),
        streams=streams,
        made_by=made_by,
        form=form,
        counted=coder.counted if isinstance(coder, AdaptiveCoder) else None,
        literals=packed,
        words=words,
    )
    return Compressed(archive.to_bytes(), len(ids), sum(len(run) for _, run in runs), helped)


def _nothing() -> Ids:
    raise ArchiveError("a text was counted before it: give `recall`, which returns its tokens")


def decompress(
    generator: Generator,
    archive: bytes,
    progress: CodingProgress = silent,
    *,
    max_unpacked: int | None = None,
    recall: Callable[[], Ids] = _nothing,
) -> bytes:
    """Return the bytes that were compressed with this model.

    Args:
        generator: the model.
        archive: what `compress` made, or what a stranger says it did.
        progress: as in `compress`.
        max_unpacked: limit of the number of bytes; None for that of compressed texts.
        recall: returns the tokens that were counted before the text, if some were.

    Raises:
        ArchiveError: it is not an archive, damaged, another model's, or was made on a machine where
            the model's results are rounded differently; or it unpacks to more than the limit.
        OptionError: a package is missing, or the compiled engine is not available here.
    """
    read = Archive.parse(archive)
    if read.model != _model_id(generator):
        raise ArchiveError("it was made with another model: give that model with --model")
    limit = unpacked_limit(len(archive), max_unpacked)
    if read.size > limit:
        raise ArchiveError(
            f"it has {len(archive):,} bytes and says that it unpacks to {read.size:,}: if that is "
            "right, raise --max-unpacked"
        )
    coder = _decoder(generator, read, recall)
    if coder is None:
        raise ArchiveError(
            f"it was made by {read.made_by}, where this model's results are rounded differently: "
            "decompress it with that version, on a machine of the same type"
        )
    runs = literals.unpack(read.literals, read.size, limit)
    words = np.frombuffer(read.words, "<u4").astype(np.uint32)
    ids = coder.decode(words, read.tokens, read.streams, progress)
    known = literals.num_bytes(ids, generator.tokenizer)
    wrong_size = ArchiveError("it is damaged: its text does not have the stated length")
    if known + sum(len(run) for _, run in runs) > read.size:  # before memory is taken for it
        raise wrong_size
    data = read.form.restored(literals.joined(ids, runs, generator.tokenizer))
    if len(data) != read.size:
        raise wrong_size
    if hashlib.sha256(data).digest() != read.sha256:
        raise RunError(
            "the decompressed text is not the one that was compressed: nothing was written"
        )
    return data


def _decoder(
    generator: Generator, archive: Archive, recall: Callable[[], Ids]
) -> Coder | AdaptiveCoder | None:
    """Return what decodes an archive; None where the model's results are rounded differently.

    Raises:
        ArchiveError: another text was counted for it.
    """
    separator = archive.form.separator
    make: Callable[..., Coder | AdaptiveCoder] = partial(Coder, generator, separator)
    if archive.counted is not None:
        counted = recall() if archive.counted else None
        make = partial(AdaptiveCoder, generator, separator, counted)
        if AdaptiveCoder(generator, separator, counted).counted != archive.counted:
            raise ArchiveError("another text was counted before it: that of the training changed")
    for older in (False, True):
        coder = make(older=older)
        if coder.fingerprint() == archive.fingerprint:
            return coder
    return None


def _model_id(generator: Generator) -> bytes:
    return bytes.fromhex(generator.scored_hash)[:16]


def _form(generator: Generator, data: bytes) -> TextForm:
    """Return the form in which the bytes suit the model."""
    reading, tokenizer = generator.reading, generator.tokenizer
    pairs = data.count(b"\r\n") if reading.newline == "lf" else 0
    crlf = pairs > 0 and pairs == data.count(b"\n") == data.count(b"\r")
    separator = reading.separator
    usable = len(separator.encode()) < 256 and generator.knows(separator)
    return TextForm(crlf, separator if usable and tokenizer.unique_encoding else "")


def _helps(coded: int, data: bytes) -> bool:
    """Return whether coding takes no more bytes than packing all data as literals."""
    return coded <= len(literals.pack([(0, data)]))
