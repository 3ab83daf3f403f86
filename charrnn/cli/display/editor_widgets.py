"""Parts of the screen of ``charrnn write``: the text, the line below it, and that of a question."""

from __future__ import annotations

from collections.abc import Callable

from prompt_toolkit.buffer import Buffer
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.layout import (
    BufferControl,
    ConditionalContainer,
    FormattedTextControl,
    VSplit,
    Window,
)
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput

from charrnn.cli.display.editor_draft import Draft
from charrnn.config import SampleConfig
from charrnn.errors import CharRNNError, counted
from charrnn.terminal import character_name, visible

TAB = "    "
MAX_UNKNOWN = 5  # unknown characters that a line names


class Question:
    """A line that asks for something; hidden while `text` is empty.

    Args:
        report: shows the message of a CharRNNError, after which the person can answer again.
        close: called when the question was answered.
    """

    def __init__(self, report: Callable[[str], None], close: Callable[[], None]) -> None:
        self.text = ""
        self.buffer = Buffer(multiline=False, accept_handler=lambda buffer: self._accept())
        self._report, self._close = report, close
        self._answer: Callable[[str], None] = lambda typed: None
        line = VSplit(
            [
                Window(FormattedTextControl(lambda: self.text), dont_extend_width=True),
                Window(BufferControl(self.buffer)),
            ],
            height=1,
        )
        self.container = ConditionalContainer(line, Condition(lambda: bool(self.text)))

    def ask(self, question: str, answer: Callable[[str], None]) -> None:
        """Show a question; `answer` is called with what the person typed."""
        self.text, self._answer = f" {question}", answer
        self.buffer.reset()

    def _accept(self) -> bool:
        """Take what was typed; return whether it stays in the line."""
        try:
            self._answer(self.buffer.text.strip())
        except CharRNNError as error:
            self._report(error.message)
            return True
        self._close()
        return False


class VisibleText(Processor):
    """Makes each line safe for a terminal and marks the continuation and unknown characters."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft

    def apply_transformation(self, given: TransformationInput) -> Transformation:
        """Return the line with each character in its visible form."""
        line, document = given.document.lines[given.lineno], given.document
        first = document.translate_row_col_to_index(given.lineno, 0)
        continuation = self._draft.continuation
        start = continuation.start if continuation else len(document.text)
        shown: StyleAndTextTuples = []
        columns = [0]  # where each character begins on the screen
        for index, character in enumerate(line):
            style = "class:continuation" if first + index >= start else ""
            if self._draft.alphabet.lacks(character):
                style = "class:unknown"
            last = index == len(line) - 1 and given.lineno < document.line_count - 1
            form = _visible_character(character, before_line_feed=last)
            shown.append((style, form))
            columns.append(columns[-1] + len(form))
        return Transformation(
            shown,
            lambda index: columns[min(index, len(line))] + max(0, index - len(line)),
            lambda at: max((i for i, column in enumerate(columns) if column <= at), default=0),
        )


def state_line(draft: Draft, config: SampleConfig) -> StyleAndTextTuples:
    """Return a line about the text: its unknown characters, or its length and the settings."""
    unknown = draft.unknown
    if unknown:
        names = ", ".join(map(character_name, unknown[:MAX_UNKNOWN]))
        others = len(unknown) - MAX_UNKNOWN
        more = f" and {others} more" if others > 0 else ""
        tab = {"nearest": "Tab replaces, ", "skip": "Tab or "}.get(config.unknown, "")
        done = f"unknown to the model, {tab}^X removes them"
        return [("class:unknown", f" {done}: {names}{more}")]
    parts = [
        f"{counted(len(draft.text), 'character')}",
        f"temperature {config.temperature:g}",
        f"length {config.length:,}",
    ]
    if draft.continuation:
        parts.append(f"seed {draft.continuation.seed}")
    if draft.is_writing:
        parts.append("writing, ^C stops")
    return [("", " " + "  ".join(parts))]


def _visible_character(character: str, *, before_line_feed: bool) -> str:
    if character == "\r" and before_line_feed:
        return ""
    return TAB if character == "\t" else visible(character)
