"""``charrnn bench``: how fast training, generation and preparation are on this machine.

This file is longer than other commands because its three commands share their options.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, get_args

import typer

from charrnn.cli.display import bench_tables as tables
from charrnn.cli.options import Only, configured, named_cell
from charrnn.cli.shared import JsonOption, guarded, note
from charrnn.cli.texts import read_corpus
from charrnn.config import CellName, EngineOptions, Reading, SampleConfig, TrainOptions
from charrnn.storage import machine

CellsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--cell",
        help="A cell, or the file of your own; may be repeated.",
        show_default="a table of all",
        autocompletion=lambda: get_args(CellName),
    ),
]
RoundsOption = Annotated[int, typer.Option(help="Rounds; the median is reported.", min=1)]
LayersOption = Annotated[
    int | None, typer.Option(help="L, number of layers.", show_default="2, or 1 for jordan")
]
HiddenOption = Annotated[int, typer.Option(help="H, units in each layer.")]


@guarded
@configured
def bench_train(
    kernel: Annotated[TrainOptions, Only("precision", "backend", "threads", panel="")],
    cells: CellsOption = None,
    num_layers: LayersOption = None,
    hidden_size: HiddenOption = 256,
    batch_size: Annotated[int, typer.Option(help="B, number of streams.")] = 64,
    seq_len: Annotated[int, typer.Option(help="T, the BPTT window.")] = 64,
    rounds: RoundsOption = 7,
    as_json: JsonOption = False,
) -> None:
    """Compare the speed of training with torch.nn, or a plain loop, in float32.

    A step covers embedding, layers, loss, gradient, clipping and Adam; both sides take turns. The
    last column is the speed as a share of this machine's largest matrix product.
    """
    sizes: dict[str, Any] = {
        "hidden_size": hidden_size,
        "batch_size": batch_size,
        "seq_len": seq_len,
    }
    cells = [named_cell(name) for name in cells or ()]
    for name in cells or [TrainOptions.cell]:  # refuses what training would refuse
        replace(kernel, cell=name, num_layers=num_layers, **sizes)

    import torch

    from charrnn.bench import training

    threads = machine.usable_threads(kernel.threads, note)
    torch.set_num_threads(threads or torch.get_num_threads())
    how: dict[str, Any] = {"precision": kernel.precision, "backend": kernel.backend}
    cases = [
        replace(training.Case(name, _layers(name, num_layers), **sizes), **how) for name in cells
    ] or [replace(case, **how) for case in training.CASES]
    rows = training.train(cases, rounds)
    tables.print_rows(rows, tables.TRAINING_HEAD, tables.training_line, as_json)


@guarded
@configured
def bench_generate(
    engine: Annotated[EngineOptions, Only("weights", "threads")],
    cells: CellsOption = None,
    num_layers: LayersOption = None,
    hidden_size: HiddenOption = 256,
    batch_size: Annotated[int, typer.Option(help="B, number of texts in one batch.")] = 1,
    rounds: RoundsOption = 7,
    as_json: JsonOption = False,
) -> None:
    """Compare the speed of generation with torch.nn, or a plain loop, in float32.

    The last column is, for one text, the weights read per second as a share of the memory bandwidth
    for as many bytes and threads; for several texts, the share of the largest matrix product.
    """
    cells = [named_cell(name) for name in cells or ()]
    for name in cells or [TrainOptions.cell]:
        TrainOptions(cell=name, num_layers=num_layers, hidden_size=hidden_size)
    SampleConfig(num_samples=batch_size)

    from charrnn.bench import generation

    cases = [
        generation.Case(name, _layers(name, num_layers), hidden_size, batch_size, engine.weights)
        for name in cells
    ] or generation.CASES
    rows = generation.generate(cases, rounds, machine.usable_threads(engine.threads, note))
    tables.print_rows(rows, tables.GENERATION_HEAD, tables.generation_line, as_json)


@guarded
def bench_prepare(
    corpus: Annotated[
        list[str] | None,
        typer.Argument(help="Text files, or a named corpus.", show_default="tunes harbour"),
    ] = None,
    size: Annotated[
        int, typer.Option(help="MB of text; the corpus is repeated.", min=1, max=10**6)
    ] = 480,
    rounds: RoundsOption = 3,
    as_json: JsonOption = False,
) -> None:
    """Compare the speed of preparing a text with wc -m and a plain script; train on it.

    Each command is timed as a whole process, from start to end. Memory is the peak of a process in
    MB (on Linux RssAnon, without mapped files); 'a tenth' is our peak for a tenth of the text. The
    limit is the speed at which the system copies the text.
    """
    from charrnn.bench import preparation

    text = read_corpus(corpus or ["tunes", "harbour"], Reading())
    rows = preparation.prepare(text, size, rounds)
    tables.print_rows(rows, tables.PREPARATION_HEAD, tables.preparation_line, as_json)


def _layers(cell: str, num_layers: int | None) -> int:
    from charrnn.cells import find

    return num_layers or (1 if find(cell).feeds_back else 2)
