"""What can be chosen: frozen dataclasses, validated where they are made, plain JSON in and out.

`ModelConfig` is all that is needed to rebuild a network; it is stored in the model file.
`TrainOptions` is what a user asked for, where None leaves the choice to the plan; `TrainConfig` is
what the plan made of it. `SampleConfig` and `BeamConfig` say how text is written.
"""

from __future__ import annotations

import codecs
import dataclasses
import math
import re
import tomllib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

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
    "gru",
    "gru-reset-after",
]
InitName = Literal["auto", "orthogonal", "glorot", "he"]
StateName = Literal["carry", "reset"]
OptimizerName = Literal["adamw"]
TokenizerName = Literal["char", "byte", "sentencepiece"]
PieceName = Literal["unigram", "bpe", "char"]
SplitName = Literal["position", "document", "hash"]
PrecisionName = Literal["auto", "float32", "bfloat16"]
WeightsName = Literal["float32", "bfloat16", "int8"]
BackendName = Literal["auto", "reference", "library", "scaffold"]
ENCODINGS = (  # the usual ones, for advice; any of Python's is taken
    "utf-8",
    "utf-16",
    "utf-32",
    "latin-1",
    "cp1251",
    "cp1252",
    "koi8-r",
    "shift-jis",
    "euc-jp",
    "euc-kr",
    "gb18030",
    "big5",
)
OMEGA_CELLS = ("elman", "irnn", "preactivation")
MAX_LENGTH = 10**9
MAX_WINDOW = 2**30
MAX_SIZE = 2**16
MAX_SYMBOLS = 0x110000
MAX_SEED = 2**63 - 1

T = TypeVar("T")


@dataclass(frozen=True)
class Form:
    """What a network can have besides its sizes; neutral values: none of it.

    Attributes:
        skip_connections: the input goes to every layer, and every layer to the output.
        input_depth: matrices on the way from a layer's input to its blocks; between them tanh.
        recurrent_depth: matrices on the way from the state to the blocks.
        output_depth: matrices on the way from the last layer to the logits.
        learned_start: the state before a text is learned, and not zero.
        layer_norm: what comes from input and state is normalised over the units of each block.
        zoneout: part of the units of h that keep their old value (their mean, when not trained).
        zoneout_cell: the same for the other parts of the state.
    """

    skip_connections: bool = False
    input_depth: int = 1
    recurrent_depth: int = 1
    output_depth: int = 1
    learned_start: bool = False
    layer_norm: bool = False
    zoneout: float = 0.0
    zoneout_cell: float = 0.0

    def __post_init__(self) -> None:
        for name in ("input_depth", "recurrent_depth", "output_depth"):
            _integer(name, getattr(self, name), 1, 16)
        for name in ("skip_connections", "learned_start", "layer_norm"):
            if not isinstance(getattr(self, name), bool):
                raise OptionError(f"{flag(name)} must be true or false")
        _number("zoneout", self.zoneout, 0.0, 0.95)
        _number("zoneout_cell", self.zoneout_cell, 0.0, 0.95)

    def zone_rates(self, parts: int) -> tuple[float, ...]:
        """What stays of each of a state's parts, the output first; nothing without zoneout."""
        if not (self.zoneout or self.zoneout_cell):
            return ()
        return (self.zoneout, *[self.zoneout_cell] * (parts - 1))


FORM = tuple(field.name for field in dataclasses.fields(Form))


@dataclass(frozen=True)
class _Sizes:
    """The sizes of an architecture; alone so that the form's fields come after them."""

    vocab_size: int
    cell: str = "lstm"
    num_layers: int = 1
    hidden_size: int = 256
    embedding_size: int = 64  # 0: one-hot symbols


