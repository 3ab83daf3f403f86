"""Declare an option: once, on a field of a frozen dataclass.

The functions below make such fields. A field's metadata holds an `Option`: which values are valid,
the help text, where and how the help shows it. The check of a dataclass, the command line, TOML
files and JSON all derive from it. `RENAMED` lists the flags that differ from their field's name.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import numbers
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from charrnn.errors import OptionError, excerpt, file_name, nearest

# The boxes of --help, in the order in which it shows them.
PANELS = (
    RUN := "Run",
    TRAINING := "Training",
    NETWORK := "Network",
    REGULARIZATION := "Regularization",
    TOKENIZER := "Tokenizer",
    TEXT := "Text",
    FILTERS := "Filters",
    PENALTIES := "Penalties",
    LIMITS := "Limits",
    TASKS := "Toy tasks",
)
# The options that most people use, in the order in which the first box shows them.
FIRST = (
    "minutes",
    "epochs",
    "steps",
    "out",
    "resume",
    "force",
    "valid",
    "init_from",
    "config",
    "dry_run",
    "num_layers",
    "hidden_size",
    "cell",
    "tokenizer",
    "seq_len",
    "batch_size",
    "learning_rate",
    "dropout",
    "seed",
    "threads",
    "device",
    "as_json",
)
PLANNED = "planned"
# Fields whose flag has another name; the field's own name stays valid as a hidden flag.
RENAMED = {"state": "window_state", "pieces": "sentencepiece_type"}
MAX_LENGTH = 10**9
MAX_SEED = 2**63 - 1
_MAX_BITS = 256  # of a whole number that a message shows
_OPTION = "option"

T = TypeVar("T")
Check = Callable[[str, Any], Any]


@dataclass(frozen=True)
class Option:
    """What is known about a field besides its name, type and default.

    Attributes:
        type: type of the value on the command line: bool, int, float, str or Path.
        help: one sentence for `--help`.
        check: called with the field's name and a value; returns the value to keep or raises
            OptionError. None is accepted without a check where it is the default.
        panel: the box of `--help` that lists it; the first one by default.
        shown: what `--help` shows as the default, if not the default itself.
        short: a one-letter flag, such as "-n".
        many: whether the flag may be repeated; the value is a tuple.
        hidden: whether the help leaves it out.
        parse: turns the text on the command line into a value.
        values: what the shell offers to complete.
        closed: whether no other value is valid.
        omit: whether files leave the field out where it has its default, as those do that were
            written before the field existed.
    """

    type: type
    help: str
    check: Check
    panel: str = ""
    shown: str = ""
    short: str = ""
    many: bool = False
    hidden: bool = False
    parse: Callable[[str], Any] | None = None
    values: tuple[str, ...] = ()
    closed: bool = False
    omit: bool = False


@dataclass(frozen=True)
class Options:
    """Base of all options: checks every field when an object is made."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            option = option_of(field)
            value = getattr(self, field.name)
            if option is not None and (value is not None or field.default is not None):
                object.__setattr__(self, field.name, option.check(field.name, value))


def position(name: str, panel: str | None) -> tuple[int, int]:
    """Return where the help shows an option: its box, and its place if that box has an order."""
    if panel in PANELS:
        return PANELS.index(panel) + 1, 0
    return 0, FIRST.index(name) + 1 if name in FIRST else 0


def option_of(field: dataclasses.Field[Any]) -> Option | None:
    """Return the option that a field declares, if it declares one."""
    return field.metadata.get(_OPTION)


def declare(default: Any, option: Option) -> Any:
    """Return a dataclass field with an option; `dataclasses.MISSING` makes the field required."""
    return dataclasses.field(default=default, metadata={_OPTION: option})


def same(kind: type[Options], name: str, default: Any, **changes: Any) -> Any:
    """Return a field like `name` of another dataclass, with another default."""
    option: Option = kind.__dataclass_fields__[name].metadata[_OPTION]
    return declare(default, dataclasses.replace(option, **changes))


