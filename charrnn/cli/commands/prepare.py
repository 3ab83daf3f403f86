"""``charrnn prepare``: a text of any size as a dataset on disk."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from charrnn.cli.display.dataset_summary import dataset_fields, rare_lines, split_lines
from charrnn.cli.options import configured
from charrnn.cli.shared import JsonOption, guarded, note, print_json
from charrnn.cli.texts import CorpusArgument, dataset_of
from charrnn.config import HeldOutOptions, TextOptions
from charrnn.errors import OptionError
from charrnn.terminal import visible

SPLITTING = ("valid_fraction", "test_fraction")


@guarded
@configured
def prepare(
    corpus: CorpusArgument,
    out: Annotated[Path, typer.Option(help="The dataset's folder.")],
    options: TextOptions,
    held_out: HeldOutOptions,
    force: Annotated[bool, typer.Option("--force", help="Replace the dataset in --out.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Tokenize a text into a dataset; 'charrnn train DIR' then trains on it directly.

    The text is read two or three times and never held in memory, whatever its size. 'charrnn
    train' makes the same dataset by itself and caches it.
    """
    from charrnn.text import line_list
    from charrnn.text.dataset import check_folder
    from charrnn.text.manifest import is_dataset

    started = time.perf_counter()
    check_folder(out, force=force)
    if any(is_dataset(Path(name)) for name in corpus if name):
        raise OptionError(f"{corpus[0]} is a dataset already: name a text")
    given = [name for name in SPLITTING if getattr(options, name) != getattr(TextOptions, name)]
    parts = held_out.valid, held_out.test
    data = dataset_of(corpus, options, *parts, given, folder=out, force=force)
    seconds = time.perf_counter() - started
    is_list = line_list.advice(data.texts["corpus"])
    if is_list:
        note(is_list)
    num_bytes = sum(size.num_bytes for size in data.sizes.values())
    if as_json:
        speed = {"seconds": seconds, "bytes_per_second": num_bytes / seconds}
        print_json({"dataset": str(out), **dataset_fields(data), **speed})
        return
    kind, size = data.tokenizer.kind, data.tokenizer.vocab_size
    typer.echo(visible(str(out)))
    typer.echo(f"  tokens     {size:,} ({kind}), as {data.train.dtype.name}")
    for line in (*rare_lines(data), *split_lines(data)):
        typer.echo(f"  {line}")
    note(f"{num_bytes / 1e6:,.1f} MB in {seconds:.1f} s")
