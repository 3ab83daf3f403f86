"""``charrnn bench``: how fast this machine is with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from charrnn.cli.corpus_options import read_corpus
from charrnn.cli.shared import JsonOption, ThreadsOption, WeightsOption, guarded, print_json
from charrnn.config import Reading, SampleConfig, TrainOptions, check_weights

if TYPE_CHECKING:
    from charrnn.bench import preparing
    from charrnn.bench.measuring import Row
    from charrnn.bench.training import Case

    AnyRow = TypeVar("AnyRow", Row, preparing.Row)

app = typer.Typer(no_args_is_help=True, help="How fast this machine is with it.")

CellsOption = Annotated[
    list[str] | None,
    typer.Option(help="A recurrence; may be repeated.", show_default="a table of all"),
]
LayersOption = Annotated[
    int | None, typer.Option(help="L, layers.", show_default="2, of a jordan 1")
]
HiddenOption = Annotated[int, typer.Option(help="H, units in each layer.")]
RoundsOption = Annotated[int, typer.Option(help="Rounds of which the median counts.", min=1)]

HEAD = (
    f"{'cell':<18} {'size':>7} {'B':>3} {'T':>3} {'products':<9} {'backend':<9} "
    f"{'chars/s':>9}  {'beside':<22} {'chars/s':>9} {'ratio':>6} {'of peak':>7}"
)


@app.command("train")
@guarded
def bench_train(
    cell: CellsOption = None,
    num_layers: LayersOption = None,
    hidden_size: HiddenOption = 256,
    batch_size: Annotated[int, typer.Option(help="B, streams.")] = 64,
    seq_len: Annotated[int, typer.Option(help="T, the BPTT window.")] = 64,
    precision: Annotated[
        str, typer.Option(help="auto, float32 or bfloat16, as in training.")
    ] = TrainOptions.precision,
    backend: Annotated[
        str, typer.Option(help="auto, library, scaffold or reference, as in training.")
    ] = TrainOptions.backend,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads.", show_default="all cores")
    ] = None,
    rounds: RoundsOption = 7,
    as_json: JsonOption = False,
) -> None:
    """Training steps beside the same written with torch.nn, or with a plain loop, in float32.

    Whole steps: embedding, layers, loss, gradient, clipping, Adam; both run in turns.
    The last column is the part of this machine's largest matrix product that the step reaches.
    """
    sizes: dict[str, Any] = {
        "hidden_size": hidden_size,
        "batch_size": batch_size,
        "seq_len": seq_len,
    }
    how: dict[str, Any] = {"precision": precision, "backend": backend}
    for name in cell or [TrainOptions.cell]:  # what cannot be is refused as in training
        TrainOptions(cell=name, num_layers=num_layers, threads=threads, **sizes, **how)

    import torch

    from charrnn.bench import training

    torch.set_num_threads(threads or torch.get_num_threads())
    cases: list[Case] = [
        training.Case(name, num_layers or (1 if name == "jordan" else 2), **sizes, **how)
        for name in cell or ()
    ] or [replace(case, **how) for case in training.CASES]
    _tell(training.train(cases, rounds), HEAD, _line, as_json)


def _tell(
    measured: Iterable[AnyRow], head: str, line: Callable[[AnyRow], str], as_json: bool
) -> None:
    """Print rows as they come, or all of them as JSON."""
    rows = []
    if not as_json:
        typer.echo(head)
    for row in measured:
        rows.append(asdict(row))
        if not as_json:
            typer.echo(line(row))
    if as_json:
        print_json({"rows": rows})


WRITING_HEAD = (
    f"{'cell':<18} {'size':>7} {'B':>3} {'weights':<9} {'threads':>7} "
    f"{'chars/s':>9}  {'beside':<22} {'chars/s':>9} {'ratio':>6} {'of limit':>8}"
)


@app.command("generate")
@guarded
def bench_generate(
    cell: CellsOption = None,
    num_layers: LayersOption = None,
    hidden_size: HiddenOption = 256,
    batch_size: Annotated[int, typer.Option(help="B, texts side by side.")] = 1,
    weights: WeightsOption = "float32",
    threads: ThreadsOption = None,
    rounds: RoundsOption = 7,
    as_json: JsonOption = False,
) -> None:
    """Texts at temperature 0.8 beside a loop of steps of torch.nn, or a plain loop, in float32.

    The last column is, for one text, the weights read in a second by what memory delivers of as
    many bytes to as many threads; for several, operations by those of the largest matrix product.
    """
    for name in cell or [TrainOptions.cell]:
        TrainOptions(cell=name, num_layers=num_layers, hidden_size=hidden_size, threads=threads)
    SampleConfig(num_samples=batch_size)
    check_weights(weights)

    from charrnn.bench import writing

    cases = [
        writing.Case(
            name, num_layers or (1 if name == "jordan" else 2), hidden_size, batch_size, weights
        )
        for name in cell or ()
    ] or writing.CASES
    _tell(writing.generate(cases, rounds, threads), WRITING_HEAD, _writing_line, as_json)


def _writing_line(row: Row) -> str:
    return (
        f"{row.cell:<18} {row.num_layers:>3}x{row.hidden_size:<4}"
        f"{row.batch_size:>3} {row.dtype:<9} {row.threads:>7} "
        f"{row.chars_per_second:>9,.0f}  {row.baseline:<22} "
        f"{row.baseline_chars_per_second:>9,.0f} {row.ratio:>6.2f} {row.share_of_limit:>8.2f}"
    )


def _line(row: Row) -> str:
    """A row as aligned text."""
    return (
        f"{row.cell:<18} {row.num_layers:>3}x{row.hidden_size:<4}"
        f"{row.batch_size:>3} {row.seq_len:>3} {row.dtype:<9} {row.backend:<9} "
        f"{row.chars_per_second:>9,.0f}  {row.baseline:<22} "
        f"{row.baseline_chars_per_second:>9,.0f} {row.ratio:>6.2f} {row.share_of_limit:>7.2f}"
    )


PREPARING_HEAD = (
    f"{'what':<7} {'tokenizer':<13} {'MB':>6} {'chars/s':>11} {'MB/s':>6} {'memory':>7} "
    f"{'a tenth':>7}  {'beside':<20} {'chars/s':>11} {'memory':>7} {'ratio':>6} {'of limit':>8}"
)


@app.command("prepare")
@guarded
def bench_prepare(
    corpus: Annotated[
        list[str] | None,
        typer.Argument(help="Text files, or a named corpus.", show_default="tunes harbour"),
    ] = None,
    size: Annotated[
        int, typer.Option(help="MB of text: the corpus over and over.", min=1, max=10**6)
    ] = 480,
    rounds: RoundsOption = 3,
    as_json: JsonOption = False,
) -> None:
    """Preparing a long text beside wc -m and a plain script; training from it, from 1 MB of it.

    Whole processes, from start to end. Memory is the most MB that a process had for itself (on
    Linux: RssAnon, so without mapped files), a tenth is ours for a tenth of the text. The limit
    is the speed at which the system copies the text.
    """
    from charrnn.bench import preparing

    text = read_corpus(corpus or ["tunes", "harbour"], Reading())
    _tell(preparing.prepare(text, size, rounds), PREPARING_HEAD, _preparing_line, as_json)


def _preparing_line(row: preparing.Row) -> str:
    return (
        f"{row.what:<7} {row.tokenizer:<13} {row.megabytes:>6,.0f} {row.chars_per_second:>11,.0f} "
        f"{_number(row.mb_per_second, 6, 1)} {_number(row.memory, 7, 1)} "
        f"{_number(row.tenth_memory, 7, 1)}  {row.baseline:<20} "
        f"{row.baseline_chars_per_second:>11,.0f} {_number(row.baseline_memory, 7, 1)} "
        f"{row.ratio:>6.2f} {_number(row.share_of_limit, 8, 2)}"
    )


def _number(value: float | None, width: int, digits: int) -> str:
    return f"{'' if value is None else format(value, f',.{digits}f'):>{width}}"
