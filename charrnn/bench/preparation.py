"""Compares ``charrnn prepare`` of a long text, and training on the result, with plainer ways.

Every command runs in a process of its own, from its start to its end. Commands that are compared
run in turns, and medians are reported. Memory is a process's peak of private memory.
"""

from __future__ import annotations

import itertools
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from charrnn.bench.processes import Ran, in_turns, run, timed
from charrnn.errors import RunError
from charrnn.text import tokenizer as tokenizers
from charrnn.text.corpus import Corpus
from charrnn.text.tokenizer.sentencepiece import DEFAULT_PIECES, DEFAULT_VOCAB_SIZE, segments
from charrnn.text.utf8 import character_start, count_characters

ROUNDS = 3
SIZE = 480  # MB of text
TENTH = 10
DISK_FACTOR = 5  # disk space needed per byte of text: the text, its ids in two bytes, a copy
SHORT_MB = 1  # the short text on which training is compared with that on the whole
MAX_ENCODED_MB = 4  # that sentencepiece encodes: it is the slowest of all
TRAINING = ("--steps", 200, "--hidden-size", 128, "--batch-size", 64, "--seq-len", 64)
# The script that one would write first, without care for memory.
PLAIN = """
import sys
import numpy
text = open(sys.argv[1], encoding="utf-8", newline="").read()
ids = {symbol: index for index, symbol in enumerate(sorted(set(text)))}
numpy.array([ids[symbol] for symbol in text], numpy.uint16).tofile(sys.argv[2])
"""


@dataclass(frozen=True)
class Row:
    """One line of the table; the fields are those of ``charrnn bench --json``.

    Attributes:
        what: ``prepare``, ``encode`` (the tokenizer alone) or ``train``.
        tokenizer: the tokenizer's kind.
        dtype: the type of the ids.
        megabytes: size of the text in 10^6 bytes.
        chars_per_second: characters prepared, or trained on.
        mb_per_second: the same in 10^6 bytes; None for training.
        memory: the process's peak of private memory in MB; None where unknown.
        baseline: what the result is compared with.
        baseline_memory: the baseline's memory; for training, that on the short text.
        tenth_memory: memory for a tenth of the text.
        ratio: our speed divided by the baseline's.
        share_of_limit: our speed as a share of the speed at which the system copies the file; None
            where no file is written.
    """

    what: str
    tokenizer: str
    dtype: str
    megabytes: float
    chars_per_second: float
    mb_per_second: float | None
    memory: float | None
    baseline: str
    baseline_chars_per_second: float
    baseline_memory: float | None
    ratio: float
    tenth_memory: float | None = None
    share_of_limit: float | None = None
    limit: str | None = None
    cell: str | None = None
    num_layers: int | None = None
    hidden_size: int | None = None
    batch_size: int | None = None
    backend: str | None = None
    threads: int | None = None


@dataclass(frozen=True)
class Text:
    """A text file, and its size."""

    path: Path
    num_bytes: int
    characters: int


