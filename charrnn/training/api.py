"""`charrnn.train`: a training from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from charrnn.config import TrainOptions
from charrnn.config.fields import with_field_names
from charrnn.run_dir import check_resume, find_model, read_model
from charrnn.text import open as texts
from charrnn.training import init_from as transfer
from charrnn.training.events import Result, result_of
from charrnn.training.resume import resume as resume_run
from charrnn.training.run import Control
from charrnn.training.start import start


def train(
    *names: str | Path,
    valid: str | Path | None = None,
    test: str | Path | None = None,
    out: str | Path | None = None,
    force: bool = False,
    resume: bool = False,
    checkpoint_every: int | None = None,
    init_from: str | Path | None = None,
    **options: Any,
) -> Result:
    """Train on texts and return the result; ``charrnn.load(result.model)`` loads the model.

    Args:
        names: what the command line takes: files, folders, patterns, ``-``, named corpora, or
            one dataset.
        valid: a validation text; by default a part of the text is held out.
        test: a test text.
        out: the run's folder; by default a new one in ``runs``.
        force: replace the run that `out` holds.
        resume: resume the run in `out`; the options are what is to change.
        checkpoint_every: steps between checkpoints; by default they are minutes apart.
        init_from: a model or a run's folder, whose network is trained further.
        options: those of `charrnn.config.TrainOptions`.

    Raises:
        CharRNNError: as the command line prints it.
    """
    options = with_field_names(options)
    if resume:
        check_resume(force=force, init_from=init_from is not None)
    model = read_model(find_model(Path(init_from))) if init_from else None
    chosen = TrainOptions(**(transfer.options(model, options) if model else options))
    read = texts.texts_of(names, chosen, valid, test, options)
    folder = None if out is None else Path(out)
    control = Control(checkpoint_every=checkpoint_every)
    if resume:
        return result_of(resume_run(read, options, out=folder, control=control))
    return result_of(start(read, chosen, out=folder, force=force, model=model, control=control))
