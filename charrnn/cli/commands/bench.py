"""``charrnn bench``: how fast training, generation and preparation are on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from charrnn.cli.display import bench_tables as tables
from charrnn.cli.options import Only, configured
from charrnn.cli.shared import JsonOption, guarded, note
from charrnn.cli.texts import read_corpus
from charrnn.config import EngineOptions, Reading, TrainOptions
from charrnn.config.bench import GenerationBench, PreparationBench, TrainingBench

_CORPUS = typer.Argument(help="Text files, or a named corpus.", show_default="tunes harbour")


@guarded
@configured
def bench_train(
    kernel: Annotated[TrainOptions, Only("precision", "backend", "threads", panel="")],
    options: TrainingBench,
    as_json: JsonOption = False,
) -> None:
    """Compare the speed of training with torch.nn, or a plain loop, in float32.

    A step covers embedding, layers, loss, gradient, clipping and Adam; both sides take turns. A
    network of pairs is compared with one of the same sizes on a text. The last column is the speed
    as a share of this machine's largest matrix product.
    """
    from charrnn.bench import training

    rows = training.measure_training(options, kernel, note)
    tables.print_rows(rows, tables.TRAINING_HEAD, tables.training_line, as_json)


@guarded
@configured
def bench_generate(
    engine: Annotated[EngineOptions, Only("weights", "threads")],
    options: GenerationBench,
    as_json: JsonOption = False,
) -> None:
    """Compare the speed of generation with torch.nn, or a plain loop, in float32.

    The last column is, for one text, the weights read per second as a share of the memory bandwidth
    for as many bytes and threads; for several texts, the share of the largest matrix product.
    """
    from charrnn.bench import generation

    rows = generation.measure_generation(options, engine, note)
    tables.print_rows(rows, tables.GENERATION_HEAD, tables.generation_line, as_json)


@guarded
@configured
def bench_prepare(
    corpus: Annotated[list[str] | None, _CORPUS] = None,
    *,
    options: PreparationBench,
    as_json: JsonOption = False,
) -> None:
    """Compare the speed of preparing a text with wc -m and a plain script, then train on it.

    Each command is timed as a whole process, from start to end. Memory is the peak of a process in
    MB (on Linux RssAnon, without mapped files); 'a tenth' is our peak for a tenth of the text. The
    limit is the speed at which the system copies the text.
    """
    from charrnn.bench import preparation

    text = read_corpus(corpus or ["tunes", "harbour"], Reading())
    rows = preparation.prepare(text, options.size, options.rounds)
    tables.print_rows(rows, tables.PREPARATION_HEAD, tables.preparation_line, as_json)
