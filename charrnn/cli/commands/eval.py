"""``charrnn eval``: how well a model predicts a text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.corpus_options import EncodingOption, ErrorsOption, NewlineOption, read_corpus
from charrnn.cli.shared import (
    JsonOption,
    ModelOption,
    ThreadsOption,
    WeightsOption,
    guarded,
    note,
    print_json,
    watched,
)
from charrnn.config import Reading, check_threads, check_weights
from charrnn.errors import CharRNNError, CorpusError, OptionError, PromptError, nearest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from charrnn.arrays import Ids
    from charrnn.model.model_file import Model
    from charrnn.scoring import Score
    from charrnn.text.tokenizer import Tokenizer

    Starts = NDArray[np.uint64]


@guarded
def evaluate(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="The text; - is standard input.", show_default="the model's own validation text"
        ),
    ] = None,
    model: ModelOption = None,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="Read in one stream, not in 32: slower, and exact."),
    ] = False,
    dynamic: Annotated[
        bool,
        typer.Option("--dynamic", help="Let the weights follow the text as it is read."),
    ] = False,
    part: Annotated[
        str,
        typer.Option(help="Without a text: which part of the model's own, train, valid or test."),
    ] = "valid",
    encoding: EncodingOption = Reading.encoding,
    errors: ErrorsOption = Reading.errors,
    newline: NewlineOption = Reading.newline,
    weights: WeightsOption = "float32",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score a text: nats and bits per character, bits per byte.

    The text is read in order with the state carried, in at most 32 streams that each warm up on
    the 512 characters before them. 'windows of 256' start from nothing, nanoGPT's protocol. With
    --weights the loss by rounding is shown, too. With --dynamic the text is one stream, and the
    model learns from each 32 symbols after they were scored: another measure, which does not
    compare with the others; the model file stays as it is.
    """
    from charrnn import scoring
    from charrnn.generator import Generator
    from charrnn.model import model_file
    from charrnn.run_dir import find_model
    from charrnn.text import dataset

    check_weights(weights)
    check_threads(threads)
    if dynamic and weights != "float32":
        raise OptionError(
            "--dynamic changes the weights, which needs them in float32: "
            f"leave out --weights {weights}"
        )
    if part not in dataset.PARTS:
        raise OptionError(f"--part '{part}' is not known: {nearest(part, dataset.PARTS)}")
    path = find_model(model)
    loaded = model_file.load(path)
    generator = Generator(loaded, weights=weights, threads=threads, notify=note)
    note(f"model: {path}")

    def measured(
        ids: Ids, documents: Starts | None = None
    ) -> tuple[Score, float | None, float | None]:
        """The score, what of it is rounding, and the score in windows."""
        if dynamic:
            return _dynamic(loaded, ids, threads), None, None
        score, rounding = generator.score_ids(ids, exact=exact, documents=documents), None
        if weights != "float32":
            whole_weights = Generator(loaded, threads=threads, notify=note)
            exactly = whole_weights.score_ids(ids, exact=exact, documents=documents)
            rounding = score.bpc - exactly.bpc
        return score, rounding, scoring.window_nats(generator.engine, ids, generator.tokenizer)

    if file is None:
        trained = loaded.training.get("train")
        apart = isinstance(trained, dict) and trained.get("reset_at_documents") is True
        if apart and dynamic:
            raise OptionError(
                "--dynamic reads a text as one, and this model was trained on documents apart: "
                "name a text"
            )
        ids, documents = held_out(path, generator.tokenizer, part)
        score, rounding, windows = measured(ids, documents if apart else None)
    else:
        reading = Reading(encoding=encoding, errors=errors, newline=newline)
        text = read_corpus([str(file)], reading)
        try:
            with dataset.encoded(text, generator.tokenizer) as ids:
                score, rounding, windows = measured(ids)
        except PromptError as error:
            raise PromptError(f"{file}: {error.message}") from None
    fields = {
        **score_fields(score),
        "window256_nats": windows,
        "dynamic": dynamic,
        "tokenizer": generator.tokenizer.kind,
        "weights": weights,
        "rounding_bpc": rounding,
    }
    if as_json:
        print_json(fields)
        return
    nats, bpc, bits_per_byte = score_lines(score)
    typer.echo(nats)
    typer.echo(bpc)
    if dynamic:
        typer.echo("learning from the text as it was read")
    if rounding is not None:
        typer.echo(f"{rounding:+.4f} of these by weights in {weights}")
    typer.echo(bits_per_byte)
    if windows is not None:
        typer.echo(f"{windows:.4f} nats per character in windows of 256")


def score_fields(score: Score) -> dict[str, Any]:
    """A score as JSON has it."""
    return {
        "characters": score.characters,
        "bytes": score.num_bytes,
        "nats": score.nats,
        "bpc": score.bpc,
        "bits_per_byte": score.bits_per_byte,
    }


def score_lines(score: Score) -> tuple[str, str, str]:
    """A score as a person reads it."""
    return (
        f"{score.nats:.4f} nats per character ({score.characters:,} characters)",
        f"{score.bpc:.4f} bits per character",
        f"{score.bits_per_byte:.4f} bits per byte ({score.num_bytes:,} bytes)",
    )


def _dynamic(model: Model, ids: Ids, threads: int | None) -> Score:
    """The score of a model that learns from the text while it reads."""
    from charrnn.training import dynamic

    with watched("reading and learning", len(ids)) as progress:
        return dynamic.score(model, ids, threads=threads or 1, progress=progress)


def held_out(model: Path, tokenizer: Tokenizer, part: str) -> tuple[Ids, Starts]:
    """A part of the text of the run that `model` lies in, and where its documents start.

    It is made from the run's files once more.
    """
    from charrnn.run_dir import RunDir

    try:
        data = RunDir(model.parent).dataset()
        if data.tokenizer != tokenizer:
            raise CorpusError("its symbols are not those of the training")
    except CharRNNError as error:
        raise OptionError(f"name a text: that of {model} is not at hand: {error.message}") from None
    ids: Ids = getattr(data, part)
    if not len(ids):
        what = {"valid": "validation", "test": "test"}.get(part, part)
        raise OptionError(f"name a text: {model} was trained without a {what} text")
    return ids, data.documents[part]
