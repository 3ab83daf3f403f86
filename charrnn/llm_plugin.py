"""A plugin of the command-line tool ``llm``: the runs in ./runs as its models.

    llm -m charrnn/shakespeare-1 "Once" -o temperature 0.7 -o max_tokens 300

``llm`` finds it by the entry point ``llm`` of this package. A prompt is continued, no instruction
followed; in a conversation all that was written before is the text to continue. ``charrnn/newest``
is the model that every command takes by default. Options are those of `charrnn.config.SampleConfig`
by the names of Python's arguments; ``max_tokens`` is another name of ``length``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import llm
from pydantic import Field, create_model

from charrnn.config import SampleConfig
from charrnn.config.signature import SAMPLE
from charrnn.errors import CharRNNError
from charrnn.run_dir.find import runs_in
from charrnn.terminal import visible

if TYPE_CHECKING:
    from charrnn.generator import Generator

NEWEST = "newest"
_WORDS = ("user", "assistant")  # whose messages are text to continue


def _options() -> type[Any]:
    """Return the class of the options, as ``llm`` reads and lists them."""
    fields: dict[str, Any] = {
        keyword.name: (keyword.option.type | None, Field(None, description=keyword.help))
        for keyword in SAMPLE
        if keyword.name != "logit_bias"  # several values, which -o cannot give
    }
    fields["max_tokens"] = (int | None, Field(None, description="Characters to write: length."))
    return cast("type[Any]", create_model("Options", __base__=llm.Options, **fields))


class CharRNN(llm.Model):  # type: ignore[misc]
    """A trained model, loaded when it is first asked."""

    can_stream = True
    Options = _options()

    def __init__(self, name: str, path: Path | None) -> None:
        """Name a model; without a path it is the one that every command takes."""
        self.model_id, self._path = f"charrnn/{name}", path

    @cached_property
    def _generator(self) -> Generator:
        from charrnn.generator import Generator
        from charrnn.run_dir import find_model, read_model

        return Generator(read_model(find_model(self._path)), notify=_note)

    def execute(self, prompt: Any, stream: bool, response: Any, conversation: Any) -> Iterator[str]:
        """Yield what follows the text of a conversation, in pieces as it is written."""
        if prompt.system:
            raise llm.ModelError(
                "this model continues a text and follows no instructions: leave "
                "the system prompt out"
            )
        said = (part for each in prompt.messages if each.role in _WORDS for part in each.parts)
        text = "".join(getattr(part, "text", "") for part in said)
        given = {name: value for name, value in prompt.options if value is not None}
        try:
            if "max_tokens" in given:
                given["length"] = given.pop("max_tokens")
            pieces = self._generator.stream(text, SampleConfig(**given))
            yield from pieces if stream else ["".join(pieces)]
        except CharRNNError as error:
            raise llm.ModelError(str(error)) from error


def _note(sentence: str) -> None:
    sys.stderr.write(f"{visible(sentence)}\n")


@llm.hookimpl  # type: ignore[untyped-decorator]
def register_models(register: Callable[..., None]) -> None:
    """Tell ``llm`` the runs in ./runs that have a model, and the model of every command."""
    register(CharRNN(NEWEST, None))
    for run in runs_in():
        if run.model.exists() and run.path.name != NEWEST:
            register(CharRNN(run.path.name, run.path))