def prepare(corpus: Corpus, size: int = SIZE, rounds: int = ROUNDS) -> Iterator[Row]:
    """Measure the preparation of `corpus`, repeated up to `size` MB.

    Raises:
        RunError: the disk has too little space, or a command failed.
    """
    with tempfile.TemporaryDirectory(prefix="charrnn-bench-") as name:
        folder = Path(name)
        needed, free = DISK_FACTOR * size * 10**6, shutil.disk_usage(folder).free
        if free < needed:
            raise RunError(
                f"{folder.parent} has {free / 1e6:,.0f} MB free, but {needed / 1e6:,.0f} MB are "
                "needed: choose a smaller --size, or another folder with TMPDIR"
            )
        whole = write(corpus, folder / "whole", size * 10**6)
        tenth = write(corpus, folder / "tenth", size * 10**6 // TENTH)
        short = write(corpus, folder / "short", min(SHORT_MB * 10**6, tenth.num_bytes))
        for tokenizer in ("char", "byte"):
            yield compare_preparation(tokenizer, whole, tenth, rounds)
        yield compare_plain(tenth, rounds)
        yield compare_encoding(corpus, min(MAX_ENCODED_MB, size) * 10**6, rounds)
        yield compare_training(whole, short, rounds)


def write(corpus: Corpus, path: Path, size: int) -> Text:
    """Write the corpus over and over, up to `size` bytes, each time after a line of mixed scripts.

    Returns:
        the file, which ends with a whole character.
    """
    length = 0
    with path.open("wb") as file:
        for block in _repeated(corpus, size):
            file.write(block)
            length += count_characters(block)
        return Text(path, file.tell(), length)


def _repeated(corpus: Corpus, size: int) -> Iterator[bytes]:
    """Yield that text in blocks."""
    for times in itertools.count(1):
        line = f"\u2116 {times}: текст, 文, \U0001f3bc\n".encode()
        for block in itertools.chain([line], (piece.data for piece in corpus.pieces())):
            if len(block) >= size:
                yield block[: character_start(block, size)]
                return
            yield block
            size -= len(block)


def compare_preparation(tokenizer: str, whole: Text, tenth: Text, rounds: int) -> Row:
    """Compare ``charrnn prepare`` of the whole with ``wc -m``, or with a copy if there is no wc."""
    copy = whole.path.with_name("copy")
    ways = [
        lambda: _prepare(whole, tokenizer),
        lambda: _copy(whole.path, copy),
    ]
    if shutil.which("wc"):
        ways.append(lambda: run("wc", "-m", whole.path))
    ours, copied, *counted = in_turns(ways, rounds)
    copy.unlink()
    small = _prepare(tenth, tokenizer)
    dtype = json.loads(small.out)["id_type"]
    other, baseline = (counted[0], "wc -m") if counted else (copied, "copy")
    row = _row(tokenizer, dtype, whole, ours, other, baseline)
    return replace(
        row,
        tenth_memory=small.memory,
        share_of_limit=copied.seconds / ours.seconds,
        limit="copy",
    )


def compare_plain(text: Text, rounds: int) -> Row:
    """Compare ``charrnn prepare`` with a script that holds the whole text and its ids."""
    ids = text.path.with_name("ids")
    ours, plain = in_turns(
        [lambda: _prepare(text, "char"), lambda: run(sys.executable, "-c", PLAIN, text.path, ids)],
        rounds,
    )
    ids.unlink()
    dtype = json.loads(ours.out)["id_type"]
    return _row("char", dtype, text, ours, plain, "read, set, list")


def compare_encoding(corpus: Corpus, size: int, rounds: int) -> Row:
    """Compare our encoding by sentencepiece with the library's own of the same lines."""
    blocks = list(_repeated(corpus, size))
    tokenizer = tokenizers.train_pieces(blocks, size, DEFAULT_PIECES, DEFAULT_VOCAB_SIZE)
    lines = segments(b"".join(blocks).decode())

    def feed() -> None:
        encoder = tokenizer.encoder()
        for block in blocks:
            encoder.feed(block)
        encoder.finish()

    ours, library = in_turns(
        [lambda: timed(feed), lambda: timed(lambda: tokenizer.library.encode(lines))], rounds
    )
    text = Text(Path(), size, sum(map(len, lines)))
    dtype = np.dtype(tokenizer.id_type).name
    row = _row(tokenizer.kind, dtype, text, ours, library, "the library's encode")
    return replace(row, what="encode")


def compare_training(whole: Text, short: Text, rounds: int) -> Row:
    """Compare training on the whole text's dataset with training on a short one's."""
    for text in (whole, short):
        _prepare(text, "byte", "--valid-fraction", 0)
    ours, other = in_turns([lambda: _train(whole), lambda: _train(short)], rounds)
    result, beside = json.loads(ours.out), json.loads(other.out)
    row = _row("byte", "uint8", whole, ours, other, f"from {short.num_bytes / 1e6:g} MB")
    speeds = result["chars_per_second"], beside["chars_per_second"]
    return replace(
        row,
        what="train",
        chars_per_second=speeds[0],
        mb_per_second=None,
        baseline_chars_per_second=speeds[1],
        ratio=speeds[0] / speeds[1],
        cell=result["cell"],
    )


def _row(tokenizer: str, dtype: str, text: Text, ours: Ran, other: Ran, baseline: str) -> Row:
    return Row(
        what="prepare",
        tokenizer=tokenizer,
        dtype=dtype,
        megabytes=text.num_bytes / 1e6,
        chars_per_second=text.characters / ours.seconds,
        mb_per_second=text.num_bytes / 1e6 / ours.seconds,
        memory=ours.memory,
        baseline=baseline,
        baseline_chars_per_second=text.characters / other.seconds,
        baseline_memory=other.memory,
        ratio=other.seconds / ours.seconds,
    )


def _copy(text: Path, copy: Path) -> Ran:
    copy.unlink(missing_ok=True)
    return timed(lambda: shutil.copyfile(text, copy))


def _dataset(text: Text) -> Path:
    return text.path.with_name(f"{text.path.name}-dataset")


def _prepare(text: Text, tokenizer: str, *more: object) -> Ran:
    shutil.rmtree(_dataset(text), ignore_errors=True)
    out = ("--out", _dataset(text), "--json")
    return _charrnn("prepare", text.path, *out, "--tokenizer", tokenizer, *more)


def _train(text: Text) -> Ran:
    out = ("--out", text.path.with_name("run"), "--force", "--json")
    return _charrnn("train", _dataset(text), *out, *TRAINING)


def _charrnn(*words: object) -> Ran:
    return run(sys.executable, "-m", "charrnn", *words)
