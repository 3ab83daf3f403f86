"""From the fields of config classes to the flags of a command.

A command declares a parameter of a config class (`SampleConfig`) and receives a checked object; the
decorator `configured` gives Typer one flag for each field. `Only` selects some of the fields, and
`Given` asks for the values that the user gave instead of an object.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Annotated, Any, get_args, get_origin

import typer

from charrnn.config.fields import PANELS, RENAMED, Option, Options, flag, option_of

Field = dataclasses.Field[Any]


class Only:
    """Annotation: a command has flags for these fields only; keywords change their defaults."""

    def __init__(self, *names: str, panel: str | None = None, **defaults: Any) -> None:
        """Select fields.

        Args:
            names: of the fields.
            panel: where the help lists them instead of in the panels of the fields.
            defaults: of fields, which need not be named again.
        """
        self.names, self.panel, self.defaults = {*names, *defaults}, panel, defaults


class Given:
    """Annotation of a dictionary: the options of a config class that the user gave, by field."""

    def __init__(self, kind: type[Options]) -> None:
        """The values are not checked: they may be completed before an object is made."""
        self.kind = kind


class _Config:
    """A parameter of a command that stands for the fields of a config class."""

    def __init__(self, annotation: Any) -> None:
        base, *notes = get_args(annotation) if get_origin(annotation) is Annotated else [annotation]
        given = next((note for note in notes if isinstance(note, Given)), None)
        self.only = next((note for note in notes if isinstance(note, Only)), None)
        self.kind: type[Options] = given.kind if given else base
        self.as_object = given is None

    def fields(self) -> Iterator[tuple[Field, Option, Any]]:
        """Yield each field that has a flag, with its option and its default."""
        for field in dataclasses.fields(self.kind):
            option = option_of(field)
            if option is None or (self.only and field.name not in self.only.names):
                continue
            default = field.default
            if self.only:
                if field.name in self.only.defaults:
                    default = self.only.defaults[field.name]
                    option = dataclasses.replace(option, shown="")
                panel = self.only.panel
                option = option if panel is None else dataclasses.replace(option, panel=panel)
            yield field, option, default

    def parameters(self) -> Iterator[inspect.Parameter]:
        """Yield what Typer shall read: one parameter for each flag, hidden ones included."""
        for field, option, default in self.fields():
            yield _parameter(field.name, option, default)
            if field.name in RENAMED:
                yield _parameter(field.name, option, default, hidden=True)

    def value(self, values: dict[str, Any], context: typer.Context) -> Any:
        """Take the fields out of a command's values; return the object, or what was given."""
        found, given = {}, set()
        for field, option, default in self.fields():
            names = [field.name, *([_hidden(field.name)] if field.name in RENAMED else [])]
            read = {name: values.pop(name) for name in names}
            name = next((name for name in names if was_given(context, name)), None)
            found[field.name] = default if name is None else _parsed(option, read[name])
            if name is not None:
                given.add(field.name)
        if self.as_object:
            return self.kind(**found)
        return {name: found[name] for name in found if name in given}


def configured(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command receive config objects in place of their fields, one flag for each field."""
    signature = inspect.signature(command, eval_str=True)
    configs = {
        name: _Config(parameter.annotation)
        for name, parameter in signature.parameters.items()
        if _is_config(parameter.annotation)
    }
    parameters = [inspect.Parameter("_context", _KEYWORD, annotation=typer.Context)]
    for name, parameter in signature.parameters.items():
        if name in configs:
            parameters += configs[name].parameters()
        else:
            parameters.append(parameter.replace(kind=_KEYWORD))

    @functools.wraps(command)
    def run(*, _context: typer.Context, **values: Any) -> Any:
        made = {name: config.value(values, _context) for name, config in configs.items()}
        return command(**values, **made)

    parameters.sort(key=_panel)  # stable: within a panel, the order of declaration
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    del run.__dict__["__wrapped__"]  # Typer would read the command's own annotations
    return run


def was_given(context: typer.Context, name: str) -> bool:
    """Return whether the user gave a parameter of the command."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def _is_config(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        base, *notes = get_args(annotation)
        return any(isinstance(note, Given) for note in notes) or _is_config(base)
    return isinstance(annotation, type) and issubclass(annotation, Options)


def _parameter(
    name: str, option: Option, default: Any, *, hidden: bool = False
) -> inspect.Parameter:
    names = ["--" + name.replace("_", "-")] if hidden else [flag(name), option.short]
    info = typer.Option(
        *filter(None, names),
        help=option.help,
        show_default=option.shown or True,
        rich_help_panel=option.panel or None,
        hidden=hidden or option.hidden,
    )
    kind: Any = list[option.type] if option.many else option.type  # type: ignore[name-defined]
    if option.many or default is None:
        kind, default = kind | None, None
    return inspect.Parameter(
        _hidden(name) if hidden else name,
        _KEYWORD,
        default=default,
        annotation=Annotated[kind, info],
    )


def _hidden(name: str) -> str:
    """Return the parameter that holds the hidden flag of a renamed field."""
    return f"{name}_renamed"


def _parsed(option: Option, value: Any) -> Any:
    if option.many:
        return tuple(map(option.parse, value) if option.parse else value)
    return option.parse(value) if option.parse else value


def _panel(parameter: inspect.Parameter) -> int:
    """Return where the help shows the panel of a parameter."""
    notes = get_args(parameter.annotation)[1:] if _is_annotated(parameter) else ()
    panel = next((getattr(note, "rich_help_panel", None) for note in notes), None)
    return PANELS.index(panel) + 1 if panel in PANELS else 0


def _is_annotated(parameter: inspect.Parameter) -> bool:
    return get_origin(parameter.annotation) is Annotated


def words_of(config: Options, kind: type[Options]) -> list[str]:
    """Return the flags that give the fields of `kind` the values that they have in `config`."""
    from charrnn.config import escape

    words: list[str] = []
    for field in dataclasses.fields(kind):
        value = getattr(config, field.name)
        if value != field.default:
            for each in value if isinstance(value, tuple) else (value,):
                words += [flag(field.name), escape(str(each))]
    return words
