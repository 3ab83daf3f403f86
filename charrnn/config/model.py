"""The architecture of a network: all that is needed to rebuild it, stored in the model file."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

from charrnn.config.fields import (
    NETWORK,
    REGULARIZATION,
    Options,
    choice,
    flag,
    integer,
    number,
    string,
    switch,
)
from charrnn.errors import OptionError, nearest

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
    "lstm-multiplicative",
    "gru",
    "gru-reset-after",
]
EncoderName = Literal["bidirectional", "forward"]
ContextName = Literal["attention", "fixed"]
_OWN_CELL = re.compile(r"[A-Za-z][\w-]{0,63}@[0-9a-f]{64}", re.ASCII)
MAX_SIZE = 2**16
MAX_SYMBOLS = 0x110000


def check_cell(name: str, value: Any) -> Any:
    """Refuse what is neither a cell of charrnn nor, as NAME@SHA256, one of the user's own.

    A config never holds a file: that one is run only where the user names it, and what it defines
    is known by the hash of its text from then on.
    """
    if is_own_cell(value):
        return value
    if isinstance(value, str) and value.endswith(".py"):
        raise OptionError(
            f"a file's code is run only if the command names the file: add {flag(name)} {value}"
        )
    if value not in (known := get_args(CellName)):
        raise OptionError(
            f"{flag(name)} '{value}' is not known: {nearest(str(value), known)} (for a cell of "
            "your own, give its file, such as ./my_cell.py)"
        )
    return value


def is_own_cell(value: Any) -> bool:
    """Return whether a config means a cell of the user's own."""
    return isinstance(value, str) and bool(_OWN_CELL.fullmatch(value))


def cell_name(cell: str) -> str:
    """Return a cell's name as people read it, without the hash of a user's own."""
    return cell.partition("@")[0]


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
    tied_output: bool = switch(
        "Make the output's last matrix from the embedding and a small matrix, for many tokens; "
        "the plan may turn it on.",
        panel=NETWORK,
        omit=True,
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
    cell: str = string(
        "lstm",
        "Recurrent cell: a name that 'charrnn cells' lists, or a file with one of your own, "
        "./my_cell.py, whose code is run.",
        check_cell,
        values=get_args(CellName),
    )
    num_layers: int = integer(1, 64, 1, "L, number of layers.")
    hidden_size: int = integer(1, MAX_SIZE, 256, "H, units in each layer.")
    embedding_size: int = integer(
        0, MAX_SIZE, 64, "E, size of the token embedding; 0 means one-hot.", panel=NETWORK
    )


@dataclass(frozen=True)
class ModelConfig(Form, _Sizes):
    """The architecture: V tokens -> embedding (or one-hot) -> L layers of H units -> V logits.

    A text model goes on with a text. A pair model writes a target for a source: an encoder reads
    the source, and a context takes what it read to the layers, which are then the decoder. An
    ensemble is several networks beside each other, among which the units and the embedding are
    divided; its logits are the mean of theirs.
    """

    encoder: str = choice(
        Literal["", EncoderName], "", "How the source of a pair is read.", panel=NETWORK, omit=True
    )
    context: str = choice(
        Literal["", ContextName], "", "What the decoder sees of it.", panel=NETWORK, omit=True
    )
    ensemble: int = integer(1, 8, 1, "How many networks vote.", panel=NETWORK, omit=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cell == "jordan" and self.num_layers > 1:
            raise OptionError(
                "--cell jordan feeds the network's output back and has no state below it: "
                "use --num-layers 1, and --input-depth for more matrices"
            )
        if bool(self.encoder) != bool(self.context):
            raise OptionError("a network has both an encoder and a context, or neither")
        if self.tied_output:
            self._check_tied()
        if self.encoder:
            self._check_pairs()
        if self.ensemble > 1:
            self._check_ensemble()

    def _check_tied(self) -> None:
        if not self.embedding_size:
            raise OptionError(
                "--tied-output uses the embedding, and --embedding-size 0 means none: use another "
                "size"
            )

    def _check_pairs(self) -> None:
        if self.vocab_size < 2:
            raise OptionError("a pair model has a token to write and one that ends a target")
        if self.cell == "jordan":
            raise OptionError(
                "--cell jordan feeds the network's output back, and an encoder has none: use "
                "another cell for pairs"
            )
        if self.learned_start:
            raise OptionError(
                "--learned-start has no meaning for pairs, where the source decides the initial "
                "state: leave it out"
            )
        if self.encoder == "bidirectional" and self.hidden_size % 2:
            raise OptionError(
                f"--encoder bidirectional divides the units among two directions: --hidden-size "
                f"{self.hidden_size} must be even"
            )

    def _check_ensemble(self) -> None:
        """Refuse what cannot be divided among networks that share nothing."""
        asked = f"--ensemble {self.ensemble}"
        if self.ensemble & (self.ensemble - 1):
            raise OptionError(f"{asked} must be 1, 2, 4 or 8")
        if self.cell == "jordan":
            raise OptionError(
                f"--cell jordan feeds the network's output back, and {asked} has several: leave "
                "one of them out"
            )
        if self.encoder and self.context != "fixed":
            raise OptionError(f"{asked} of pairs needs a fixed context: use --context fixed")
        if self.layer_norm:
            raise OptionError(f"--layer-norm is over all units of a layer: leave out {asked}")
        if not self.embedding_size:
            raise OptionError(
                f"{asked} divides the embedding among the networks, and --embedding-size 0 means "
                "none: use another size"
            )
        units = self.ensemble * (len(self.directions) or 1)
        for name, size, among in (
            ("hidden_size", self.hidden_size, units),
            ("embedding_size", self.embedding_size, self.ensemble),
        ):
            if size % among:
                raise OptionError(
                    f"{asked} divides {flag(name)} {size} among its networks"
                    f"{' (and directions)' * (among > self.ensemble)}: use a multiple of {among}"
                )

    @property
    def member(self) -> ModelConfig:
        """Return the architecture of each network of an ensemble; of one network this one."""
        if self.ensemble == 1:
            return self
        hidden = self.hidden_size // self.ensemble
        embedding = self.embedding_size // self.ensemble
        return dataclasses.replace(self, ensemble=1, hidden_size=hidden, embedding_size=embedding)

    @property
    def size_words(self) -> str:
        """Return number and size of the layers as people read them: "2 networks of 2 x 128"."""
        each = f"{self.num_layers} x {self.member.hidden_size}"
        return each if self.ensemble == 1 else f"{self.ensemble} networks of {each}"

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Return the units of each layer of a text's state: network by network, from below."""
        return (self.member.hidden_size,) * (self.ensemble * self.num_layers)

    @property
    def start_token(self) -> int:
        """Return the id that is read before a text's first token; it is never an output."""
        return self.vocab_size

    @property
    def alphabet_size(self) -> int:
        """Return the number of tokens that stand for text: V, without the end of a target."""
        return self.vocab_size - bool(self.encoder)

    @property
    def end_token(self) -> int:
        """Return the id that ends a target, in a pair model; it is never an input."""
        assert self.encoder, "a text model has no such token"
        return self.alphabet_size

    @property
    def directions(self) -> tuple[str, ...]:
        """Return the directions in which the encoder reads; () in a text model."""
        both = {"": (), "forward": ("forward",), "bidirectional": ("forward", "backward")}
        return both[self.encoder]

    @property
    def encoder_size(self) -> int:
        """Return the units of each direction of an encoder's layer, which together are H."""
        return self.hidden_size // len(self.directions)