@dataclass(frozen=True)
class ModelConfig(Form, _Sizes):
    """The architecture: V symbols -> embedding (or one-hot) -> L layers of H units -> V logits."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _choice("cell", self.cell, get_args(CellName))
        _integer("vocab_size", self.vocab_size, 1, MAX_SYMBOLS)
        _integer("num_layers", self.num_layers, 1, 64)
        _integer("hidden_size", self.hidden_size, 1, MAX_SIZE)
        _integer("embedding_size", self.embedding_size, 0, MAX_SIZE)
        if self.cell == "jordan" and self.num_layers > 1:
            raise OptionError(
                "--cell jordan feeds the network's output back and has no state below it: "
                "use --num-layers 1, and --input-depth for more matrices"
            )

    @property
    def start_symbol(self) -> int:
        """The input read before a text's first symbol; never an output."""
        return self.vocab_size


@dataclass(frozen=True)
class Regularizers:
    """What keeps a training from learning by heart; neutral values: 0, and none of it.

    Attributes:
        dropout: part of each layer's outputs that is dropped on its way up; None is planned.
        locked_dropout: the same units for all steps of a window (Gal and Ghahramani 2016).
        weight_drop: part of the recurrent weights dropped, the same for a window (Merity 2018).
        activation_penalty: alpha of alpha * mean(h^2) of the last layer's dropped outputs (AR).
        slowness_penalty: beta of beta * mean((h_{t+1} - h_t)^2) of its outputs (TAR).
        omega: weight of Pascanu's regulariser, which keeps gradients' norms along time.
        weight_decay: pull of matrices towards zero.
    """

    dropout: float | None = None
    locked_dropout: bool = False
    weight_drop: float = 0.0
    activation_penalty: float = 0.0
    slowness_penalty: float = 0.0
    omega: float = 0.0
    weight_decay: float = 0.1

    def __post_init__(self) -> None:
        _optional(_number, "dropout", self.dropout, 0.0, 0.95)
        _number("weight_drop", self.weight_drop, 0.0, 0.95)
        for name in ("activation_penalty", "slowness_penalty", "omega"):
            _number(name, getattr(self, name), 0.0, 1e3)
        _number("weight_decay", self.weight_decay, 0.0, 10.0)
        if not isinstance(self.locked_dropout, bool):
            raise OptionError("--locked-dropout must be true or false")


@dataclass(frozen=True)
class Reading:
    """How files become one text.

    Attributes:
        encoding: of the files, a name that Python knows.
        errors: what cannot be decoded is an error (strict), or becomes U+FFFD (replace).
        newline: keep line ends, or make CR LF into LF (lf).
        include: of a folder's files only those that match one of these patterns.
        exclude: and none that match one of these.
        document_separator: behind this text a document starts, as at each file; empty: only there.
        max_unpacked: bytes to which one compressed file may unpack; None: a limit by its size.
    """

    encoding: str = "utf-8"
    errors: str = "strict"
    newline: str = "keep"
    include: str | Sequence[str] = ()  # kept as a tuple
    exclude: str | Sequence[str] = ()
    document_separator: str = ""
    max_unpacked: int | None = None

    def __post_init__(self) -> None:
        _choice("newline", self.newline, ("keep", "lf"), "use keep or lf")
        _choice("errors", self.errors, ("strict", "replace"), "use strict or replace")
        for name in ("include", "exclude"):
            object.__setattr__(self, name, _as_strings(getattr(self, name)))
        _optional(_integer, "max_unpacked", self.max_unpacked, 1, 2**60)
        _check_encoding(self.encoding)
        try:
            self.document_separator.encode()
        except (UnicodeEncodeError, AttributeError):
            raise OptionError("--document-separator must be Unicode text") from None


