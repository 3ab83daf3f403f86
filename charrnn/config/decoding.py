"""Options of writing: sampling, beam search, and what runs the model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from charrnn.config.escapes import has_unknown_escape, unescape
from charrnn.config.fields import (
    FILTERS,
    MAX_LENGTH,
    MAX_SEED,
    PENALTIES,
    Option,
    Options,
    check_number,
    choice,
    declare,
    device,
    flag,
    given_flags,
    integer,
    new_seed,
    number,
    read_number,
    same,
    strings,
    switch,
)
from charrnn.config.limits import Limits
from charrnn.errors import OptionError, excerpt

WeightsName = Literal["float32", "bfloat16", "int8"]
UnknownName = Literal["nearest", "skip", "error"]


@dataclass(frozen=True)
class EngineOptions(Options):
    """What runs a trained model."""

    weights: str = choice(
        WeightsName,
        "float32",
        "Precision of the weights: float32, bfloat16 or int8 (fastest for a large model).",
    )
    threads: int | None = integer(1, 4096, None, "CPU threads.", shown="chosen for this network")
    device: str = device("cpu", "Device: cpu, cuda or cuda:N.")
    with_counts: bool = switch(
        "Also write with the counts of a model that was trained with --counts. They predict a text "
        "better (scoring always uses them), but copy more, and what must match over a distance, "
        "such as brackets, matches less often."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("weights", "threads"):
            given = getattr(self, name)
            if given != getattr(type(self), name) and self.device != "cpu":
                raise OptionError(
                    f"{flag(name)} {given} is for the CPU: leave it out with --device {self.device}"
                )


@dataclass(frozen=True, kw_only=True)
class UnknownOption(Options):
    """How a text is read that has characters which a model does not know."""

    unknown: str = choice(
        UnknownName,
        "nearest",
        "What to do with characters that the model has never seen: nearest (replace: é by e), "
        "skip, or error.",
    )


def parse_bias(text: str) -> tuple[str, float]:
    """Return the token and the number of TOKEN=NUMBER; the last = separates them.

    Raises:
        OptionError: the text has another form, or an unknown escape.
    """
    symbol, _, value = text.rpartition("=")
    try:
        if not symbol or (symbol != "\\" and has_unknown_escape(symbol)):
            raise ValueError
        return unescape(symbol), read_number(value)
    except ValueError as error:
        raise OptionError(
            f"--logit-bias {excerpt(text)!a} must be TOKEN=NUMBER, such as x=-2 or \\n=1.5"
        ) from error


def _check_biases(name: str, value: Any) -> tuple[tuple[str, float], ...]:
    """Return tokens and what is added to their logits, each token once."""
    given = value.items() if isinstance(value, Mapping) else value
    pairs = tuple((str(symbol), number) for symbol, number in given)
    for symbol, bias in pairs:
        check_number(f"{flag(name)} {symbol!a}", bias, -100.0, 100.0)
    if len({symbol for symbol, _ in pairs}) < len(pairs):
        raise OptionError(f"{flag(name)} names a token twice: give it one number")
    return pairs


def _check_stop(name: str, value: tuple[str, ...]) -> tuple[str, ...]:
    if "" in value:
        raise OptionError("--stop '' is empty and would end every text before it began")
    return value


@dataclass(frozen=True)
class SampleConfig(Limits, UnknownOption):
    """Random sampling; `charrnn.decoding.filters` defines the filters and their order."""

    length: int = integer(0, MAX_LENGTH, 1000, "Characters to write.", short="-n")
    temperature: float = number(
        0.0,
        math.inf,
        0.8,
        "Below 1 safer, above 1 wilder; 1 samples from the model's own distribution, 0 is greedy.",
        short="-t",
    )
    top_k: int = integer(
        0, MAX_LENGTH, 0, "Sample from the K most likely tokens; 0 turns it off.", panel=FILTERS
    )
    typical_p: float = number(
        0.0,
        1.0,
        1.0,
        "Sample from the tokens whose surprisal is closest to the entropy, up to this total "
        "probability; 1 turns it off.",
        above=True,
        panel=FILTERS,
    )
    top_p: float = number(
        0.0,
        1.0,
        1.0,
        "Sample from the most likely tokens, up to this total probability; 1 turns it off.",
        above=True,
        panel=FILTERS,
    )
    min_p: float = number(
        0.0,
        1.0,
        0.0,
        "Sample from tokens with at least this share of the best token's probability; 0 turns it "
        "off.",
        panel=FILTERS,
    )
    xtc_probability: float = number(
        0.0,
        1.0,
        0.0,
        "Probability of dropping all likely tokens except the least likely of them; 0 turns it "
        "off.",
        panel=FILTERS,
    )
    xtc_threshold: float = number(
        0.0,
        0.5,
        0.1,
        "XTC: tokens with at least this probability count as likely.",
        above=True,
        panel=FILTERS,
    )
    mirostat_ent: float = number(
        0.0,
        64.0,
        0.0,
        "Hold the mean surprisal of the text at this many bits by cutting off unlikely tokens; 0 "
        "turns it off.",
        panel=FILTERS,
    )
    mirostat_lr: float = number(
        0.0, 1.0, 0.1, "Mirostat: learning rate of the cutoff.", above=True, panel=FILTERS
    )
    repeat_penalty: float = number(
        0.0,
        100.0,
        1.0,
        "Divide positive logits of recent tokens by this, multiply negative ones; 1 turns it off.",
        above=True,
        panel=PENALTIES,
    )
    presence_penalty: float = number(
        -100.0,
        100.0,
        0.0,
        "Subtract this from the logit of each recent token; 0 turns it off.",
        panel=PENALTIES,
    )
    frequency_penalty: float = number(
        -100.0,
        100.0,
        0.0,
        "Subtract this from the logit of a recent token for each time it occurs; 0 turns it off.",
        panel=PENALTIES,
    )
    repeat_last_n: int = integer(
        -1,
        MAX_LENGTH,
        64,
        "Number of tokens that count as recent, including the prompt; -1 means all.",
        panel=PENALTIES,
    )
    no_repeat_ngram_size: int = integer(
        0,
        MAX_LENGTH,
        0,
        "Never repeat a sequence of N tokens while another token is possible; 0 turns it off.",
        panel=PENALTIES,
    )
    logit_bias: Mapping[str, float] | Sequence[tuple[str, float]] = declare(
        (),
        Option(
            str,
            "TOKEN=NUMBER: add NUMBER to the token's logit; -100 forbids the token. Escapes such "
            r"as \n and \u00e9 work; may be repeated.",
            _check_biases,
            panel=PENALTIES,
            shown="none",
            many=True,
            parse=parse_bias,
        ),
    )
    num_samples: int = integer(1, 10**9, 1, "Number of texts, written side by side.")
    unique: bool = switch("Write no text twice; needs --num-samples.")
    stop: str | Sequence[str] = strings(
        r"End the text before this string; escapes such as \n work; may be repeated.",
        _check_stop,
        shown="none",
        parse=unescape,
    )
    keep_stop: bool = switch("Leave the --stop string at the end of the text.")
    seed: int | None = integer(
        0,
        MAX_SEED,
        None,
        "Random seed; the same seed gives the same text.",
        shown="a new one, printed",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_filters()
        self._check_penalties()

    def _check_filters(self) -> None:
        """Refuse filters that would have no effect."""
        cutting = ("top_k", "typical_p", "top_p", "min_p", "xtc_probability")
        unused = given_flags(self, *cutting, "mirostat_ent")
        if self.temperature == 0 and unused:
            raise OptionError(
                f"--temperature 0 always takes the most likely token, whatever {unused} would "
                "leave: give a temperature above 0, or leave the filters out"
            )
        if self.temperature == 0 and self.num_samples > 1:
            raise OptionError(
                f"--temperature 0 would write the same text {self.num_samples} times: give a "
                "temperature above 0, or leave out --num-samples"
            )
        if self.unique and self.num_samples == 1:
            raise OptionError("--unique has no effect on one text: add --num-samples")
        if not self.xtc_probability and given_flags(self, "xtc_threshold"):
            raise OptionError("--xtc-threshold has no effect without --xtc-probability: give both")
        if not self.mirostat_ent and given_flags(self, "mirostat_lr"):
            raise OptionError("--mirostat-lr has no effect without --mirostat-ent: give both")
        if self.mirostat_ent and given_flags(self, *cutting):
            raise OptionError(
                f"--mirostat-ent chooses its own cutoff: leave out {given_flags(self, *cutting)}"
            )

    def _check_penalties(self) -> None:
        """Refuse penalties without a text to look at, and the other way round."""
        penalties = given_flags(self, "repeat_penalty", "presence_penalty", "frequency_penalty")
        if penalties and self.repeat_last_n == 0:
            raise OptionError(
                f"--repeat-last-n 0 leaves {penalties} nothing to penalize: "
                "give a number of tokens, or -1 for all"
            )
        if not penalties and given_flags(self, "repeat_last_n"):
            raise OptionError(
                f"--repeat-last-n {self.repeat_last_n} has no effect without a penalty: "
                "give --repeat-penalty, --presence-penalty or --frequency-penalty"
            )


# The fields that matter where every token is the most likely one.
GREEDY_FIELDS = (
    "length",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "repeat_last_n",
    "no_repeat_ngram_size",
    "logit_bias",
    "stop",
    "keep_stop",
    "unknown",
    *(field.name for field in dataclasses.fields(Limits)),
)


@dataclass(frozen=True)
class BeamConfig(Limits, UnknownOption):
    """Beam search: the `width` most probable prefixes are kept at every step."""

    length: int = same(
        SampleConfig,
        "length",
        200,
        help="Tokens to write: characters, unless the model's tokens are bytes or pieces.",
    )
    min_length: int = integer(
        0, MAX_LENGTH, 0, "Minimum number of tokens before a text may end, as at a --stop."
    )
    width: int = integer(1, 2**16, 5, "Number of prefixes kept at every step.", short="-w")
    num_return: int = integer(
        1, 2**16, 1, "Number of best texts to print, with their log-probabilities."
    )
    length_penalty: float = number(
        0.0, 100.0, 1.0, "Rank texts by log p / length^A: 0 favors short texts, 1 is the mean."
    )
    groups: int = integer(
        1, 2**16, 1, "Number of equal groups of beams, made different by --diversity."
    )
    diversity: float = number(
        0.0,
        1000.0,
        0.0,
        "Penalty in nats for a token, for each beam of an earlier group that chose it at the same "
        "step; 0 turns it off.",
    )
    stochastic: bool = switch("Sample different texts without replacement instead of searching.")
    temperature: float = number(
        0.0, math.inf, 1.0, "Temperature of --stochastic.", above=True, short="-t"
    )
    seed: int | None = same(
        SampleConfig, "seed", None, help="Seed of --stochastic; the same seed gives the same texts."
    )
    stop: str | Sequence[str] = same(SampleConfig, "stop", ())
    keep_stop: bool = same(SampleConfig, "keep_stop", False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_return > self.width:
            raise OptionError(
                f"--num-return {self.num_return} is more than --width {self.width}: raise --width"
            )
        if self.min_length > self.length:
            raise OptionError(
                f"--min-length {self.min_length} is more than --length {self.length} allows: "
                "raise --length"
            )
        self._check_groups()
        self._check_stochastic()

    def _check_groups(self) -> None:
        if self.width % self.groups:
            raise OptionError(
                f"--width {self.width} cannot be divided into {self.groups} equal --groups"
            )
        if (self.groups > 1) != (self.diversity > 0):
            raise OptionError(
                "--groups and --diversity must be given together: without --diversity all groups "
                "find the same texts, and with one group --diversity has no effect"
            )

    def _check_stochastic(self) -> None:
        if not self.stochastic:
            unused = given_flags(self, "temperature", "seed")
            if unused:
                raise OptionError(
                    f"{unused} has no effect on beam search, which is not random: "
                    "add --stochastic, or use 'charrnn sample'"
                )
            return
        ranked = given_flags(self, "length_penalty", "groups")
        if ranked:
            raise OptionError(
                f"--stochastic draws texts with the model's own probabilities: leave out {ranked}"
            )


S = TypeVar("S", bound=SampleConfig | BeamConfig)


def seeded(config: S) -> S:
    """Return settings that have a seed: their own, or a new one."""
    return config if config.seed is not None else dataclasses.replace(config, seed=new_seed())
