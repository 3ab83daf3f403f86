"""``charrnn eval``: how well a model predicts a text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from charrnn.cli.shell import (
    JsonOption,
    ModelOption,
    ThreadsOption,
    WeightsOption,
    guarded,
    note,
    print_json,
)
from charrnn.config import check_threads, check_weights
from charrnn.errors import ModelError, OptionError, PromptError


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
    newline: Annotated[
        str, typer.Option(help="keep line ends, or make CR LF into LF: keep or lf.")
    ] = "keep",
    weights: WeightsOption = "float32",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score a text: nats and bits per character, bits per byte.

    The text is read in order with the state carried, in at most 32 streams that each warm up on
    the 512 characters before them. 'windows of 256' start from nothing, nanoGPT's protocol. With
    --weights the loss by rounding is shown, too.
    """
    from charrnn import checkpoint, corpus, scoring
    from charrnn.generator import Generator

    check_weights(weights)
    check_threads(threads)
    path = checkpoint.find(model)
    loaded = checkpoint.load(path)
    generator = Generator(loaded, weights=weights, threads=threads, notify=note)
    note(f"model: {path}")
    if file is None:
        text = held_out(path)
    else:
        whole = corpus.read([file], newline)
        for notice in whole.notices:
            note(notice)
        text = whole.text
    try:
        score = generator.score(text, exact=exact)
        rounding = None
        if weights != "float32":
            whole_weights = Generator(loaded, threads=threads, notify=note)
            rounding = score.bpc - whole_weights.score(text, exact=exact).bpc
    except PromptError as error:
        raise PromptError(f"{file}: {error}") from None
    windows = scoring.window_nats(generator.engine, generator.tokenizer.encode(text))
    fields = {
        "characters": score.characters,
        "bytes": score.num_bytes,
        "nats": score.nats,
        "bpc": score.bpc,
        "bits_per_byte": score.bits_per_byte,
        "window256_nats": windows,
        "dynamic": False,
        "tokenizer": generator.tokenizer.kind,
        "weights": weights,
        "rounding_bpc": rounding,
    }
    if as_json:
        print_json(fields)
        return
    typer.echo(f"{score.nats:.4f} nats per character ({score.characters:,} characters)")
    typer.echo(f"{score.bpc:.4f} bits per character")
    if rounding is not None:
        typer.echo(f"{rounding:+.4f} of these by weights in {weights}")
    typer.echo(f"{score.bits_per_byte:.4f} bits per byte ({score.num_bytes:,} bytes)")
    if windows is not None:
        typer.echo(f"{windows:.4f} nats per character in windows of 256")


def held_out(model: Path) -> str:
    """The validation text of the run that `model` lies in, read from its files once more."""
    from charrnn import corpus

    config = model.parent / "config.json"
    try:
        run = json.loads(config.read_text("utf-8"))
        valid, trained = run["valid_files"], run["corpus"]
        if "-" in (valid or run["files"]):
            raise OptionError(f"name a text: {model} was trained from standard input")
        text = corpus.read(valid or run["files"], run["newline"])
    except FileNotFoundError:
        raise OptionError(f"name a text: {model} has no config.json beside it") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{config} is damaged: name a text") from error
    if text.sha256 != trained["sha256"]["valid" if valid else "corpus"]:
        raise ModelError(f"{', '.join(text.files)} changed since the training: name a text")
    if valid:
        return text.text
    held_out = text.text[len(text.text) - trained["valid_characters"] :]
    if not trained["valid_characters"]:
        raise OptionError(f"name a text: {model} was trained without a validation text")
    return held_out
