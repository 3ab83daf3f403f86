"""Read texts as the library does, with progress and notices on stderr."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli import completion
from charrnn.cli.display.progress import ProgressBar
from charrnn.cli.options import Only
from charrnn.cli.shared import announce_waiting
from charrnn.config import ModelReading, Reading, TextOptions
from charrnn.config.fields import TEXT
from charrnn.errors import OptionError

if TYPE_CHECKING:
    from charrnn.run_dir.recipe import Recipe
    from charrnn.text.corpus import Corpus
    from charrnn.text.dataset import Dataset
    from charrnn.text.open import Texts

_CORPUS: Any = typer.Argument(
    help="Text files (also docx, odt, epub, html, rtf, ipynb; gz, bz2, xz, zst), folders, "
    "patterns, - for stdin, or a named corpus.",
    autocompletion=completion.corpora,
    show_default=False,
)
CorpusArgument = Annotated[list[str], _CORPUS]
OptionalCorpus = Annotated[list[str] | None, _CORPUS]

# What a model knows about its own text, and what the help says about it.
_OWN = dict.fromkeys(("encoding", "errors", "newline", "document_separator"), "the model's")
# The options of a command that reads texts for a model: all that its messages advise.
OWN_READING = Only(*_OWN, "include", "exclude", "max_unpacked", panel=TEXT, shown=_OWN)


def read_corpus(names: Sequence[str], reading: Reading) -> Corpus:
    """Read texts as `open.read_corpus`, with progress and notices on stderr, but no oddities."""
    from charrnn.text import open as opening

    announce_waiting(names)
    with ProgressBar() as bar:
        return opening.read_corpus(names, reading, notify=bar.notify, progress=bar, oddities=False)


def read_for(model: ModelReading, names: Sequence[str], given: Mapping[str, Any]) -> Corpus:
    """Read a text for a model as `open.read_for`, with progress and notices on stderr."""
    from charrnn.text import open as opening

    announce_waiting(names)
    with ProgressBar() as bar:
        return opening.read_for(model, names, given, notify=bar.notify, progress=bar)


def texts_of(
    names: Sequence[str],
    options: TextOptions,
    valid: Path | None,
    test: Path | None,
    given: Iterable[str] = (),
) -> Texts:
    """Read texts as `open.texts_of`, with progress and notices on stderr."""
    from charrnn.text import open as opening

    announce_waiting([*names, str(valid), str(test)])
    with ProgressBar() as bar:
        return opening.texts_of(names, options, valid, test, given, notify=bar.notify, progress=bar)


def dataset_of(
    names: Sequence[str],
    options: TextOptions,
    valid: Path | None,
    test: Path | None,
    given: Iterable[str] = (),
    folder: Path | None = None,
    *,
    force: bool = False,
) -> Dataset:
    """Make or load a dataset as `open.dataset_of`, with progress and notices on stderr."""
    from charrnn.text import open as opening

    announce_waiting([*names, str(valid), str(test)])
    with ProgressBar() as bar:
        make = partial(opening.dataset_of, notify=bar.notify, progress=bar)
        return make(names, options, valid, test, given, folder, force=force)


def texts_for(recipe: Recipe, options: TextOptions, given: Iterable[str]) -> Texts:
    """Return what to train on; `given` names the options that the user gave."""
    from charrnn.text.open import Texts

    run, names = recipe.run, [str(name) for name in recipe.names]
    if not names:
        raise OptionError(
            "name a text to train on: 'charrnn train FILE'; or a run to repeat: --config RUN"
        )
    if recipe.source:
        with ProgressBar() as bar:
            return Texts(recipe.dataset(options, bar))
    if run.resume:  # the run knows how its texts were tokenized
        return texts_of(names, options, run.valid, run.test, given)
    return Texts(dataset_of(names, options, run.valid, run.test, given))
