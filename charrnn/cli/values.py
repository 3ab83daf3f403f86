"""Turn the words of a command line into values: text, numbers, paths, and lists of these.

Typer would do so with pydantic, whose import takes longer than all else that a command loads.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin

import typer
import typer.core

from charrnn.config.fields import read_integer, read_number


def _whole(given: Any) -> int:
    """Return a whole number: a word of the command line, or a default."""
    return read_integer(given) if isinstance(given, str) else int(given)


def _number(given: Any) -> float:
    return read_number(given) if isinstance(given, str) else float(given)


_KINDS: dict[Any, tuple[Callable[[Any], Any], str]] = {
    bool: (bool, ""),
    str: (str, ""),
    Path: (Path, ""),
    int: (_whole, "this must be a whole number, such as 100"),
    float: (_number, "this must be a number, such as 0.5"),
}


class _Reader(NamedTuple):
    """Reads the values of one parameter.

    Attributes:
        convert: makes a value of a word.
        error: what is said about a word of which it cannot.
        many: whether the parameter takes a list.
    """

    convert: Callable[[Any], Any]
    error: str
    many: bool

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the value of a parameter: None, or none at all, if it was not given."""
        if value is None:
            return () if self.many else None
        try:
            return list(map(self.convert, value)) if self.many else self.convert(value)
        except (ValueError, OverflowError):
            raise typer.BadParameter(self.error, ctx=ctx, param=param) from None


def read_values() -> None:
    """Let Typer read all values in this way."""

    def reader(parameter: Any) -> _Reader:
        kind = parameter.type_descriptor.annotation
        many = get_origin(kind) is list
        return _Reader(*_KINDS[get_args(kind)[0] if many else kind], many)

    for kind in (typer.core.TyperOption, typer.core.TyperArgument):
        setattr(kind, "get_runtime_param", reader)  # noqa: B010 (mypy knows it as a method)