@dataclass(frozen=True)
class TextOptions(Reading):
    """How a text is read, made into symbols, and split into train, valid and test.

    Attributes:
        tokenizer: char (code points), byte, or sentencepiece.
        min_count: char: what occurs less often is written as its bytes.
        vocab_size: sentencepiece: symbols.
        pieces: sentencepiece: unigram, bpe or char.
        split: by position (the last part of the text), by document (the last documents) or by
            hash (of each document's content, so that equal ones stay together).
        valid_fraction: part of the text held out for validation.
        test_fraction: part of the text held out for a test.
    """

    tokenizer: str = "char"
    min_count: int = 1
    vocab_size: int | None = None
    pieces: str | None = None
    split: str = "position"
    valid_fraction: float = 0.1
    test_fraction: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _choice("tokenizer", self.tokenizer, get_args(TokenizerName))
        _integer("min_count", self.min_count, 1, 10**12)
        _optional(_integer, "vocab_size", self.vocab_size, 300, 2**20)
        if self.pieces is not None:
            _choice("pieces", self.pieces, get_args(PieceName))
        _choice("split", self.split, get_args(SplitName))
        _number("valid_fraction", self.valid_fraction, 0.0, 0.9)
        _number("test_fraction", self.test_fraction, 0.0, 0.9)
        if self.valid_fraction + self.test_fraction > 0.9:
            raise OptionError(
                "--valid-fraction and --test-fraction leave less than a tenth to train on: "
                "lower them"
            )
        if self.min_count > 1 and self.tokenizer != "char":
            raise OptionError(f"--min-count is for --tokenizer char, not {self.tokenizer}")
        for name in ("vocab_size", "pieces"):
            if getattr(self, name) is not None and self.tokenizer != "sentencepiece":
                raise OptionError(f"{flag(name)} is for --tokenizer sentencepiece")


@dataclass(frozen=True)
class TrainOptions(TextOptions, Regularizers, Form):
    """What the user asked for; None is planned from the corpus, the machine and the budget."""

    cell: str = "lstm-coupled"
    num_layers: int | None = None
    hidden_size: int | None = None
    embedding_size: int | None = None
    init: str = "auto"
    forget_bias: float | None = None
    seq_len: int | str | None = None
    update_every: int | None = None
    state: str = "carry"
    reset_at_documents: bool = False
    batch_size: int | None = None
    minutes: float | None = None
    epochs: float | None = None
    steps: int | None = None
    optimizer: str = "adamw"
    learning_rate: float | None = None
    clip_norm: float = 1.0
    seed: int = 1
    device: str = "auto"
    precision: str = "auto"
    backend: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        Form.__post_init__(self)
        Regularizers.__post_init__(self)
        TextOptions.__post_init__(self)
        _choice("cell", self.cell, get_args(CellName))
        _choice("optimizer", self.optimizer, get_args(OptimizerName))
        _choice("precision", self.precision, get_args(PrecisionName))
        _choice("backend", self.backend, get_args(BackendName))
        _choice("init", self.init, get_args(InitName))
        _choice("state", self.state, get_args(StateName))
        _optional(_number, "forget_bias", self.forget_bias, -100.0, 100.0)
        _optional(_integer, "num_layers", self.num_layers, 1, 64)
        _optional(_integer, "hidden_size", self.hidden_size, 1, MAX_SIZE)
        _optional(_integer, "embedding_size", self.embedding_size, 0, MAX_SIZE)
        object.__setattr__(self, "seq_len", _window(self.seq_len))
        _optional(_integer, "update_every", self.update_every, 1, MAX_WINDOW)
        _optional(_integer, "batch_size", self.batch_size, 1, 2**20)
        _optional(_integer, "steps", self.steps, 1, 10**12)
        _optional(_integer, "threads", self.threads, 1, 4096)
        _optional(_number, "minutes", self.minutes, 0.0, 1e7, open_low=True)
        _optional(_number, "epochs", self.epochs, 0.0, 1e9, open_low=True)
        _optional(_number, "learning_rate", self.learning_rate, 0.0, 1e3, open_low=True)
        _number("clip_norm", self.clip_norm, 0.0, math.inf, open_low=True, allow_inf=True)
        _integer("seed", self.seed, 0, MAX_SEED)
        self._check_together()

    def _check_together(self) -> None:
        """Refuse what cannot be wished for at the same time."""
        budgets = [n for n in ("minutes", "epochs", "steps") if getattr(self, n) is not None]
        if len(budgets) > 1:
            raise OptionError(
                f"{' and '.join('--' + n for n in budgets)} are two budgets: give one of them"
            )
        if self.update_every is not None:
            if isinstance(self.seq_len, int) and self.update_every > self.seq_len:
                raise OptionError(
                    f"--update-every {self.update_every} would leave steps of the text without "
                    f"gradient: it may be --seq-len {self.seq_len} at most"
                )
            if self.state == "reset":
                raise OptionError(
                    "--state reset cuts the text into windows, each with one update: "
                    "leave out --update-every"
                )
        if not isinstance(self.reset_at_documents, bool):
            raise OptionError("--reset-at-documents must be true or false")
        if self.reset_at_documents:
            self._check_documents()
        if self.omega and self.cell not in OMEGA_CELLS:
            raise OptionError(
                f"--omega is for {', '.join(OMEGA_CELLS)}, in which a gradient passes one matrix "
                f"from step to step: leave it out for {self.cell}"
            )
        if self.omega and self.backend not in ("auto", "reference"):
            raise OptionError("--omega takes derivatives of gradients: use --backend reference")

    def _check_documents(self) -> None:
        if self.state == "reset":
            raise OptionError(
                "--state reset forgets at every window, --reset-at-documents at documents alone: "
                "give one of them"
            )
        whole = "--seq-len full" if self.seq_len == "full" else ""
        if whole or self.update_every is not None:
            raise OptionError(
                "--reset-at-documents cuts documents into windows, each with one update: "
                f"leave out {whole or '--update-every'}"
            )