def read_integer(text: str) -> int:
    """Return the whole number that a user wrote in digits 0 to 9; "1_000" and "100.0" are some.

    Raises:
        ValueError: it is something else.
    """
    if not text.isascii():  # Python also reads the digits of other scripts
        raise ValueError(text)
    return int(re.sub(r"\.0+\s*$", "", text))


def read_number(text: str) -> float:
    """Return the number that a user wrote in digits 0 to 9; or inf, or nan, where that is said.

    Raises:
        ValueError: it is something else, or too large: 1e400.
    """
    value = float(text)
    if not text.isascii() or (math.isinf(value) and any(map(str.isdigit, text))):
        raise ValueError(text)
    return value


def integer(low: int, high: int, default: Any, help_text: str, **shown: Any) -> Any:
    """Return a field for a whole number from `low` to `high`."""

    def check(name: str, value: Any) -> Any:
        return check_integer(flag(name), value, low, high)

    return declare(default, Option(int, help_text, check, **shown))


def check_integer(what: str, value: Any, low: int, high: int) -> int:
    """Return a whole number from `low` to `high` as an int, whatever its type; refuse others."""
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_integer or not low <= value <= high:
        shown = excerpt(_readable(value))
        raise OptionError(f"{what} must be a whole number from {low} to {high}, not {shown}")
    return int(value)


def integer_or(word: str, low: int, high: int) -> Callable[[str, Any], Any]:
    """Return a check of an option whose value is a whole number, its digits, or a word."""

    def check(name: str, value: Any) -> Any:
        if value == word:
            return value
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                value = read_integer(value)
        if not isinstance(value, numbers.Integral):
            raise OptionError(
                f"{flag(name)} must be a whole number or {word}, not {excerpt(value)}"
            )
        return check_integer(flag(name), value, low, high)

    return check


def _readable(value: Any) -> Any:
    """Return a value that can be shown: Python refuses to write very long numbers."""
    huge = isinstance(value, int) and value.bit_length() > _MAX_BITS
    return f"a number of {value.bit_length():,} bits" if huge else value


def number(
    low: float,
    high: float,
    default: Any,
    help_text: str,
    *,
    above: bool = False,
    infinite: bool = False,
    **shown: Any,
) -> Any:
    """Return a field for a number from `low` (or `above` it) to `high`, or an `infinite` one.

    JSON has no infinite numbers: None stands for one.
    """

    def check(name: str, value: Any) -> Any:
        if infinite and (value is None or (isinstance(value, float) and value == math.inf)):
            return math.inf
        return check_number(flag(name), value, low, high, above=above)

    return declare(default, Option(float, help_text, check, **shown))


def check_number(what: str, value: Any, low: float, high: float, *, above: bool = False) -> float:
    """Return a number in the range, as `number` describes it; refuse others.

    It stays an int or a float if it is one.
    """
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    try:
        found = float(value) if is_number else math.nan
    except OverflowError:  # an int of more than 308 digits
        found = math.nan
    if not math.isfinite(found) or not low <= found <= high or (above and found == low):
        if math.isfinite(high):
            limits = f"above {low:g} and at most {high:g}" if above else f"from {low:g} to {high:g}"
        else:
            limits = f"above {low:g}" if above else f"of at least {low:g}"
        raise OptionError(f"{what} must be a number {limits}, not {excerpt(_readable(value))}")
    return value if isinstance(value, int | float) else found


def choice(
    names: Any,
    default: Any,
    help_text: str,
    *,
    renamed: Mapping[str, str] | None = None,
    **shown: Any,
) -> Any:
    """Return a field for one of the names of a Literal type.

    `renamed` maps old names, which are still accepted, to the names that replaced them.
    """
    known, current = get_args(names), renamed or {}

    def check(name: str, value: Any) -> Any:
        if isinstance(value, str):
            value = current.get(value, value)
        check_choice(flag(name), value, known)
        return value

    return declare(default, Option(str, help_text, check, values=known, closed=True, **shown))


def check_choice(what: str, value: Any, known: Sequence[str]) -> None:
    """Refuse a value that is not one of the known names."""
    if value not in known:
        raise OptionError(f"{what} '{excerpt(value)}' is not known: {nearest(str(value), known)}")


