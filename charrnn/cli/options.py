"""From the fields of config classes to the flags of a command.

A command declares a parameter of a config class, such as `SampleConfig`, and receives a checked
object; the decorator `configured` gives Typer one flag for each field. `Only` selects some of the
fields, and `Given` asks for the values that the user gave instead of an object.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, get_args, get_origin

import typer

from charrnn.cli import completion
from charrnn.config import CellName
from charrnn.config.fields import RENAMED, Option, Options, flag, option_of, position

_KEYWORD = inspect.Parameter.KEYWORD_ONLY


class Only:
    """Annotation: a command has flags for these fields only; keywords change their defaults."""

    def __init__(
        self,
        *names: str,
        panel: str | None = None,
        shown: Mapping[str, str] | None = None,
        helps: Mapping[str, str] | None = None,
        **defaults: Any,
    ) -> None:
        """Select fields.

        Args:
            names: the fields.
            panel: where the help lists them instead of in their own panels.
            shown: what the help shows as the defaults of some.
            helps: what the help says about some, in place of their own sentences.
            defaults: other defaults; these fields need not be named again.
        """
        self.names, self.panel, self.defaults = {*names, *defaults}, panel, defaults
        self.shown, self.helps = shown or {}, helps or {}

    def adapt(self, option: Option, name: str) -> Option:
        """Return the option as this command shows it."""
        if name in self.defaults:
            option = dataclasses.replace(option, shown="")
        if name in self.helps:
            option = dataclasses.replace(option, help=self.helps[name])
        if name in self.shown:
            option = dataclasses.replace(option, shown=self.shown[name])
        return option if self.panel is None else dataclasses.replace(option, panel=self.panel)


@dataclass(frozen=True)
class Given:
    """Annotation of a dictionary: the options of a class that the user gave, not yet checked."""

    kind: type[Options]


class _Flag(NamedTuple):
    """One flag of a command, and the parameter and the field that it belongs to."""

    parameter: str
    field: str
    option: Option
    default: Any
    old_spelling: bool = False

    def for_typer(self) -> inspect.Parameter:
        """Return the parameter that Typer reads."""
        option, default = self.option, self.default
        old = "--" + self.field.replace("_", "-")
        names = [old] if self.old_spelling else filter(None, [flag(self.field), option.short])
        info = typer.Option(
            *names,
            help=option.help,
            show_default=option.shown or True,
            rich_help_panel=option.panel or None,
            hidden=self.old_spelling or option.hidden,
            autocompletion=_completion(self.field, option),
        )
        kind: Any = list[option.type] if option.many else option.type  # type: ignore[name-defined]
        if default is dataclasses.MISSING:
            default = inspect.Parameter.empty  # the flag must be given
        elif option.many or default is None:
            kind, default = kind | None, None
        annotation = Annotated[kind, info]
        return inspect.Parameter(self.parameter, _KEYWORD, default=default, annotation=annotation)

    def parse(self, value: Any) -> Any:
        """Return the field's value for what Typer read."""
        parse = self.option.parse or (named_cell if self.field == "cell" else lambda text: text)
        return tuple(map(parse, value)) if self.option.many else parse(value)


def _completion(field: str, option: Option) -> Callable[..., Sequence[str]] | None:
    return completion.FIELDS.get(field, (lambda: option.values) if option.values else None)


def named_cell(given: str) -> str:
    """Return what configs call the cell that the command line names, after running its file.

    It may end in the scale of its weights, as in irnn:1.1.
    """
    name, scale = re.fullmatch(r"(.*?)(:[0-9.]*)?", given, re.DOTALL).groups("")  # type: ignore[union-attr]
    if name in get_args(CellName):
        return given
    from charrnn.compiler.cell_file import use

    return use(name) + scale


class _Config:
    """A parameter of a command that stands for the fields of a config class."""

    def __init__(self, annotation: Any) -> None:
        base, notes = _type_and_notes(annotation)
        given = next((note for note in notes if isinstance(note, Given)), None)
        self._kind: type[Options] = given.kind if given else base
        self._as_object = given is None
        self._only = next((note for note in notes if isinstance(note, Only)), None)

    def flags(self) -> Iterator[_Flag]:
        """Yield the flags; the old spelling of a renamed field is a hidden one."""
        for field in dataclasses.fields(self._kind):
            name, option, default = field.name, option_of(field), field.default
            if option is None or (self._only and name not in self._only.names):
                continue
            if self._only:
                option = self._only.adapt(option, name)
                default = self._only.defaults.get(name, default)
            yield _Flag(name, name, option, default)
            if name in RENAMED:
                yield _Flag(f"{name}_old", name, option, default, old_spelling=True)

    def take(self, values: dict[str, Any], context: typer.Context) -> Any:
        """Remove the fields from a command's values; return the object, or what was given."""
        found: dict[str, Any] = {}
        defaults: dict[str, Any] = {}
        for each in self.flags():
            value = values.pop(each.parameter)
            defaults[each.field] = each.default
            if _was_given(context, each.parameter):
                found[each.field] = each.parse(value)
        return self._kind(**defaults | found) if self._as_object else found


def configured(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command receive config objects in place of their fields, one flag for each field."""
    declared = inspect.signature(command, eval_str=True).parameters
    configs = {
        name: _Config(parameter.annotation)
        for name, parameter in declared.items()
        if _is_config(parameter.annotation)
    }
    parameters = [inspect.Parameter("_context", _KEYWORD, annotation=typer.Context)]
    for name, parameter in declared.items():
        if name in configs:
            parameters += [each.for_typer() for each in configs[name].flags()]
        else:
            parameters.append(parameter.replace(kind=_KEYWORD))
    parameters.sort(key=_position)  # stable: otherwise, the order of declaration

    @functools.wraps(command)
    def run(*, _context: typer.Context, **values: Any) -> Any:
        objects = {name: config.take(values, _context) for name, config in configs.items()}
        return command(**values, **objects)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    del run.__dict__["__wrapped__"]  # Typer would read the annotations of the command itself
    return run


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _type_and_notes(annotation: Any) -> tuple[Any, list[Any]]:
    """Return a type and its notes."""
    if get_origin(annotation) is not Annotated:
        return annotation, []
    base, *notes = get_args(annotation)
    return base, notes


def _is_config(annotation: Any) -> bool:
    base, notes = _type_and_notes(annotation)
    return any(isinstance(note, Given) for note in notes) or (
        isinstance(base, type) and issubclass(base, Options)
    )


def _position(parameter: inspect.Parameter) -> tuple[int, int]:
    """Return where the help shows a parameter; the command's own arguments come first."""
    _, notes = _type_and_notes(parameter.annotation)
    panel = next((getattr(note, "rich_help_panel", None) for note in notes), None)
    return position(parameter.name, panel)
