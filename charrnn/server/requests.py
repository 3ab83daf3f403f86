"""From the body of a request to the settings that the command line has, and errors as sentences.

Names are those of OpenAI's protocol where it has one, and those of the command line for all else.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from charrnn.config import SampleConfig, UnknownOption
from charrnn.config.decoding import UnknownName
from charrnn.config.fields import check_choice, check_integer
from charrnn.config.inspection import NextOptions
from charrnn.errors import (
    CharRNNError,
    InputError,
    OptionError,
    PromptError,
    counted,
    excerpt,
    nearest,
)
from charrnn.server.limits import Limits
from charrnn.storage.files import load_json

_PLAIN = 32  # characters that take the memory of a named token
MAX_TOKENS = 200  # characters to write where a request does not say
# Fields of the protocol that are other names of ours, or that we have no use for.
_RENAMED = {"max_tokens": "length", "n": "num_samples"}
_IGNORED = ("user", "stream_options", "best_of", "suffix")
_OWN = ("model", "prompt", "stream", "echo", "logprobs")
_SETTINGS = tuple(f.name for f in dataclasses.fields(SampleConfig) if f.name != "unique")
_COMPLETION = (*_OWN, *_RENAMED, *_IGNORED, *_SETTINGS)
_SCORE = ("model", "text", "logprobs", "unknown")
_NEXT = ("model", "prompt", "unknown", *(f.name for f in dataclasses.fields(NextOptions)))
_ARGUMENT = re.compile(r"`(\w+)(?:=[^`]*)?`")


class RequestError(InputError):
    """A request that is refused.

    Attributes:
        status: of HTTP.
        kind: of the error, as the protocol names it.
        param: the field that is wrong, if it is one.
    """

    def __init__(
        self, message: str, status: int = 400, *, kind: str = "", param: str | None = None
    ) -> None:
        """Refuse a request with a sentence."""
        super().__init__(message)
        self.status, self.param = status, param
        self.kind = kind or ("invalid_request_error" if status < 500 else "server_error")


def refusal(error: CharRNNError) -> RequestError:
    """Return an error as the answer to a request."""
    if isinstance(error, RequestError):
        return error
    if not isinstance(error, InputError):
        return RequestError(str(error), 500)
    if isinstance(error, PromptError):
        return RequestError(str(error), param="prompt")
    named = _ARGUMENT.search(str(error))
    return RequestError(str(error), param=named[1] if named else None)


@dataclass(frozen=True)
class CompletionRequest:
    """What a request for texts asks for.

    Attributes:
        model: its name; None: the first one.
        prompts: what to continue.
        config: how, and how many texts for each prompt.
        stream: whether the texts are sent as they are written.
        echo: whether a text begins with its prompt.
        logprobs: how many likely tokens to name for each one written; None: no log-probabilities.
        usage: whether a stream ends with the number of characters.
    """

    model: str | None
    prompts: tuple[str, ...]
    config: SampleConfig
    stream: bool
    echo: bool
    logprobs: int | None
    usage: bool = False

    @property
    def texts(self) -> int:
        """Return how many texts are written."""
        return self.config.num_samples * len(self.prompts)

    @property
    def named(self) -> int:
        """Return how many tokens an answer names at most, or what takes as much memory."""
        characters = self.config.length * self.texts
        if self.echo:
            characters += sum(map(len, self.prompts)) * self.config.num_samples
        if self.logprobs is None:
            return 0 if self.stream else characters // _PLAIN
        return characters * max(1, self.logprobs)


@dataclass(frozen=True)
class ScoreRequest:
    """What a request for a score asks for.

    Attributes:
        model: its name; None: the first one.
        text: to score.
        logprobs: how many likely tokens to name for each one.
        unknown: what happens to characters that the model does not know.
    """

    model: str | None
    text: str
    logprobs: int
    unknown: str

    @property
    def named(self) -> int:
        """Return how many tokens an answer names."""
        return len(self.text) * max(1, self.logprobs)


@dataclass(frozen=True)
class NextRequest:
    """What a request for the next character asks for.

    Attributes:
        model: its name; None: the first one.
        prompt: what comes before.
        options: which settings to compare, and the size of the beam tree.
        unknown: what happens to characters that the model does not know.
    """

    model: str | None
    prompt: str
    options: NextOptions
    unknown: str

    @property
    def named(self) -> int:
        """Return how many tokens an answer names besides those of the tree, which is small."""
        return self.options.symbols


def completion_request(body: bytes, limits: Limits) -> CompletionRequest:
    """Return what a body asks for.

    Raises:
        RequestError: it is not JSON, or a field is wrong.
        OptionError: a setting is invalid.
    """
    fields = _fields(body, _COMPLETION)
    _check_ignored(fields)
    settings = {name: fields[name] for name in _SETTINGS if name in fields}
    for theirs, ours in _RENAMED.items():
        if theirs in fields:
            if ours in settings:
                raise RequestError(f"{theirs} and {ours} are the same: give one", param=theirs)
            settings[ours] = fields[theirs]
    _check_types(settings, limits)
    config = SampleConfig(**{"length": MAX_TOKENS, **settings})
    prompts = _prompts(fields.get("prompt", ""), limits)
    _check_size(config, prompts, limits)
    options = fields.get("stream_options")
    asked = CompletionRequest(
        _string(fields, "model"),
        prompts,
        config,
        _switch(fields, "stream"),
        _switch(fields, "echo"),
        _count(fields, "logprobs", limits),
        isinstance(options, dict) and options.get("include_usage") is True,
    )
    _check_named(asked, limits)
    return asked


def score_request(body: bytes, limits: Limits) -> ScoreRequest:
    """Return what a body asks for; errors as for `completion_request`."""
    fields = _fields(body, _SCORE)
    text = _string(fields, "text")
    if not text:
        raise RequestError("text is missing or empty: there is nothing to score", param="text")
    if len(text) > limits.score:
        raise RequestError(
            f"text has {len(text):,} characters, and at most {limits.score:,} are scored: use "
            "'charrnn score' for longer ones",
            param="text",
        )
    unknown = _unknown(fields)
    logprobs = _count(fields, "logprobs", limits) or 0
    asked = ScoreRequest(_string(fields, "model"), text, logprobs, unknown)
    _check_named(asked, limits)
    return asked


def next_request(body: bytes, limits: Limits) -> NextRequest:
    """Return what a body asks for; errors as for `completion_request`."""
    fields = _fields(body, _NEXT)
    options = NextOptions(**{name: fields[name] for name in fields if name not in _NEXT[:3]})
    if options.symbols > limits.logprobs:
        raise RequestError(f"symbols must be at most {limits.logprobs}", param="symbols")
    prompt, unknown = _string(fields, "prompt") or "", _unknown(fields)
    return NextRequest(_string(fields, "model"), prompt, options, unknown)


def _unknown(fields: Mapping[str, Any]) -> str:
    unknown = fields.get("unknown", UnknownOption.unknown)
    check_choice("unknown", unknown, get_args(UnknownName))
    return str(unknown)


def _fields(body: bytes, known: Collection[str]) -> dict[str, Any]:
    """Return the fields of a body that are not null."""
    try:
        fields = load_json(body)
    except ValueError as error:
        raise RequestError(f"the body is not JSON: {excerpt(error)}") from None
    if not isinstance(fields, dict):
        raise RequestError('the body must be a JSON object, such as {"prompt": "Once"}')
    for name in fields:
        if name not in known:
            advice = nearest(name, [each for each in known if each not in _IGNORED])
            raise RequestError(f"'{excerpt(name)}' is not known: {advice}", param=excerpt(name))
    return {name: value for name, value in fields.items() if value is not None}


def _check_ignored(fields: Mapping[str, Any]) -> None:
    """Refuse what would be ignored, although it would change the answer."""
    if fields.get("suffix"):
        raise RequestError(
            "suffix is not possible: a model writes from left to right ('charrnn fill' fills gaps)",
            param="suffix",
        )
    count = fields.get("n", fields.get("num_samples", 1))
    if fields.get("best_of", count) != count:
        raise RequestError("best_of must be n: 'charrnn beam' finds best texts", param="best_of")


def _check_types(settings: Mapping[str, Any], limits: Limits) -> None:
    """Refuse what JSON allows and the command line does not."""
    for name in ("regex", "allow", "forbid"):
        _check_strings(name, [settings.get(name, "")], limits)
    stop, bias = settings.get("stop", []), settings.get("logit_bias", {})
    _check_strings("stop", [stop] if isinstance(stop, str) else stop, limits)
    if not isinstance(bias, dict):
        raise RequestError("logit_bias must be an object: token to number", param="logit_bias")


def _check_strings(name: str, values: Any, limits: Limits) -> None:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        kind = "a string or a list of strings" if name == "stop" else "a string"
        raise RequestError(f"{name} must be {kind}", param=name)
    if len(values) > limits.stops or any(len(value) > limits.pattern for value in values):
        raise RequestError(
            f"{name} is too long: at most {limits.pattern:,} characters, and {limits.stops} stop "
            "strings",
            param=name,
        )


def _prompts(given: Any, limits: Limits) -> tuple[str, ...]:
    prompts = [given] if isinstance(given, str) else given
    if not isinstance(prompts, list) or not all(isinstance(each, str) for each in prompts):
        raise RequestError(
            "prompt must be a string or a list of strings: there are no token ids to give",
            param="prompt",
        )
    if not 1 <= len(prompts) <= limits.prompts:
        raise RequestError(
            f"prompt has {counted(len(prompts), 'text')}: give 1 to {limits.prompts}",
            param="prompt",
        )
    return tuple(prompts)


def _check_size(config: SampleConfig, prompts: Collection[str], limits: Limits) -> None:
    if config.length > limits.length:
        raise RequestError(
            f"max_tokens {config.length} is too many: at most {limits.length} characters are "
            "written at a time",
            param="max_tokens",
        )
    texts = config.num_samples * len(prompts)
    if texts > limits.rows or texts * config.length > limits.characters:
        raise RequestError(
            f"n is too many: at most {limits.rows} texts at a time, of {limits.characters:,} "
            "characters together",
            param="n",
        )


def _check_named(asked: CompletionRequest | ScoreRequest, limits: Limits) -> None:
    """Refuse answers that would be very long, mostly because they name likely tokens."""
    if asked.named <= limits.named:
        return
    if asked.logprobs is None:  # `echo` repeats the prompts
        raise RequestError(
            "an answer in which so many texts begin with so long a prompt is too long: ask for "
            "fewer texts, for a stream, or without echo",
            param="echo",
        )
    raise RequestError(
        f"logprobs {asked.logprobs} for so long a text would name {asked.named:,} tokens: at "
        f"most {limits.named:,} are named in an answer",
        param="logprobs",
    )


def _count(fields: Mapping[str, Any], name: str, limits: Limits) -> int | None:
    value = fields.get(name)
    if isinstance(value, bool):  # as requests for chats say it
        return 0 if value else None
    try:
        return None if value is None else check_integer(name, value, 0, limits.logprobs)
    except OptionError as error:
        raise RequestError(error.message, param=name) from None


def _string(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise RequestError(f"{name} must be a string", param=name)
    return value


def _switch(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name, False)
    if not isinstance(value, bool):
        raise RequestError(f"{name} must be true or false", param=name)
    return value