def switch(help_text: str, **shown: Any) -> Any:
    """Return a field for a flag without a value, off by default."""

    def check(name: str, value: Any) -> Any:
        if not isinstance(value, bool):
            raise OptionError(f"{flag(name)} must be true or false")
        return value

    return declare(False, Option(bool, help_text, check, **shown))


def string(default: Any, help_text: str, check: Check | None = None, **shown: Any) -> Any:
    """Return a field for a text."""
    return declare(default, Option(str, help_text, check or _as_given, **shown))


def strings(help_text: str, check: Check | None = None, **shown: Any) -> Any:
    """Return a field for any number of texts; one text stands for itself."""

    def as_tuple(name: str, value: Any) -> Any:
        values = (value,) if isinstance(value, str) else tuple(value)
        return check(name, values) if check else values

    return declare((), Option(str, help_text, as_tuple, many=True, **shown))


def path(help_text: str, default: Any = None, **shown: Any) -> Any:
    """Return a field for a file or folder, optional unless `default` is `dataclasses.MISSING`."""

    def check(name: str, value: Any) -> Any:
        if value == "":
            raise OptionError(f"{flag(name)} is empty: name a file or a folder")
        return None if value is None else Path(file_name(value, flag(name)))

    return declare(default, Option(Path, help_text, check, **shown))


def device(default: str, help_text: str, *, auto: bool = False, **shown: Any) -> Any:
    """Return a field for a device."""

    def check(name: str, value: Any) -> Any:
        check_device(value, auto=auto)
        return value

    values = ("auto", "cpu", "cuda") if auto else ("cpu", "cuda")
    return declare(default, Option(str, help_text, check, values=values, **shown))


def check_device(name: str, *, auto: bool) -> None:
    """Refuse a name that is not a device; `auto` is one only where it is allowed."""
    names = ("auto", "cpu") if auto else ("cpu",)
    if name not in names and not re.fullmatch("cuda(:[0-9]+)?", str(name)):
        known = ", ".join(names)
        raise OptionError(f"--device '{excerpt(name)}' is not known: use {known}, cuda or cuda:N")


def _as_given(name: str, value: Any) -> Any:
    return value


def flag(name: str) -> str:
    """Return the command-line spelling of a field: hidden_size -> --hidden-size."""
    return "--" + RENAMED.get(name, name).replace("_", "-")


def given_flags(config: Options, *names: str) -> str:
    """Return the flags of the named fields that differ from their default, joined in words."""
    flags = [flag(name) for name in names if getattr(config, name) != getattr(type(config), name)]
    return " and ".join(filter(None, [", ".join(flags[:-1]), *flags[-1:]]))


def check_force(force: bool, **targets: object) -> None:
    """Refuse --force where no option names what it would replace: `targets`, by field name."""
    if force and all(target is None for target in targets.values()):
        raise OptionError(
            f"--force has no effect without {' or '.join(map(flag, targets))}: give both"
        )


def with_field_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return options keyed by field names; keys may be spelled as flags, with - or _."""
    fields = {spelling: name for name, spelling in RENAMED.items()}
    plain = {key.replace("-", "_"): value for key, value in values.items()}
    return {fields.get(key, key): value for key, value in plain.items()}


def to_json(config: Any) -> dict[str, Any]:
    """Return a config as a plain dictionary, without fields to omit that have their default."""
    data = dataclasses.asdict(config)
    for field in dataclasses.fields(config):
        option = option_of(field)
        if option is not None and option.omit and data[field.name] == field.default:
            del data[field.name]
    return data


def from_json(kind: type[T], data: Mapping[str, Any], where: str) -> T:
    """Return a config made from a dictionary.

    Raises:
        OptionError: a key is unknown or missing (the message names `where`), or a value is invalid.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            raise OptionError(f"{where}: unknown key '{excerpt(key)}': {nearest(key, fields)}")
    for name, field in fields.items():
        if name not in data and field.default is dataclasses.MISSING:
            raise OptionError(f"{where}: '{name}' is missing")
    return kind(**data)


def new_seed() -> int:
    """Return a random seed of at most ten digits."""
    return int.from_bytes(os.urandom(4))  # `secrets` does the same, but is slow to import
