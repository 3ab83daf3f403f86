"""The options of learning while reading."""

from __future__ import annotations

from dataclasses import dataclass

from charrnn.config.fields import Options, switch
from charrnn.errors import OptionError


@dataclass(frozen=True)
class DynamicOptions(Options):
    """Whether a model learns from the text that it reads, and what it remembers before."""

    dynamic: bool = switch(
        "Learn from the text while reading it: train the weights and count what repeats."
    )
    recall: bool = switch(
        "With --dynamic: first count what follows what in the training text, which must still be "
        "there, also to decompress."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.recall and not self.dynamic:
            raise OptionError("--recall is for --dynamic: give both, or leave it out")
