"""``charrnn compress`` and ``decompress``: a text in as many bits as the model needs for it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from charrnn import __version__
from charrnn.cli.corpus_options import Watched
from charrnn.cli.shared import (
    JsonOption,
    ModelOption,
    ThreadsOption,
    guarded,
    load_model,
    note,
    print_json,
)
from charrnn.errors import ArchiveError, CorpusError, OptionError

InArgument = Annotated[Path, typer.Argument(help="What is read; - is standard input.")]
OutArgument = Annotated[Path, typer.Argument(help="What is written; - is standard output.")]
ReplaceOption = Annotated[bool, typer.Option("--force", help="Write over OUT, if it exists.")]
_STREAM = Path("-")


@guarded
def compress(
    source: InArgument,
    out: OutArgument,
    model: ModelOption = None,
    force: ReplaceOption = False,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compress a file with a model: about as small as 'charrnn score' says, and exact.

    Any file comes back byte for byte; what the model has never seen takes its own room. To read
    the archive takes the same model, the same version and the same kind of machine.
    """
    from charrnn import compression

    _check(source, out, force, as_json)
    generator = load_model(model, threads=threads)
    data = _read(source, CorpusError)
    with Watched() as watched:
        made = compression.compress(
            generator,
            data,
            f"charrnn {__version__}",
            lambda done, total: watched("compressing", done, total),
        )
    _write(out, made.data)
    fields = {
        "bytes": len(data),
        "compressed_bytes": len(made.data),
        "symbols": made.symbols,
        "literal_bytes": made.literals,
        "bits_per_byte": 8 * len(made.data) / len(data) if data else None,
    }
    if as_json:
        print_json(fields)
        return
    share = f", {len(made.data) / len(data):.2%}" if data else ""
    note(f"{len(data):,} bytes in {len(made.data):,}{share}")
    if made.literals:
        note(f"{made.literals:,} of the bytes are in no symbol of the model: packed apart")


@guarded
def decompress(
    source: InArgument,
    out: OutArgument,
    model: ModelOption = None,
    force: ReplaceOption = False,
    threads: ThreadsOption = None,
) -> None:
    """Write what 'charrnn compress' read, byte for byte.

    Whether the archive is whole, of this model, and can be read on this machine is known before the
    work begins; what comes out is compared with its SHA-256 before it is written.
    """
    from charrnn import compression

    _check(source, out, force)
    archive = _read(source, ArchiveError)
    generator = load_model(model, threads=threads)
    try:
        with Watched() as watched:
            data = compression.decompress(
                generator, archive, lambda done, total: watched("decompressing", done, total)
            )
    except ArchiveError as error:
        raise ArchiveError(f"{source}: {error.message}") from None
    _write(out, data)


def _check(source: Path, out: Path, force: bool, as_json: bool = False) -> None:
    if out == _STREAM:
        if as_json:
            raise OptionError("OUT is standard output, and so is --json: name a file")
        if sys.stdout.isatty():
            raise OptionError("OUT is the terminal: name a file, or pipe it on")
    elif out.exists() and not force:
        raise OptionError(f"{out} exists: name another, or --force to write over it")
    elif not out.parent.is_dir():
        raise OptionError(f"{out.parent} is no folder: make it, or name another")


def _read(source: Path, kind: type[ArchiveError | CorpusError]) -> bytes:
    if source == _STREAM:
        return sys.stdin.buffer.read()
    try:
        return source.read_bytes()
    except OSError as error:
        raise kind(f"{source} cannot be read: {error.strerror}") from None


def _write(out: Path, data: bytes) -> None:
    from charrnn.storage.files import write_atomically

    if out == _STREAM:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        write_atomically(out, data)
