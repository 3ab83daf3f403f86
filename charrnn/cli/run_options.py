"""What ``charrnn train`` does around a training: the run's options, its texts, its displays."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from charrnn.cli.shared import cell_words
from charrnn.cli.texts import dataset_of, texts_of
from charrnn.config import Reading, RunOptions, TextOptions
from charrnn.config.fields import RUN, choice, switch
from charrnn.errors import OptionError, missing_package, shell_command

if TYPE_CHECKING:
    from charrnn.cli.display.tensorboard import TensorBoard
    from charrnn.cli.display.training_progress import Lines
    from charrnn.model.model_file import Model
    from charrnn.text.open import Texts
    from charrnn.training.events import Events, Result


@dataclass(frozen=True)
class CommandOptions(RunOptions):
    """The options of a run, and what the command shows and writes besides."""

    tensorboard: bool = switch("Also write the curves for TensorBoard into the run.", panel=RUN)
    log_to: str | None = choice(
        Literal["tensorboard"], None, "The old spelling of --tensorboard.", hidden=True
    )
    dry_run: bool = switch("Print the plan and stop.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.logs_curves:
            return
        try:
            import tensorboard  # noqa: F401
        except ImportError:
            raise OptionError(
                missing_package("--tensorboard", "tensorboard", "tensorboard")
            ) from None

    @property
    def logs_curves(self) -> bool:
        """Return whether to write curves for TensorBoard."""
        return self.tensorboard or self.log_to is not None

    def texts(self, corpus: list[str], options: TextOptions, given: Iterable[str]) -> Texts:
        """Return what to train on; `given` names the options that the user gave."""
        from charrnn.text.open import Texts

        if self.resume:  # the run knows how its texts were tokenized
            return texts_of(corpus, options, self.valid, self.test, given)
        return Texts(dataset_of(corpus, options, self.valid, self.test, given))

    def model(self, chosen: dict[str, Any]) -> Model | None:
        """Return the model to start from, if any, and add its architecture to the options."""
        if self.init_from is None:
            return None
        from charrnn.run_dir import find_model, read_model
        from charrnn.training import init_from as transfer

        model = read_model(find_model(self.init_from))
        chosen |= transfer.options(model, chosen)
        return model

    @contextlib.contextmanager
    def curves(self) -> Iterator[list[TensorBoard]]:
        """Yield what writes curves for TensorBoard, if the run wants them."""
        if not self.logs_curves:
            yield []
            return
        from charrnn.cli.display.tensorboard import TensorBoard

        with TensorBoard() as tensorboard:
            yield [tensorboard]

    def resume_command(self, corpus: list[str], reading: Reading, run_dir: str, cell: str) -> str:
        """Return the command that resumes the run; the run knows its other options."""
        from charrnn.text.open import command_words

        words = [*command_words(corpus, reading, self.valid, self.test), *cell_words(cell)]
        return shell_command("charrnn", "train", *words, "--out", run_dir, "--resume")


def show_events(
    events: Events, displays: Sequence[Lines | TensorBoard], dry_run: bool
) -> Result | None:
    """Show the events of a training and return its result; None after a dry run."""
    from charrnn.training.events import Done, Planned

    with contextlib.closing(events):
        for event in events:
            for display in displays:
                display.show(event)
            if isinstance(event, Done):
                return event.result
            if isinstance(event, Planned) and dry_run:
                break
    return None
