"""``charrnn eval``: how well a model predicts a text."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charrnn.cli.shell import JsonOption, ModelOption, guarded, note, print_json
from charrnn.cli.text import EncodingOption, ErrorsOption, NewlineOption, read_corpus
from charrnn.config import Reading, TextOptions, from_json
from charrnn.errors import ModelError, OptionError, PromptError, nearest

if TYPE_CHECKING:
    from charrnn.tokenizer import Ids, Tokenizer


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
    part: Annotated[
        str,
        typer.Option(help="Without a text: which part of the model's own, train, valid or test."),
    ] = "valid",
    encoding: EncodingOption = Reading.encoding,
    errors: ErrorsOption = Reading.errors,
    newline: NewlineOption = Reading.newline,
    as_json: JsonOption = False,
) -> None:
    """Score a text: nats and bits per character, bits per byte.

    The text is read in order with the state carried, in at most 32 streams that each warm up on
    the 512 characters before them. 'windows of 256' start from nothing, nanoGPT's protocol.
    """
    from charrnn import checkpoint, dataset, scoring
    from charrnn.generator import Generator

    if part not in dataset.PARTS:
        raise OptionError(f"--part '{part}' is not known: {nearest(part, dataset.PARTS)}")
    path = checkpoint.find(model)
    generator = Generator(checkpoint.load(path))
    note(f"model: {path}")
    tokenizer, start = generator.tokenizer, generator.config.start_symbol
    if file is None:
        ids = _held_out(path, tokenizer, part)
        score = scoring.score(generator.engine, ids, tokenizer, start, exact=exact)
        windows = scoring.window_nats(generator.engine, ids, tokenizer)
    else:
        reading = Reading(encoding=encoding, errors=errors, newline=newline)
        text = read_corpus([str(file)], reading)
        try:
            with dataset.encoded(text, tokenizer) as ids:
                score = scoring.score(generator.engine, ids, tokenizer, start, exact=exact)
                windows = scoring.window_nats(generator.engine, ids, tokenizer)
        except PromptError as error:
            raise PromptError(f"{file}: {error}") from None
    fields = {
        "characters": score.characters,
        "bytes": score.num_bytes,
        "nats": score.nats,
        "bpc": score.bpc,
        "bits_per_byte": score.bits_per_byte,
        "window256_nats": windows,
        "dynamic": False,
        "tokenizer": generator.tokenizer.kind,
    }
    if as_json:
        print_json(fields)
        return
    typer.echo(f"{score.nats:.4f} nats per character ({score.characters:,} characters)")
    typer.echo(f"{score.bpc:.4f} bits per character")
    typer.echo(f"{score.bits_per_byte:.4f} bits per byte ({score.num_bytes:,} bytes)")
    if windows is not None:
        typer.echo(f"{windows:.4f} nats per character in windows of 256")


def _held_out(model: Path, tokenizer: Tokenizer, part: str) -> Ids:
    """A part of the text of the run that `model` lies in, made from its files once more."""
    from charrnn import corpus, dataset

    config = model.parent / "config.json"
    try:
        run = json.loads(config.read_text("utf-8"))
        files = {name: run[f"{name}files"] for name in ("", "valid_", "test_")}
        sha256 = run["corpus"]["sha256"]
        options = from_json(TextOptions, run["text"], str(config))
        if any("-" in names for names in files.values()):
            raise OptionError(f"name a text: {model} was trained from standard input")
        if dataset.is_dataset(Path(files[""][0])):
            data = dataset.load(Path(files[""][0]))
        else:
            text, valid, test = (
                corpus.read(names, options) if names else None for names in files.values()
            )
            assert text
            data = dataset.make(text, options, valid, test)
    except FileNotFoundError:
        raise OptionError(f"name a text: {model} has no config.json beside it") from None
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ModelError(f"{config} is damaged: name a text") from error
    if data.sha256 != sha256 or data.tokenizer != tokenizer:
        names = ", ".join(itertools.chain.from_iterable(files.values()))
        raise ModelError(f"{names} changed since the training: name a text")
    ids: Ids = getattr(data, part)
    if not len(ids):
        what = {"valid": "validation", "test": "test"}.get(part, part)
        raise OptionError(f"name a text: {model} was trained without a {what} text")
    return ids
