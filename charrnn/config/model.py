"""The architecture of a network: all that is needed to rebuild it, stored in the model file."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from charrnn.config.fields import (
    NETWORK,
    REGULARIZATION,
    Options,
    choice,
    integer,
    number,
    switch,
)
from charrnn.errors import OptionError

CellName = Literal[
    "elman",
    "irnn",
    "preactivation",
    "jordan",
    "lstm",
    "lstm-sigmoid",
    "lstm-peephole",
    "lstm-peephole-gers",
    "lstm-coupled",
    "gru",
    "gru-reset-after",
]
MAX_SIZE = 2**16
MAX_SYMBOLS = 0x110000


@dataclass(frozen=True)
class Form(Options):
    """Variants of a network, all off by default."""

    skip_connections: bool = switch(
        "Connect the input to every layer and every layer to the output; the plan may turn it on.",
        panel=NETWORK,
    )
    input_depth: int = integer(
        1,
        16,
        1,
        "Number of matrices from a layer's input to its units, with tanh between them.",
        panel=NETWORK,
    )
    recurrent_depth: int = integer(
        1, 16, 1, "Number of matrices from the state to the units.", panel=NETWORK
    )
    output_depth: int = integer(
        1,
        16,
        1,
        "Number of matrices from the last layer to the logits.",
        panel=NETWORK,
    )
    learned_start: bool = switch(
        "Learn the initial state instead of starting from zero; in training, streams then begin "
        "anew where a window begins at the start of a line (or of a document, where those are "
        "kept apart).",
        panel=NETWORK,
    )
    layer_norm: bool = switch(
        "Layer normalization of the input and recurrent parts of each gate or candidate.",
        panel=NETWORK,
    )
    zoneout: float = number(
        0.0, 0.95, 0.0, "Probability that a unit of h keeps its old value.", panel=REGULARIZATION
    )
    zoneout_cell: float = number(
        0.0, 0.95, 0.0, "Probability that a unit of c keeps its old value.", panel=REGULARIZATION
    )

    def zone_rates(self, parts: int) -> tuple[float, ...]:
        """Return the zoneout rate of each part of a state, the output first; () without zoneout."""
        if not (self.zoneout or self.zoneout_cell):
            return ()
        return (self.zoneout, *[self.zoneout_cell] * (parts - 1))


FORM = tuple(field.name for field in dataclasses.fields(Form))


@dataclass(frozen=True)
class _Sizes(Options):
    """The sizes of an architecture; a separate class so that the fields of `Form` come later."""

    vocab_size: int = integer(
        1, MAX_SYMBOLS, dataclasses.MISSING, "V, the number of tokens.", panel=NETWORK
    )
    cell: str = choice(CellName, "lstm", "Recurrent cell; 'charrnn cells' lists all of them.")
    num_layers: int = integer(1, 64, 1, "L, number of layers.")
    hidden_size: int = integer(1, MAX_SIZE, 256, "H, units in each layer.")
    embedding_size: int = integer(
        0, MAX_SIZE, 64, "E, size of the token embedding; 0 means one-hot.", panel=NETWORK
    )


@dataclass(frozen=True)
class ModelConfig(Form, _Sizes):
    """The architecture: V tokens -> embedding (or one-hot) -> L layers of H units -> V logits."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cell == "jordan" and self.num_layers > 1:
            raise OptionError(
                "--cell jordan feeds the network's output back and has no state below it: "
                "use --num-layers 1, and --input-depth for more matrices"
            )

    @property
    def start_token(self) -> int:
        """Return the id that is read before a text's first token; it is never an output."""
        return self.vocab_size
