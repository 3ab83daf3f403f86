"""Options of a run: where it is stored, how it starts, and its validation and test texts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from charrnn.config.fields import RUN, TEXT, Options, check_force, integer, path, switch
from charrnn.errors import OptionError


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
        "Resume the run in --out, or the newest run that was trained on this text; with --seeds, "
        "every run that is not finished."
    )
    init_from: Path | None = path(
        "Start from the network of this model or run, to train it on another text; english is one "
        "that charrnn comes with.",
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
        "Steps between two samples, which are added to the run's samples.txt.",
        panel=RUN,
        shown="no samples",
    )
    seeds: int | None = integer(
        1,
        1000,
        None,
        "Train this many runs, with seeds counted from --seed; report mean and spread.",
        panel=RUN,
        shown="one run",
    )
    config: Path | None = path(
        "A TOML file with these options, or a run to repeat; flags override it.", shown="none"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_force(self.force and not self.resume, out=self.out)
        if self.resume and self.force:
            raise OptionError("--force replaces a run, --resume continues it: give one of them")
        if self.resume and self.init_from is not None:
            raise OptionError("--init-from starts a run, --resume continues one: give one of them")
