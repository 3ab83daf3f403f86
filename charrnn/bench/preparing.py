"""`charrnn prepare` of a long text, and training from what it made, beside plainer ways.

Every command runs in a process of its own, from its start to its end; those that are compared run
in turns, and medians count. Memory is the most that a process had for itself (RssAnon of Linux:
pages of mapped files, which the system may take back at any time, are not counted).
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from charrnn.errors import RunError
from charrnn.text import tokenizer as tokenizers
from charrnn.text.corpus import Corpus
from charrnn.text.tokenizer.sentencepiece import DEFAULT_PIECES, DEFAULT_VOCAB_SIZE, segments
from charrnn.text.utf8 import character_start, count_characters

ROUNDS = 3
SIZE = 480  # MB
TENTH = 10
ROOM = 5  # times the text's size: the text, its ids in two bytes, a copy
SHORT = 1  # MB of the text whose training is compared with that of the whole
ENCODED = 4  # MB at most that sentencepiece encodes: it is slower than all else here
LOOK = 0.005  # seconds between two looks at a process's memory
TRAINING = ("--steps", 200, "--hidden-size", 128, "--batch-size", 64, "--seq-len", 64)
# As one writes it without thinking of memory.
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
        what: ``prepare``, ``encode`` (a tokenizer alone) or ``train``.
        tokenizer: what makes the ids.
        dtype: of the ids.
        megabytes: 10^6 bytes of text.
        chars_per_second: characters of the text, or trained on.
        mb_per_second: the same in 10^6 bytes; None in training.
        memory: the most MB that the process had for itself; None where the system does not tell.
        baseline: what it is compared with.
        baseline_memory: the other's; in training that from the short text.
        tenth_memory: memory for a tenth of the text.
        ratio: of both speeds.
        share_of_limit: of the speed at which the system copies the file; None where no file is
            written.
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
    """A file of so many bytes and characters."""

    path: Path
    num_bytes: int
    characters: int


@dataclass(frozen=True)
class Ran:
    """What a command took: seconds, and the most MB it had for itself; what it printed."""

    seconds: float
    memory: float | None = None
    out: str = ""


def prepare(corpus: Corpus, size: int = SIZE, rounds: int = ROUNDS) -> Iterator[Row]:
    """Measure with `corpus`, repeated up to `size` MB.

    Raises:
        RunError: there is no room for the text and what is made of it; a command failed.
    """
    with tempfile.TemporaryDirectory(prefix="charrnn-bench-") as name:
        folder = Path(name)
        needed, free = ROOM * size * 10**6, shutil.disk_usage(folder).free
        if free < needed:
            raise RunError(
                f"{folder.parent} has {free / 1e6:,.0f} MB free, and {needed / 1e6:,.0f} are "
                "needed: name a smaller --size, or another folder in TMPDIR"
            )
        whole = write(corpus, folder / "whole", size * 10**6)
        tenth = write(corpus, folder / "tenth", size * 10**6 // TENTH)
        short = write(corpus, folder / "short", min(SHORT * 10**6, tenth.num_bytes))
        for tokenizer in ("char", "byte"):
            yield prepared(tokenizer, whole, tenth, rounds)
        yield beside_plain(tenth, rounds)
        yield encoded(corpus, min(ENCODED, size) * 10**6, rounds)
        yield trained(whole, short, rounds)


def write(corpus: Corpus, path: Path, size: int) -> Text:
    """The corpus over and over, up to `size` bytes, each time under a line of several scripts."""
    length = 0
    with path.open("wb") as file:
        for block in _repeated(corpus, size):
            file.write(block)
            length += count_characters(block)
        return Text(path, file.tell(), length)


def _repeated(corpus: Corpus, size: int) -> Iterator[bytes]:
    for times in itertools.count(1):
        line = f"\u2116 {times}: текст, 文, \U0001f3bc\n".encode()
        for block in itertools.chain([line], (piece.data for piece in corpus.pieces())):
            if len(block) >= size:
                yield block[: character_start(block, size)]
                return
            yield block
            size -= len(block)


def prepared(tokenizer: str, whole: Text, tenth: Text, rounds: int) -> Row:
    """``charrnn prepare`` of the whole beside ``wc -m``, or where there is none beside a copy."""
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


def beside_plain(text: Text, rounds: int) -> Row:
    """``charrnn prepare`` beside a script that holds all of the text, and its ids in a list."""
    ids = text.path.with_name("ids")
    ours, plain = in_turns(
        [lambda: _prepare(text, "char"), lambda: run(sys.executable, "-c", PLAIN, text.path, ids)],
        rounds,
    )
    ids.unlink()
    dtype = json.loads(ours.out)["id_type"]
    return _row("char", dtype, text, ours, plain, "read, set, list")


def encoded(corpus: Corpus, size: int, rounds: int) -> Row:
    """Ids of sentencepiece as we make them, beside what its library makes of the same lines."""
    blocks = list(_repeated(corpus, size))
    tokenizer = tokenizers.train_pieces(blocks, size, DEFAULT_PIECES, DEFAULT_VOCAB_SIZE)
    lines = segments(b"".join(blocks).decode())

    def feed() -> None:
        encoder = tokenizer.encoder()
        for block in blocks:
            encoder.feed(block)
        encoder.finish()

    ours, library = in_turns(
        [lambda: _timed(feed), lambda: _timed(lambda: tokenizer.library.encode(lines))], rounds
    )
    text = Text(Path(), size, sum(map(len, lines)))
    dtype = np.dtype(tokenizer.id_type).name
    row = _row(tokenizer.kind, dtype, text, ours, library, "the library's encode")
    return replace(row, what="encode")


def trained(whole: Text, short: Text, rounds: int) -> Row:
    """The same training from a dataset of the whole, and from one of a short text."""
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


def in_turns(ways: Sequence[Callable[[], Ran]], rounds: int) -> list[Ran]:
    """The middle one of so many runs of each way by time, with the most memory of all."""
    turns = [[way() for way in ways] for _ in range(rounds)]
    return [_middle(runs) for runs in zip(*turns, strict=True)]


def _middle(runs: Sequence[Ran]) -> Ran:
    middle = sorted(runs, key=lambda ran: ran.seconds)[len(runs) // 2]
    seen = [ran.memory for ran in runs if ran.memory is not None]
    return replace(middle, memory=max(seen, default=None))


def _timed(call: Callable[[], object]) -> Ran:
    began = time.perf_counter()
    call()
    return Ran(time.perf_counter() - began)


def _copy(text: Path, copy: Path) -> Ran:
    copy.unlink(missing_ok=True)
    return _timed(lambda: shutil.copyfile(text, copy))


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


def run(*words: object) -> Ran:
    """Run a command to its end, looking at its memory meanwhile.

    Raises:
        RunError: it failed.
    """
    began = time.perf_counter()
    process = subprocess.Popen(
        list(map(str, words)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"LC_ALL": "C.UTF-8"},
    )
    most: float | None = None
    over = threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(LOOK):
            most = max((size for size in (most, own_memory(process.pid)) if size), default=None)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        out, err = process.communicate()
        seconds = time.perf_counter() - began
    finally:
        process.kill()  # what was interrupted
        over.set()
        watcher.join()
    if process.returncode:
        said = err.decode(errors="replace").strip().splitlines()[-1:]
        name = " ".join([Path(str(words[0])).name, *map(str, words[1:4])])
        raise RunError(f"{name} failed: {''.join(said)}")
    return Ran(seconds, most, out.decode())


def own_memory(process: int) -> float | None:
    """RssAnon of a process in MB; None where the system does not tell, or it is no more."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return None
    found = re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else None
