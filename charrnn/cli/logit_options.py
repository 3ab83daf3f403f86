"""Options of ``sample`` and ``greedy`` that change the model's logits before a symbol is chosen."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

import typer

from charrnn.errors import OptionError

_PANEL = "Penalties"
_ESCAPES = re.compile(r"(\\([nrt\\]|x[\da-fA-F]{2}|u[\da-fA-F]{4}|U000[\da-fA-F]{5}))+", re.ASCII)

RepeatPenaltyOption = Annotated[
    float,
    typer.Option(
        help="Divide positive logits of recent symbols, multiply negative ones; 1 is neutral.",
        rich_help_panel=_PANEL,
    ),
]
PresencePenaltyOption = Annotated[
    float,
    typer.Option(
        help="Taken from the logit of every recent symbol; 0 is neutral.", rich_help_panel=_PANEL
    ),
]
FrequencyPenaltyOption = Annotated[
    float,
    typer.Option(
        help="The same, for each time that the symbol occurs; 0 is neutral.",
        rich_help_panel=_PANEL,
    ),
]
RepeatLastNOption = Annotated[
    int,
    typer.Option(
        help="How many symbols are recent, the prompt's included; -1: all.",
        rich_help_panel=_PANEL,
    ),
]
NoRepeatNgramSizeOption = Annotated[
    int,
    typer.Option(
        help="Write no run of N symbols twice, as long as there is another; 0 is neutral.",
        rich_help_panel=_PANEL,
    ),
]
LogitBiasOption = Annotated[
    list[str] | None,
    typer.Option(
        help="SYMBOL=NUMBER is added to the symbol's logit, -100 forbids it; \\n, \\t and \\u00e9 "
        "are understood; may be repeated.",
        show_default="none",
        rich_help_panel=_PANEL,
    ),
]


def biases(given: Sequence[str] | None) -> tuple[tuple[str, float], ...]:
    """What ``--logit-bias`` says: symbols and numbers.

    The last = divides them, so that ``==-2`` is about the symbol =.

    Raises:
        OptionError: there is no symbol, or no number.
    """
    return tuple(map(_bias, given or ()))


def _bias(text: str) -> tuple[str, float]:
    symbol, _, number = text.rpartition("=")
    try:
        if not symbol:
            raise ValueError
        return _unescaped(symbol), float(number)
    except ValueError as error:
        raise OptionError(
            f"--logit-bias {text!a} must be SYMBOL=NUMBER, as x=-2 or \\n=1.5"
        ) from error


def _unescaped(symbol: str) -> str:
    """Escapes as in Python's strings; a backslash alone is itself."""
    if symbol == "\\" or not symbol.startswith("\\"):
        return symbol
    if not _ESCAPES.fullmatch(symbol):
        raise ValueError
    return symbol.encode("ascii").decode("unicode_escape")
