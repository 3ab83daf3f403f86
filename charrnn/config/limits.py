"""Limits on a generated text: a regular expression, characters, lines."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import Any

from charrnn.config.fields import LIMITS, MAX_LENGTH, Options, flag, integer, string
from charrnn.errors import OptionError, excerpt


def _check_pattern(name: str, value: Any, pattern: str | None = None) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about syntax that a later Python may read differently
            re.compile(pattern or value)
    except (re.error, OverflowError, RecursionError) as error:
        raise OptionError(
            f"{flag(name)} '{excerpt(value)}' is not a valid pattern: {error}"
        ) from None
    return value


def _check_characters(name: str, value: Any) -> Any:
    _check_pattern(name, value, f"[{value}]")
    if not re.fullmatch(r"(?:[^\]\\]|\\.)+", value, re.S):
        raise OptionError(
            f"{flag(name)} '{excerpt(value)}' is not a set of characters: write what goes between "
            r"[ and ] in a regular expression, such as a-z\d; write brackets as \[ \]"
        )
    return value


@dataclass(frozen=True, kw_only=True)
class Limits(Options):
    """What a generated text must look like, character by character; by default anything."""

    regex: str | None = string(
        None,
        "The whole text must match this regular expression (Python syntax); a text that matches "
        "ends before the first character that would not.",
        _check_pattern,
        panel=LIMITS,
        shown="none",
    )
    allow: str | None = string(
        None,
        "Write only these characters, given as in the brackets of a regular expression: a-z. An "
        "emoji may be several characters.",
        _check_characters,
        panel=LIMITS,
        shown="all",
    )
    forbid: str | None = string(
        None,
        "Never write these characters, given as in the brackets of a regular expression: 0-9.",
        _check_characters,
        panel=LIMITS,
        shown="none",
    )
    max_lines: int | None = integer(
        1, MAX_LENGTH, None, "End the text after this many lines.", panel=LIMITS, shown="no limit"
    )

    @property
    def limits(self) -> Limits:
        """Return the limits alone, without the other options of a subclass."""
        return Limits(
            regex=self.regex, allow=self.allow, forbid=self.forbid, max_lines=self.max_lines
        )
