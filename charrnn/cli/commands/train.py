"""``charrnn train``: from text files to a model."""

from __future__ import annotations

import contextlib
import shlex
import signal
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from charrnn.cli import STARTED
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
    reading_options,
    text_options,
    texts_of,
)
from charrnn.cli.shared import JsonOption, guarded, note, print_json
from charrnn.config import Reading, TrainOptions, from_json, load_options
from charrnn.errors import OptionError, nearest

if TYPE_CHECKING:
    from charrnn.cli.display.training_progress import Lines
    from charrnn.model.model_file import Model
    from charrnn.training.run import Observer

PLANNED = "planned"
BUDGETS = {"minutes", "epochs", "steps"}  # a flag of these wins over all of them in a file
NETWORK, TRAINING, RUN = "The network", "The training", "The run"
FORM, REGULARIZERS = "Deeper and other networks", "Against learning by heart"


def _planned(help_text: str, panel: str) -> Any:
    return typer.Option(help=help_text, show_default=PLANNED, rich_help_panel=panel)


@guarded
def train(
    context: typer.Context,
    corpus: CorpusArgument,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The run's folder.", show_default="a new one in ./runs", rich_help_panel=RUN
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the run in --out.", rich_help_panel=RUN)
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the run in --out, or the newest of this text.",
            rich_help_panel=RUN,
        ),
    ] = False,
    init_from: Annotated[
        Path | None,
        typer.Option(
            help="Train the network of this model, or run's folder, further on another text.",
            show_default="none",
            rich_help_panel=RUN,
        ),
    ] = None,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Steps from one checkpoint to the next.",
            show_default="a minute, more where saving takes long",
            rich_help_panel=RUN,
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        _planned("Minutes for the whole command, from its start to the saved model.", TRAINING),
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option(
            help="Passes over the text, instead of minutes.",
            show_default="none",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Updates, instead of minutes.", show_default="none", rich_help_panel=TRAINING
        ),
    ] = None,
    cell: Annotated[
        str, typer.Option(help="The recurrence; see 'charrnn cells'.", rich_help_panel=NETWORK)
    ] = TrainOptions.cell,
    num_layers: Annotated[int | None, _planned("L, layers.", NETWORK)] = None,
    hidden_size: Annotated[int | None, _planned("H, units in each layer.", NETWORK)] = None,
    embedding_size: Annotated[
        int | None, _planned("E, numbers that stand for a symbol; 0 is one-hot.", NETWORK)
    ] = None,
    skip_connections: Annotated[
        bool,
        typer.Option(
            "--skip-connections",
            help="Input to every layer, every layer to the output; planned with the layers.",
            rich_help_panel=FORM,
        ),
    ] = False,
    input_depth: Annotated[
        int,
        typer.Option(help="Matrices from a layer's input to its blocks.", rich_help_panel=FORM),
    ] = 1,
    recurrent_depth: Annotated[
        int, typer.Option(help="Matrices from the state to the blocks.", rich_help_panel=FORM)
    ] = 1,
    output_depth: Annotated[
        int,
        typer.Option(help="Matrices from the last layer to the logits.", rich_help_panel=FORM),
    ] = 1,
    learned_start: Annotated[
        bool,
        typer.Option(
            "--learned-start", help="Learn the state before a text.", rich_help_panel=FORM
        ),
    ] = False,
    layer_norm: Annotated[
        bool,
        typer.Option(
            "--layer-norm",
            help="Normalise what comes from input and state, block by block.",
            rich_help_panel=FORM,
        ),
    ] = False,
    init: Annotated[
        str,
        typer.Option(
            help="First weights: auto (as the cell wants), orthogonal, glorot or he.",
            rich_help_panel=FORM,
        ),
    ] = TrainOptions.init,
    forget_bias: Annotated[
        float | None,
        typer.Option(
            help="Where the forget gate's bias starts.", show_default="1", rich_help_panel=FORM
        ),
    ] = None,
    seq_len: Annotated[
        str | None,
        _planned("T, the BPTT window: how many steps a gradient goes back, or full.", TRAINING),
    ] = None,
    update_every: Annotated[
        int | None,
        typer.Option(
            help="Steps from one update to the next, each of which reads a whole window.",
            show_default="the window",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    state: Annotated[
        str,
        typer.Option(help="carry it from window to window, or reset it.", rich_help_panel=TRAINING),
    ] = TrainOptions.state,
    reset_at_documents: Annotated[
        bool,
        typer.Option(
            "--reset-at-documents",
            help="Begin each document from nothing: files, or see --document-separator.",
            rich_help_panel=TRAINING,
        ),
    ] = False,
    batch_size: Annotated[
        int | None, _planned("B, streams read at the same time.", TRAINING)
    ] = None,
    optimizer: Annotated[
        str, typer.Option(help="What makes updates of gradients: adamw.", rich_help_panel=TRAINING)
    ] = TrainOptions.optimizer,
    learning_rate: Annotated[
        float | None, _planned("The rate's peak, after the warm-up.", TRAINING)
    ] = None,
    weight_decay: Annotated[
        float, typer.Option(help="Pull of matrices towards zero.", rich_help_panel=REGULARIZERS)
    ] = TrainOptions.weight_decay,
    dropout: Annotated[
        float | None, _planned("Share of each layer's outputs dropped.", REGULARIZERS)
    ] = None,
    locked_dropout: Annotated[
        bool,
        typer.Option(
            "--locked-dropout",
            help="Drop the same units for a whole window.",
            rich_help_panel=REGULARIZERS,
        ),
    ] = False,
    weight_drop: Annotated[
        float,
        typer.Option(
            help="Share of the recurrent weights dropped, the same for a window.",
            rich_help_panel=REGULARIZERS,
        ),
    ] = 0.0,
    zoneout: Annotated[
        float,
        typer.Option(
            help="Share of the units of h that keep their old value.", rich_help_panel=REGULARIZERS
        ),
    ] = 0.0,
    zoneout_cell: Annotated[
        float, typer.Option(help="The same for c.", rich_help_panel=REGULARIZERS)
    ] = 0.0,
    activation_penalty: Annotated[
        float,
        typer.Option(help="AR: weight of the outputs' squares.", rich_help_panel=REGULARIZERS),
    ] = 0.0,
    slowness_penalty: Annotated[
        float,
        typer.Option(
            help="TAR: weight of the squares of their changes.", rich_help_panel=REGULARIZERS
        ),
    ] = 0.0,
    omega: Annotated[
        float,
        typer.Option(
            help="Weight of Pascanu's regulariser of gradients along time (slow).",
            rich_help_panel=REGULARIZERS,
        ),
    ] = 0.0,
    clip_norm: Annotated[
        float,
        typer.Option(
            help="The gradient's largest norm; inf is no clipping.", rich_help_panel=TRAINING
        ),
    ] = TrainOptions.clip_norm,
    seed: Annotated[
        int, typer.Option(help="Randomness of first weights and dropout.", rich_help_panel=TRAINING)
    ] = TrainOptions.seed,
    tokenizer: TokenizerOption = TrainOptions.tokenizer,
    min_count: MinCountOption = TrainOptions.min_count,
    vocab_size: VocabSizeOption = None,
    pieces: PiecesOption = None,
    split: SplitOption = TrainOptions.split,
    valid_fraction: ValidFractionOption = TrainOptions.valid_fraction,
    test_fraction: TestFractionOption = TrainOptions.test_fraction,
    valid: ValidOption = None,
    test: TestOption = None,
    encoding: EncodingOption = TrainOptions.encoding,
    errors: ErrorsOption = TrainOptions.errors,
    newline: NewlineOption = TrainOptions.newline,
    include: IncludeOption = None,
    exclude: ExcludeOption = None,
    document_separator: SeparatorOption = "",
    max_unpacked: UnpackedOption = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=RUN)
    ] = TrainOptions.device,
    precision: Annotated[
        str,
        typer.Option(
            help="auto, float32, or bfloat16 for the matrix products alone.", rich_help_panel=RUN
        ),
    ] = TrainOptions.precision,
    backend: Annotated[
        str,
        typer.Option(
            help="auto, library (torch's kernels), scaffold (ours) or reference (a plain loop).",
            rich_help_panel=RUN,
        ),
    ] = TrainOptions.backend,
    threads: Annotated[
        int | None,
        typer.Option(help="CPU threads.", show_default="all cores", rich_help_panel=RUN),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="A TOML file of these options; flags win over it.",
            show_default="none",
            rich_help_panel=RUN,
        ),
    ] = None,
    log_to: Annotated[
        str | None,
        typer.Option(
            help="Write the curves for tensorboard, too, into the run's folder.",
            show_default="none",
            rich_help_panel=RUN,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Stop at the plan.", rich_help_panel=RUN)
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a network on a text; without options it plans by itself.

    The folder of a run holds the best model so far from the first validation on: 'charrnn sample'
    can use it while the training goes on. Ctrl-C ends a training early and keeps its best model;
    '--resume' goes on from there, or from the last checkpoint of a training that was killed.
    """
    _check_log(log_to)
    given = {
        name: value
        for name, value in (context.params | text_options(context.params)).items()
        if name in TrainOptions.__dataclass_fields__ and _was_given(context, name)
    }
    from_file = load_options(config) if config else {}
    if given.keys() & BUDGETS:
        from_file = {name: value for name, value in from_file.items() if name not in BUDGETS}
    chosen = {**from_file, **given}
    model = _model(init_from, chosen) if init_from else None
    options = from_json(TrainOptions, chosen, "options")
    texts = (  # of a run that goes on, it says how they are made into symbols
        texts_of(corpus, options, valid, test, given)
        if resume
        else (dataset_of(corpus, options, valid, test, given), None, None)
    )

    from charrnn.cli.display.training_progress import observer_for
    from charrnn.training.run import train as train_network

    with (
        _Signals() as signals,
        observer_for(signals.word) as observer,
        _logged(observer, log_to) as told,
    ):
        result = train_network(
            texts[0],
            options,
            valid=texts[1],
            test=texts[2],
            out=out,
            force=force,
            started=STARTED,
            observer=told,
            dry_run=dry_run,
            resume_with=chosen if resume else None,
            checkpoint_every=checkpoint_every,
            init_from=model,
        )
    if result is None:
        if as_json:
            print_json({"run_dir": str(observer.run_dir), **asdict(observer.plan)})
        return
    observer.conclude(result)
    if result.stopped_by == "interrupt":
        note(f"resume   {_resume_command(corpus, valid, test, options, result.run_dir)}")
    if as_json:
        print_json(asdict(result))
    if signals.code:
        raise typer.Exit(signals.code)


def _check_log(log_to: str | None) -> None:
    """Refuse logs that cannot be written, before a text is read."""
    if log_to is None:
        return
    if log_to != "tensorboard":
        raise OptionError(f"--log-to '{log_to}' is not known: {nearest(log_to, ['tensorboard'])}")
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        raise OptionError(
            "--log-to tensorboard needs tensorboard: pip install 'charrnn[tensorboard]'"
        ) from None


def _logged(observer: Lines, log_to: str | None) -> contextlib.AbstractContextManager[Observer]:
    """What the training reports to: the observer, or what also writes logs."""
    if log_to is None:
        return contextlib.nullcontext(observer)
    from charrnn.cli.display.tensorboard import Logged

    return Logged(observer)


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _model(path: Path, chosen: dict[str, Any]) -> Model:
    """The model to begin with; the options get what its network has."""
    from charrnn.model import model_file
    from charrnn.run_dir import find_model
    from charrnn.training import init_from as transfer

    model = model_file.load(find_model(path))
    chosen |= transfer.options(model, chosen)
    return model


def _resume_command(
    corpus: list[str], valid: Path | None, test: Path | None, reading: Reading, run_dir: str
) -> str:
    """What goes on with a training; its other options are in the run."""
    words = ["charrnn", "train", *corpus]
    words += ["--valid", str(valid)] if valid else []
    words += ["--test", str(test)] if test else []
    return shlex.join([*words, *reading_options(reading), "--out", run_dir, "--resume"])


class _Signals:
    """Ctrl-C, SIGTERM or SIGHUP end a training after its step; a second one ends it at once.

    So does the first one before the training asked for a word: there is nothing yet to be kept.
    """

    CODES: ClassVar = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 143}

    def __init__(self) -> None:
        self.code = 0
        self._asked = False
        self._before: dict[int, Any] = {}

    def word(self) -> str | None:
        """Why the training should stop, if it should."""
        self._asked = True
        return "interrupt" if self.code else None

    def __enter__(self) -> _Signals:
        for name in self.CODES:
            number = getattr(signal, name, None)  # Windows knows no SIGHUP
            if number and signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                self._before[number] = signal.signal(number, self._handle)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        code = self.CODES[signal.Signals(number).name]
        if self.code or not self._asked:
            raise SystemExit(code)
        self.code = code

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