@dataclass(frozen=True)
class TrainConfig(Regularizers):
    """How a network is trained; every value is decided.

    One of the budgets is not None; minutes and epochs together end with what comes first.
    """

    seq_len: int = 64  # T or k2, the BPTT window
    update_every: int = 64  # k1, steps from one update to the next
    state: str = "carry"  # or reset: every window starts anew
    reset_at_documents: bool = False  # documents begin windows, and know nothing of each other
    batch_size: int = 32  # B, the number of streams
    optimizer: str = "adamw"
    learning_rate: float = 0.01
    init: str = "auto"
    forget_bias: float | None = None
    dropout: float = 0.0
    clip_norm: float = 1.0
    seed: int = 1
    minutes: float | None = None
    epochs: float | None = None
    steps: int | None = None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a written text must be, character by character; neutral values: anything.

    Attributes:
        regex: the whole text matches it, in Python's syntax.
        allow: the only characters that are written, as between [ and ] in a pattern.
        forbid: characters that are not written, as between [ and ] in a pattern.
        max_lines: the text ends with the end of this line.
    """

    regex: str | None = None
    allow: str | None = None
    forbid: str | None = None
    max_lines: int | None = None

    def __post_init__(self) -> None:
        _check_pattern("regex", self.regex, self.regex)
        for name in ("allow", "forbid"):
            given = getattr(self, name)
            _check_pattern(name, given, None if given is None else f"[{given}]")
            if given is not None and not re.fullmatch(r"(?:[^\]\\]|\\.)+", given, re.S):
                raise OptionError(
                    f"{flag(name)} '{given}' is no set of characters: write what stands between "
                    r"[ and ] in a pattern, such as a-z\d, and \[ \] for brackets"
                )
        _optional(_integer, "max_lines", self.max_lines, 1, MAX_LENGTH)

    @property
    def limits(self) -> Limits:
        """These alone, without what else a config says."""
        return Limits(
            regex=self.regex, allow=self.allow, forbid=self.forbid, max_lines=self.max_lines
        )


@dataclass(frozen=True)
class SampleConfig(Limits):
    """Random writing; `decoding.filters` says what each filter does, and in which order.

    Neutral values: temperature 1, top_k 0, typical_p 1, top_p 1, min_p 0, xtc_probability 0,
    mirostat_ent 0, repeat_penalty 1, the other penalties 0, no_repeat_ngram_size 0.
    """

    length: int = 1000
    temperature: float = 0.8
    top_k: int = 0
    typical_p: float = 1.0
    top_p: float = 1.0
    min_p: float = 0.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    mirostat_ent: float = 0.0
    mirostat_lr: float = 0.1
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repeat_last_n: int = 64
    no_repeat_ngram_size: int = 0
    logit_bias: Mapping[str, float] | Sequence[tuple[str, float]] = ()  # kept as pairs
    num_samples: int = 1
    stop: str | Sequence[str] = ()  # kept as a tuple
    seed: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "stop", _as_strings(self.stop))
        object.__setattr__(self, "logit_bias", _as_pairs(self.logit_bias))
        _check_writing(self.length, self.stop)
        _number("temperature", self.temperature, 0.0, math.inf)
        _integer("top_k", self.top_k, 0, MAX_LENGTH)
        for name in ("typical_p", "top_p"):
            _number(name, getattr(self, name), 0.0, 1.0, open_low=True)
        for name in ("min_p", "xtc_probability"):
            _number(name, getattr(self, name), 0.0, 1.0)
        _number("xtc_threshold", self.xtc_threshold, 0.0, 0.5, open_low=True)
        _number("mirostat_ent", self.mirostat_ent, 0.0, 64.0)
        _number("mirostat_lr", self.mirostat_lr, 0.0, 1.0, open_low=True)
        _number("repeat_penalty", self.repeat_penalty, 0.0, 100.0, open_low=True)
        for name in ("presence_penalty", "frequency_penalty"):
            _number(name, getattr(self, name), -100.0, 100.0)
        _integer("repeat_last_n", self.repeat_last_n, -1, MAX_LENGTH)
        _integer("no_repeat_ngram_size", self.no_repeat_ngram_size, 0, MAX_LENGTH)
        _integer("num_samples", self.num_samples, 1, 2**16)
        _optional(_integer, "seed", self.seed, 0, MAX_SEED)
        self._check_together()

    def _check_together(self) -> None:
        """Refuse what would have no effect."""
        cutting = ("top_k", "typical_p", "top_p", "min_p", "xtc_probability")
        unused = _given(self, *cutting, "mirostat_ent")
        if self.temperature == 0 and unused:
            raise OptionError(
                f"--temperature 0 takes the most likely symbol, whatever {unused} would leave: "
                "give a temperature above 0, or leave the filters out"
            )
        if self.temperature == 0 and self.num_samples > 1:
            raise OptionError(
                f"--temperature 0 would write the same text {self.num_samples} times: give a "
                "temperature above 0, or leave out --num-samples"
            )
        if not self.xtc_probability and _given(self, "xtc_threshold"):
            raise OptionError("--xtc-threshold has no effect without --xtc-probability: give both")
        if not self.mirostat_ent and _given(self, "mirostat_lr"):
            raise OptionError("--mirostat-lr has no effect without --mirostat-ent: give both")
        if self.mirostat_ent and _given(self, *cutting):
            raise OptionError(
                "--mirostat-ent cuts off as much as the surprise needs: leave out "
                f"{_given(self, *cutting)}"
            )
        penalties = _given(self, "repeat_penalty", "presence_penalty", "frequency_penalty")
        if penalties and self.repeat_last_n == 0:
            raise OptionError(
                f"--repeat-last-n 0 leaves {penalties} no text to look at: "
                "give the number of symbols, or -1 for all"
            )
        if not penalties and _given(self, "repeat_last_n"):
            raise OptionError(
                f"--repeat-last-n {self.repeat_last_n} says how far penalties look back, and "
                "there is none: give --repeat-penalty, --presence-penalty or --frequency-penalty"
            )


@dataclass(frozen=True)
class BeamConfig(Limits):
    """Beam search: the `width` most probable prefixes are kept at every step.

    Attributes:
        length: symbols of a text at most, a stop string's included.
        min_length: symbols before a stop string may end a text.
        width: prefixes kept.
        num_return: texts returned.
        length_penalty: alpha of log p / length^alpha, by which finished texts rank.
        groups: parts of the beam that are searched one after the other (diverse beam search).
        diversity: nats that a symbol loses in a group for each time that groups before it took it.
        stochastic: sample texts without replacement instead (stochastic beam search).
        temperature: of that sampling.
        seed: its randomness.
        stop: strings that end a text.
    """

    length: int = 200
    min_length: int = 0
    width: int = 5
    num_return: int = 1
    length_penalty: float = 1.0
    groups: int = 1
    diversity: float = 0.0
    stochastic: bool = False
    temperature: float = 1.0
    seed: int | None = None
    stop: str | Sequence[str] = ()  # kept as a tuple

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "stop", _as_strings(self.stop))
        _check_writing(self.length, self.stop)
        _integer("min_length", self.min_length, 0, MAX_LENGTH)
        _integer("width", self.width, 1, 2**16)
        _integer("num_return", self.num_return, 1, 2**16)
        _number("length_penalty", self.length_penalty, 0.0, 100.0)
        _integer("groups", self.groups, 1, 2**16)
        _number("diversity", self.diversity, 0.0, 1000.0)
        if not isinstance(self.stochastic, bool):
            raise OptionError("--stochastic must be true or false")
        _number("temperature", self.temperature, 0.0, math.inf, open_low=True)
        _optional(_integer, "seed", self.seed, 0, MAX_SEED)
        self._check_together()

    def _check_together(self) -> None:
        """Refuse what cannot be, or would have no effect."""
        if self.num_return > self.width:
            raise OptionError(
                f"--num-return {self.num_return} asks for more texts than the "
                f"--width {self.width} beams hold: raise --width"
            )
        if self.min_length > self.length:
            raise OptionError(
                f"--min-length {self.min_length} is more than --length {self.length} allows: "
                "raise --length"
            )
        if self.min_length and not self.stop:
            raise OptionError("--min-length says when a --stop may end a text: give --stop as well")
        self._check_groups()
        self._check_stochastic()

    def _check_groups(self) -> None:
        if self.width % self.groups:
            raise OptionError(
                f"--width {self.width} cannot be divided into {self.groups} equal --groups"
            )
        if (self.groups > 1) != (self.diversity > 0):
            raise OptionError(
                "--groups and --diversity belong together: groups that nothing keeps apart find "
                "the same texts, and one group has nothing to be kept apart from"
            )

    def _check_stochastic(self) -> None:
        if not self.stochastic:
            needless = _given(self, "temperature", "seed")
            if needless:
                raise OptionError(
                    f"{needless} has no effect on a search, in which nothing is random: "
                    "give --stochastic as well, or use charrnn sample"
                )
            return
        ranked = _given(self, "length_penalty", "groups")
        if ranked:
            raise OptionError(
                f"--stochastic draws texts with the model's own probabilities: leave out {ranked}"
            )


def _given(config: Any, *names: str) -> str:
    """The flags of those fields that do not have their default, as a list in words; or nothing."""
    given = [flag(name) for name in names if getattr(config, name) != getattr(type(config), name)]
    return " and ".join(filter(None, [", ".join(given[:-1]), *given[-1:]]))


def _as_pairs(
    bias: Mapping[str, float] | Sequence[tuple[str, float]],
) -> tuple[tuple[str, float], ...]:
    """Symbols and what is added to their logits, each symbol once."""
    pairs = tuple(
        (str(symbol), value)
        for symbol, value in (bias.items() if isinstance(bias, Mapping) else bias)
    )
    for symbol, value in pairs:
        _number(f"logit_bias {symbol!a}", value, -100.0, 100.0)
    if len({symbol for symbol, _ in pairs}) < len(pairs):
        raise OptionError("--logit-bias names a symbol twice: give it one number")
    return pairs


def _check_pattern(name: str, given: str | None, pattern: str | None) -> None:
    if pattern is None:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a later Python may read otherwise
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise OptionError(f"{flag(name)} '{given}' is no pattern: {error}") from None


def check_weights(name: str) -> None:
    """Refuse a kind of weights that there is not."""
    _choice("weights", name, get_args(WeightsName))


def check_threads(count: int | None) -> None:
    """Refuse a number of threads that cannot be."""
    _optional(_integer, "threads", count, 1, 4096)


def check_device(name: str, *, auto: bool = False) -> None:
    """Refuse what names no device; `auto` is one where it is asked for."""
    if not re.fullmatch("cpu|cuda(:[0-9]+)?", name) and not (auto and name == "auto"):
        known = "auto, cpu" if auto else "cpu"
        raise OptionError(f"--device '{name}' is not known: use {known}, cuda or cuda:N")


def check_writing_device(name: str, weights: str, threads: int | None) -> None:
    """Refuse what writes nowhere, and what a CUDA device has no use for."""
    check_device(name)
    for option, given, usual in (("weights", weights, "float32"), ("threads", threads, None)):
        if given != usual and name != "cpu":
            raise OptionError(
                f"{flag(option)} {given} is for the CPU: leave it out with --device {name}"
            )


def _as_strings(stop: str | Sequence[str]) -> tuple[str, ...]:
    """One stop string may stand for itself."""
    return (stop,) if isinstance(stop, str) else tuple(stop)


def _check_writing(length: int, stop: str | Sequence[str]) -> None:
    _integer("length", length, 0, MAX_LENGTH)
    if "" in stop:
        raise OptionError("--stop '' is empty and would end every text before it began")


def flag(name: str) -> str:
    """The command-line spelling of a field: hidden_size -> --hidden-size."""
    return "--" + name.replace("_", "-")


def _choice(name: str, value: object, known: tuple[str, ...], advice: str = "") -> None:
    if value not in known:
        advice = advice or nearest(str(value), known)
        raise OptionError(f"{flag(name)} '{value}' is not known: {advice}")


def _check_encoding(name: object) -> None:
    """Python's codecs that are no encodings of text (base64, zip) are unknown here."""
    try:
        known = isinstance(name, str) and codecs.lookup(name)._is_text_encoding
    except (LookupError, ValueError):  # a NUL in the name
        known = False
    if not known:
        raise OptionError(f"--encoding '{name}' is not known: {nearest(str(name), ENCODINGS)}")


