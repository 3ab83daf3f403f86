"""The editor of ``charrnn write``: a text that a person edits and the network continues.

The last continuation is colored until the text is edited; until then it can be replaced by
another.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from prompt_toolkit.application import Application
from prompt_toolkit.filters import Filter, has_focus
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.layout import BufferControl, FormattedTextControl, HSplit, Layout, Window
from prompt_toolkit.output import Output
from prompt_toolkit.output.defaults import create_output
from prompt_toolkit.styles import Style

from charrnn.cli.display.editor_draft import Draft
from charrnn.cli.display.editor_widgets import Question, VisibleText, state_line
from charrnn.errors import CharRNNError, excerpt
from charrnn.terminal import character_name, visible

if TYPE_CHECKING:
    from charrnn.config import SampleConfig
    from charrnn.generator import Generator
    from charrnn.model.saved_state import Prompted

STYLE = Style.from_dict(
    {
        "continuation": "ansicyan bold",
        "unknown": "ansired reverse",
        "bar": "reverse",
        "title": "ansibrightblack",
    }
)
HELP = " Tab continue  ^R another  ^Z undo  ^T temperature  ^L length  ^D leave"
TERMINATED = 143

N = TypeVar("N", int, float)


def save(path: Path, text: str) -> None:
    """Write a text to a file, exactly as it is.

    Raises:
        RunError: it could not be written.
    """
    from charrnn.storage.files import write_atomically

    write_atomically(path, text.encode("utf-8", "surrogatepass"))


class Editor:
    """The text, the keys, and the lines below the text.

    Args:
        generator: writes.
        config: how; its seed is not used.
        seeds: one for each continuation.
        text: the beginning.
        title: the line above the text: which model writes.
        asks: whether to ask for a file to save to when the person leaves.
        start: what the model has read before the text.
        input, output: the terminal's, if not those of this process.
    """

    def __init__(
        self,
        generator: Generator,
        config: SampleConfig,
        seeds: Iterator[int],
        text: str,
        *,
        title: str = "",
        asks: bool,
        start: Prompted | None = None,
        input: Input | None = None,  # noqa: A002
        output: Output | None = None,
    ) -> None:
        self.config = config
        self.message = ""
        self.draft = Draft(generator, text, lambda: self.app.invalidate(), start)
        self._seeds, self._asks = seeds, asks
        self.title = f" {visible(title)}"
        self._leaving = False  # once the network has stopped
        self.question = Question(self._report, self._back)
        self._bar = FormattedTextControl(self.status, focusable=True, show_cursor=False)
        self.app: Application[int] = Application(
            layout=self._layout(),
            key_bindings=self._keys(),
            style=STYLE,
            full_screen=True,
            input=input,
            output=output or create_output(sys.stderr if sys.stderr.isatty() else sys.stdout),
        )
        self.app.key_processor.before_key_press += lambda processor: self._report("")

    def run(self) -> int:
        """Show the editor until the person leaves; return the exit code, 143 after SIGTERM."""
        return self.app.run(pre_run=self._exit_on_sigterm) or 0

    def exit(self, code: int = 0) -> None:
        """Stop writing and close the editor."""
        self.draft.stop()
        if self.app.is_running and not self.app.is_done:
            self.app.exit(result=code)

    def _exit_on_sigterm(self) -> None:
        with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):  # not everywhere
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGTERM, self.exit, TERMINATED)

    def _report(self, message: str) -> None:
        self.message = message

    # The screen.

    def _layout(self) -> Layout:
        control = BufferControl(self.draft.buffer, [VisibleText(self.draft)])
        text = Window(control, wrap_lines=True, always_hide_cursor=False)
        bar = Window(self._bar, height=1, style="class:bar")
        keys = Window(FormattedTextControl(HELP), height=1)
        title = Window(FormattedTextControl(self.title), height=1, style="class:title")
        lines = [title, text, self.question.container, bar, keys]
        return Layout(HSplit(lines), focused_element=text)

    def status(self) -> StyleAndTextTuples:
        """Return the line below the text: a message, unknown characters, or the settings."""
        if self.message:
            return [("", f" {visible(self.message)}")]
        return state_line(self.draft, self.config)

    # The keys.

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()
        buffer = self.draft.buffer
        in_text, asked = has_focus(buffer), has_focus(self.question.buffer)

        def bind(key: str, action: Callable[[], None], when: Filter = in_text) -> None:
            # Each action itself decides what to save for an undo.
            keys.add(key, filter=when, eager=True, save_before=lambda event: False)(
                lambda event: action()
            )

        bind("tab", lambda: self._write(self.draft.before_cursor))
        bind("c-r", self._write_another)
        bind("c-z", buffer.undo)
        bind("c-y", buffer.redo)
        bind("c-x", self.draft.remove_unknown)
        bind("c-t", self._ask_temperature)
        bind("c-l", self._ask_length)
        bind("c-d", self._leave, ~asked)
        for key in ("c-c", "<sigint>"):
            bind(key, self._interrupt, ~asked)
            bind(key, self._back, asked)
        bind("escape", self._back, asked)
        bind("c-d", self.exit, asked)
        return keys

    def _write_another(self) -> None:
        if self.draft.continuation is None:
            self._report("there is no continuation to replace: press Tab to write one")
        else:
            self._write(self.draft.text[: self.draft.continuation.start])

    def _write(self, before: str) -> None:
        """Let the network replace all that follows `before`."""
        unknown = self.draft.alphabet.unknown(before)
        if unknown and self.config.unknown == "error":
            name = character_name(unknown[0])
            self._report(f"the model cannot read {name}: press Ctrl-X to remove it")
            return
        if unknown:
            replaced = self.draft.replaced(before, nearest=self.config.unknown == "nearest")
            self._report(f"unknown characters: {replaced}")
            before = replaced.text
        self.draft.begin(before, replace(self.config, seed=next(self._seeds)))
        self.app.layout.focus(self._bar)  # so that no key changes the text or its undo history
        self.app.create_background_task(self._finish_writing())

    async def _finish_writing(self) -> None:
        try:
            await self.draft.finish()
        except CharRNNError as error:
            self._report(error.message)
        finally:
            self.app.layout.focus(self.draft.buffer)
            self.app.invalidate()
            if self._leaving:
                self._leaving = False
                self._leave()

    def _interrupt(self) -> None:
        if self.draft.is_writing:
            self.draft.stop()
        else:
            self._report("Ctrl-D leaves")

    def _leave(self) -> None:
        if self.draft.is_writing:
            self.draft.stop()
            self._leaving = True
        elif self._asks and self.draft.text:
            self._ask("save to a new file (Enter: do not save): ", self._save_and_exit)
        else:
            self.exit()

    # Questions.

    def _ask(self, question: str, answer: Callable[[str], None]) -> None:
        self.question.ask(question, answer)
        self.app.layout.focus(self.question.buffer)

    def _back(self) -> None:
        self.question.text = ""
        self.app.layout.focus(self.draft.buffer)

    def _ask_temperature(self) -> None:
        def answer(typed: str) -> None:
            if typed:
                self.config = replace(self.config, temperature=_parsed(float, typed))

        self._ask(f"temperature (now {self.config.temperature:g}): ", answer)

    def _ask_length(self) -> None:
        def answer(typed: str) -> None:
            if typed:
                self.config = replace(self.config, length=_parsed(int, typed))

        self._ask(f"length (now {self.config.length:,}): ", answer)

    def _save_and_exit(self, typed: str) -> None:
        if typed:
            path = Path(typed).expanduser()
            if path.exists():
                raise CharRNNError(f"{path} exists already: name a new file")
            save(path, self.draft.text)
        self.exit()


def _parsed(kind: type[N], typed: str) -> N:
    try:
        return kind(typed)
    except ValueError:
        raise CharRNNError(f"'{excerpt(typed)}' is not a number") from None
