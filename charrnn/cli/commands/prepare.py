"""``charrnn prepare``: a text of any size as a dataset on disk."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Annotated

import typer

from charrnn.cli.corpus_options import (
    CorpusArgument,
    EncodingOption,
    ErrorsOption,
    ExcludeOption,
    IncludeOption,
    MinCountOption,
    NewlineOption,
    PiecesOption,
    SeparatorOption,
    SplitOption,
    TestFractionOption,
    TestOption,
    TokenizerOption,
    UnpackedOption,
    ValidFractionOption,
    ValidOption,
    VocabSizeOption,
    dataset_of,
    split_lines,
    text_options,
)
from charrnn.cli.shared import JsonOption, guarded, note, print_json
from charrnn.config import TextOptions
from charrnn.errors import OptionError
from charrnn.terminal import visible


@guarded
def prepare(
    context: typer.Context,
    corpus: CorpusArgument,
    out: Annotated[Path, typer.Option(help="The dataset's folder.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the dataset in --out.")] = False,
    tokenizer: TokenizerOption = TextOptions.tokenizer,
    min_count: MinCountOption = TextOptions.min_count,
    vocab_size: VocabSizeOption = None,
    pieces: PiecesOption = None,
    split: SplitOption = TextOptions.split,
    valid_fraction: ValidFractionOption = TextOptions.valid_fraction,
    test_fraction: TestFractionOption = TextOptions.test_fraction,
    valid: ValidOption = None,
    test: TestOption = None,
    encoding: EncodingOption = TextOptions.encoding,
    errors: ErrorsOption = TextOptions.errors,
    newline: NewlineOption = TextOptions.newline,
    include: IncludeOption = None,
    exclude: ExcludeOption = None,
    document_separator: SeparatorOption = "",
    max_unpacked: UnpackedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a dataset of a text: 'charrnn train DIR' trains on it without reading the text again.

    The text is read twice and never held in memory, whatever its size. 'charrnn train' does the
    same by itself, and keeps what it made in the user's cache.
    """
    from charrnn.text import dataset

    began = time.perf_counter()
    options = TextOptions(**text_options(context.params))
    if force and dataset.is_dataset(out):
        shutil.rmtree(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        kind = "a dataset" if dataset.is_dataset(out) else "something else"
        advice = "name another, or --force to replace it" if "data" in kind else "name another"
        raise OptionError(f"--out {out} holds {kind} already: {advice}")
    if any(dataset.is_dataset(Path(name)) for name in corpus if name):
        raise OptionError(f"{corpus[0]} is a dataset already: name a text")
    data = dataset_of(corpus, options, valid, test, folder=out)
    seconds = time.perf_counter() - began
    num_bytes = sum(size.num_bytes for size in data.sizes.values())
    fields = {
        "dataset": str(out),
        "name": data.name,
        "tokenizer": data.tokenizer.kind,
        "vocab_size": data.tokenizer.vocab_size,
        "id_type": data.train.dtype.name,
        "split": data.split,
        "parts": {
            name: {
                "ids": len(getattr(data, name)),
                "characters": size.characters,
                "bytes": size.num_bytes,
                "documents": len(data.documents[name]),
            }
            for name, size in data.sizes.items()
        },
        "repeated_documents": {name: leak.repeated for name, leak in data.leaks.items()},
        "sha256": dict(data.sha256),
        "seconds": seconds,
        "bytes_per_second": num_bytes / seconds,
    }
    if as_json:
        print_json(fields)
        return
    typer.echo(f"{visible(str(out))}")
    typer.echo(
        f"  symbols    {data.tokenizer.vocab_size:,} ({data.tokenizer.kind}), "
        f"as {data.train.dtype.name}"
    )
    for line in split_lines(data):
        typer.echo(f"  {line}")
    note(f"{num_bytes / 1e6:,.1f} MB in {seconds:.1f} s")