def _integer(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise OptionError(f"{flag(name)} must be a whole number from {low} to {high}, not {value}")


def _number(
    name: str,
    value: object,
    low: float,
    high: float,
    *,
    open_low: bool = False,
    allow_inf: bool = False,
) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    number = float(value) if is_number else math.nan  # type: ignore[arg-type]
    finite = math.isfinite(number) or (allow_inf and number == math.inf)
    if not finite or not low <= number <= high or (open_low and number == low):
        start = f"above {low:g}" if open_low else f"from {low:g}"
        end = f" to {high:g}" if math.isfinite(high) else " up"
        raise OptionError(f"{flag(name)} must be a number {start}{end}, not {value}")


def _window(value: object) -> object:
    """A BPTT window: a whole number, its digits, or the word ``full``."""
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if value not in (None, "full") and not isinstance(value, int):
        raise OptionError(f"--seq-len must be a whole number or full, not {value}")
    if isinstance(value, int):
        _integer("seq_len", value, 1, MAX_WINDOW)
    return value


def _optional(check: Any, name: str, value: object, *bounds: Any, **more: Any) -> None:
    if value is not None:
        check(name, value, *bounds, **more)


def to_json(config: Any) -> dict[str, Any]:
    """A config as a plain dictionary."""
    return dataclasses.asdict(config)


def from_json(kind: type[T], data: Mapping[str, Any], where: str) -> T:
    """Build a config from a dictionary; unknown and missing keys are errors that name `where`."""
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            raise OptionError(f"{where}: unknown key '{key}': {nearest(key, fields)}")
    for name, field in fields.items():
        if name not in data and field.default is dataclasses.MISSING:
            raise OptionError(f"{where}: '{name}' is missing")
    return kind(**data)


def load_options(path: Path) -> dict[str, Any]:
    """Training options from a TOML file; keys are flags, with - or _ between words."""
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise OptionError(f"--config {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"--config {path} is not TOML: {error}") from error
    options = {key.replace("-", "_"): value for key, value in data.items()}
    from_json(TrainOptions, options, f"--config {path}")
    return options
