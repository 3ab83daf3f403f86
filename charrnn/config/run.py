"""Where a run is stored, how it starts, and the texts besides the one to train on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.config.fields import RUN, TEXT, Options, integer, path, switch
from charrnn.config.training import load_options
from charrnn.errors import OptionError

BUDGETS = {"minutes", "epochs", "steps"}  # a given one replaces all of a file


@dataclass(frozen=True)
class HeldOutOptions(Options):
    """Texts besides the one to train on."""

    valid: Path | None = path("A separate validation text.", shown="none")
    test: Path | None = path("A separate test text.", panel=TEXT, shown="none")


@dataclass(frozen=True)
class RunOptions(HeldOutOptions):
    """Where a run is stored and how it starts."""

    out: Path | None = path("The run's folder.", shown="a new one in ./runs")
    force: bool = switch("Replace the run in --out.")
    resume: bool = switch(
        "Resume the run in --out, or the newest run that was trained on this text."
    )
    init_from: Path | None = path(
        "Start from the network of this model or run, to train it on another text.",
        shown="none",
    )
    checkpoint_every: int | None = integer(
        1,
        2**62,
        None,
        "Steps between two checkpoints.",
        panel=RUN,
        shown="a minute, or more if saving is slow",
    )
    sample_every: int | None = integer(
        1,
        2**62,
        None,
        "Steps between two samples, which the run's samples.txt keeps.",
        panel=RUN,
        shown="no samples",
    )
    config: Path | None = path("A TOML file with these options; flags override it.", shown="none")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resume and self.force:
            raise OptionError("--force replaces a run, --resume continues it: give one of them")
        if self.resume and self.init_from is not None:
            raise OptionError("--init-from starts a run, --resume continues one: give one of them")

    def chosen(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the training options of the TOML file, overridden by the given ones."""
        from_file = load_options(self.config) if self.config else {}
        if given.keys() & BUDGETS:
            from_file = {name: from_file[name] for name in from_file.keys() - BUDGETS}
        return {**from_file, **given}
