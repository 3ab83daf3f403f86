"""Keyword arguments of Python functions, made from the fields of config classes.

A function takes ``**options`` whose type is a TypedDict of `charrnn.config.keywords`, which type
checkers and editors read; that file is generated from the tables at the end of this one. At run
time `Keywords` gives the function a signature and a documentation with every name, type, default
and help text, and refuses other names.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from charrnn.config.decoding import (
    GREEDY_FIELDS,
    BeamConfig,
    EngineOptions,
    SampleConfig,
)
from charrnn.config.fields import RENAMED, Option, Options, option_of, position, with_field_names
from charrnn.config.filling import FillConfig
from charrnn.config.run import RunOptions
from charrnn.config.training import TrainOptions
from charrnn.errors import in_python

F = TypeVar("F", bound=Callable[..., Any])


@dataclasses.dataclass(frozen=True)
class Keyword:
    """One keyword argument.

    Attributes:
        name: as callers spell it.
        field: the name of its field.
        type: its type, as source text: a field's annotation, the names of a choice, or a path.
        default: the field's.
        option: what the field declares.
    """

    name: str
    field: str
    type: str
    default: Any
    option: Option

    @functools.cached_property
    def parameter(self) -> inspect.Parameter:
        """Return it as a parameter of a signature."""
        kind, annotation = inspect.Parameter.KEYWORD_ONLY, _Source(self.type)
        return inspect.Parameter(self.name, kind, default=self.default, annotation=annotation)

    @property
    def help(self) -> str:
        """Return what it does and its default, for a Python caller."""
        shown = self.option.shown or repr(self.default)
        return in_python(f"{self.option.help} Default: {shown}.")

    @functools.cached_property
    def lines(self) -> tuple[str, ...]:
        """Its lines in the documentation of a function."""
        wrapped = textwrap.indent(textwrap.fill(self.help, 80), " " * 8)
        return (f"    {self.name}: {self.type}", *wrapped.splitlines())


class _Source:
    """A type that a signature shows as its source text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


class Keywords:
    """The fields of config classes as keyword arguments."""

    def __init__(
        self,
        *kinds: type[Options],
        only: Collection[str] = (),
        without: Mapping[str, str] | None = None,
    ) -> None:
        """Take all fields that declare an option.

        Args:
            kinds: the classes.
            only: if given, take only these fields.
            without: fields to leave out, each with the advice for callers who give it.
        """
        self._kinds: tuple[Any, ...] = kinds  # classes, which mypy takes for unhashable
        self._only, self._without = only, without or {}

    def __iter__(self) -> Iterator[Keyword]:
        """Yield the keywords in the order of the command line's help."""
        taken = [keyword for kind in self._kinds for keyword in _keywords(kind)]
        kept = filter(self._takes, taken)
        return iter(sorted(kept, key=lambda each: position(each.name, each.option.panel)))

    def _takes(self, keyword: Keyword) -> bool:
        name = keyword.field
        return name not in self._without and (not self._only or name in self._only)

    def check(self, function: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the given keywords by the names of their fields.

        Raises:
            TypeError: a name is not known; names the nearest one.
        """
        values = with_field_names(given)
        fields = {keyword.field: keyword.name for keyword in self}
        for name in values.keys() - fields.keys():
            if name in self._without:
                raise TypeError(f"{function} has no argument '{name}': {self._without[name]}")
            close = difflib.get_close_matches(name, fields.values(), n=1)
            advice = f"did you mean '{close[0]}'?" if close else f"see help({function})"
            raise TypeError(f"{function} has no argument '{name}': {advice}")
        return values

    def document(self, function: F) -> F:
        """Give a function that takes them as ``**options`` its signature and documentation."""
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        function.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*own, *(keyword.parameter for keyword in self)]
        )
        lines = ["Options:"]
        for keyword in self:
            lines += keyword.lines
        described = inspect.cleandoc(function.__doc__ or "")
        function.__doc__ = described + "\n\n" + "\n".join(lines) + "\n"
        return function


@functools.cache
def _keywords(kind: type[Options]) -> tuple[Keyword, ...]:
    """Return a keyword for each field of a config class that declares an option.

    Several functions take most of them; to describe each once saves some of the time of a start.
    """
    declared = ((field, option_of(field)) for field in dataclasses.fields(kind))
    return tuple(
        Keyword(
            RENAMED.get(field.name, field.name),
            field.name,
            _python_type(field, option),
            field.default,
            option,
        )
        for field, option in declared
        if option is not None and not option.hidden
    )


def _python_type(field: dataclasses.Field[Any], option: Option) -> str:
    """Return the type of a field as Python callers give it."""
    kind = str(field.type)
    if option.type is Path:
        return kind.replace("Path", "str | PathLike[str]")
    if option.closed:
        names = ", ".join(f'"{name}"' for name in option.values)
        return kind.replace("str", f"Literal[{names}]", 1)
    return kind


TRAIN = Keywords(
    RunOptions, TrainOptions, without={"seeds": "charrnn.train_seeds() trains several runs"}
)
TRAIN_SEEDS = Keywords(RunOptions, TrainOptions)
LOAD = Keywords(EngineOptions)
_SEVERAL = "samples() returns several texts"
SAMPLE = Keywords(SampleConfig, without={"num_samples": _SEVERAL, "unique": _SEVERAL})
SAMPLES = Keywords(SampleConfig)
GREEDY = Keywords(SampleConfig, only=GREEDY_FIELDS)
BEAM = Keywords(BeamConfig, without={"num_return": "beams() returns several texts"})
BEAMS = Keywords(BeamConfig)
FILL = Keywords(FillConfig, without={"num_samples": "fills() returns several texts"})
FILLS = Keywords(FillConfig)
