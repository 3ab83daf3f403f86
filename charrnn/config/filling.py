"""Options of filling the gaps of a text."""

from __future__ import annotations

from dataclasses import dataclass

from charrnn.config.decoding import BeamConfig, SampleConfig, UnknownOption
from charrnn.config.fields import given_flags, integer, same, string
from charrnn.config.limits import Limits
from charrnn.errors import OptionError


def _check_gap(name: str, value: str) -> str:
    if not value:
        raise OptionError("--gap '' is empty and would be everywhere: give a mark such as ___")
    return value


@dataclass(frozen=True)
class FillConfig(Limits, UnknownOption):
    """How the gaps of a text are filled: by beam search, or at random with a temperature."""

    gap: str = string("___", "What marks a gap in the text.", _check_gap)
    length: int | None = integer(
        1, 1000, None, "Characters to write into each gap.", short="-n", shown="as many as fit"
    )
    width: int = same(BeamConfig, "width", BeamConfig.width)
    length_penalty: float = same(
        BeamConfig,
        "length_penalty",
        0.0,
        help="Rank fillings by log p / length^A: 0 takes the most probable, 1 favors long ones.",
    )
    temperature: float | None = same(
        SampleConfig,
        "temperature",
        None,
        help="Sample instead of searching: below 1 safer, above 1 wilder, 0 is greedy.",
        shown="none: beam search",
    )
    top_k: int = same(SampleConfig, "top_k", SampleConfig.top_k)
    top_p: float = same(SampleConfig, "top_p", SampleConfig.top_p)
    min_p: float = same(SampleConfig, "min_p", SampleConfig.min_p)
    num_samples: int = same(SampleConfig, "num_samples", 1, help="Number of filled texts.")
    seed: int | None = same(SampleConfig, "seed", None)
    regex: str | None = same(
        Limits,
        "regex",
        None,
        help="What fills a gap must match this regular expression (Python syntax).",
    )
    max_lines: int | None = same(
        Limits, "max_lines", None, help="End what fills a gap after this many lines."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        random = given_flags(self, "top_k", "top_p", "min_p", "num_samples", "seed")
        if random and not self.temperature:
            raise OptionError(
                f"{random} has no effect where nothing is random: give a --temperature above 0"
            )
        search = given_flags(self, "width", "length_penalty")
        if search and self.temperature is not None:
            raise OptionError(f"{search} is for beam search: leave it out, or --temperature")
        if self.regex is not None and self.length is not None:
            raise OptionError(
                "--regex and --length both say how long a filling is: leave --length out, and "
                f"write the length into the pattern, such as [a-z]{{{self.length}}}"
            )
