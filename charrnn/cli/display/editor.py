"""The screen of ``charrnn write``: a text that can be edited, and that the network continues.

What the network wrote last is coloured until something else is typed; it can be tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition, Filter, has_focus
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.layout import (
    BufferControl,
    ConditionalContainer,
    FormattedTextControl,
    HSplit,
    Layout,
    VSplit,
    Window,
)
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput
from prompt_toolkit.output import Output
from prompt_toolkit.output.defaults import create_output
from prompt_toolkit.styles import Style

from charrnn.cli.commands.write import Readings, save
from charrnn.cli.display.samples import FLUSH_SECONDS
from charrnn.errors import CharRNNError, PromptError
from charrnn.terminal import symbol_name, visible

if TYPE_CHECKING:
    from charrnn.config import SampleConfig
    from charrnn.generator import Generator

STYLE = Style.from_dict(
    {"continuation": "ansicyan bold", "unknown": "ansired reverse", "bar": "reverse"}
)
HELP = " Tab continue  ^R another  ^Z undo  ^T temperature  ^L length  ^D leave"
TAB = "    "
TERMINATED = 143

N = TypeVar("N", int, float)
Answer = Callable[[str], None]  # takes what was typed; a CharRNNError asks again


@dataclass(frozen=True)
class Continuation:
    """What the network wrote last: where it begins in the text, and what repeats it."""

    start: int
    seed: int


class Screen:
    """The text, the keys and the lines below it.

    Args:
        generator: writes.
        config: how; its seed is not used.
        seeds: one for each continuation.
        text: the beginning.
        asks: whether a file to save to is asked for when the person leaves.
        input, output: the terminal's, if it is not the one of this process.
    """

    def __init__(
        self,
        generator: Generator,
        config: SampleConfig,
        seeds: Iterator[int],
        text: str = "",
        *,
        asks: bool = True,
        input: Input | None = None,  # noqa: A002
        output: Output | None = None,
    ) -> None:
        self.config = config
        self.continuation: Continuation | None = None
        self.message = ""
        self._generator, self._seeds, self._asks = generator, seeds, asks
        self._readings = Readings(generator)
        self._known: dict[str, bool] = {}  # symbols looked up in the alphabet
        self._unknown: list[str] = []  # those of the text that are not in it
        self._past: dict[str, Continuation] = {}  # by text, for when it is undone to
        self.is_writing = False
        self._stop = threading.Event()
        self._leaving = False  # when it has stopped
        self.question = ""
        self._answer: Answer = lambda typed: None
        self.buffer = Buffer(
            multiline=True,
            read_only=Condition(lambda: self.is_writing),
            on_text_changed=lambda buffer: self._changed(),
        )
        self._typed = Buffer(multiline=False, accept_handler=lambda buffer: self._answered())
        self._bar = FormattedTextControl(self._status, focusable=True, show_cursor=False)
        self.app: Application[int] = Application(
            layout=self._layout(),
            key_bindings=self._keys(),
            style=STYLE,
            full_screen=True,
            input=input,
            output=output or create_output(sys.stderr if sys.stderr.isatty() else sys.stdout),
        )
        self.app.key_processor.before_key_press += lambda processor: self._say("")
        self.buffer.set_document(Document(text))

    @property
    def text(self) -> str:
        """The text as it stands."""
        return self.buffer.text

    def run(self) -> int:
        """Show it until the person leaves; the exit code: 0, or 143 after SIGTERM."""
        return self.app.run(pre_run=self._end_when_told) or 0

    def _end_when_told(self) -> None:
        with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):  # not everywhere
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGTERM, self._exit, TERMINATED)

    def _exit(self, code: int = 0) -> None:
        self._stop.set()
        if self.app.is_running and not self.app.is_done:
            self.app.exit(result=code)

    def _say(self, message: str) -> None:
        self.message = message

    # What is shown.

    def _layout(self) -> Layout:
        text = Window(
            BufferControl(self.buffer, [_Shown(self)]), wrap_lines=True, always_hide_cursor=False
        )
        question = VSplit(
            [
                Window(FormattedTextControl(lambda: self.question), dont_extend_width=True),
                Window(BufferControl(self._typed)),
            ],
            height=1,
        )
        lines = [
            ConditionalContainer(question, Condition(lambda: bool(self.question))),
            Window(self._bar, height=1, style="class:bar"),
            Window(FormattedTextControl(HELP), height=1),
        ]
        return Layout(HSplit([text, *lines]), focused_element=text)

    def _status(self) -> StyleAndTextTuples:
        if self.message:
            return [("", f" {visible(self.message)}")]
        if self._unknown:
            names = ", ".join(map(symbol_name, self._unknown[:5]))
            more = f" and {len(self._unknown) - 5} more" if len(self._unknown) > 5 else ""
            return [("class:unknown", f" ^X leaves out what the model never saw: {names}{more}")]
        parts = [
            f"{len(self.text):,} characters",
            f"temperature {self.config.temperature:g}",
            f"length {self.config.length:,}",
        ]
        if self.continuation:
            parts.append(f"seed {self.continuation.seed}")
        if self.is_writing:
            parts.append("writing, ^C stops")
        return [("", " " + "  ".join(parts))]

    def is_unknown(self, symbol: str) -> bool:
        """Whether the model's alphabet lacks a symbol."""
        if symbol not in self._known:
            try:
                self._generator.tokenizer.encode(symbol)
                self._known[symbol] = True
            except PromptError:
                self._known[symbol] = False
        return not self._known[symbol]

    def _changed(self) -> None:
        if not self.is_writing:  # the network writes nothing that it does not know
            symbols = dict.fromkeys(self.text)
            self._unknown = [symbol for symbol in symbols if self.is_unknown(symbol)]
            self.continuation = self._past.get(self.text)

    # What the keys do.

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()
        in_text, asked = has_focus(self.buffer), has_focus(self._typed)

        def bind(key: str, action: Callable[[], None], when: Filter = in_text) -> None:
            # What is saved before an action, to be undone to, is the action's own business.
            keys.add(key, filter=when, eager=True, save_before=lambda event: False)(
                lambda event: action()
            )

        bind("tab", lambda: self._write(self.text[: self.buffer.cursor_position]))
        bind("c-r", self._again)
        bind("c-z", self.buffer.undo)
        bind("c-y", self.buffer.redo)
        bind("c-x", self._leave_out)
        bind(
            "c-t", lambda: self._ask(f"temperature (now {self.config.temperature:g}): ", self._warm)
        )
        bind("c-l", lambda: self._ask(f"length (now {self.config.length:,}): ", self._lengthen))
        bind("c-d", self._leave, ~asked)
        for key in ("c-c", "<sigint>"):
            bind(key, self._interrupt, ~asked)
            bind(key, self._back, asked)
        bind("escape", self._back, asked)
        bind("c-d", self._exit, asked)
        return keys

    def _again(self) -> None:
        if self.continuation is None:
            self._say("there is no continuation to replace: Tab writes one")
        else:
            self._write(self.text[: self.continuation.start])

    def _leave_out(self) -> None:
        """Drop the symbols that the model does not know."""
        if self._unknown:
            before = self.text[: self.buffer.cursor_position]
            self.buffer.save_to_undo_stack()
            kept = self._without_unknown(self.text)
            self.buffer.set_document(Document(kept, len(self._without_unknown(before))))

    def _without_unknown(self, text: str) -> str:
        return "".join(symbol for symbol in text if not self.is_unknown(symbol))

    def _interrupt(self) -> None:
        if self.is_writing:
            self._stop.set()
        else:
            self._say("Ctrl-D leaves")

    def _leave(self) -> None:
        if self.is_writing:
            self._stop.set()
            self._leaving = True
        elif self._asks and self.text:
            self._ask("save to a new file (Enter: do not save): ", self._save)
        else:
            self._exit()

    def _save(self, typed: str) -> None:
        if typed:
            path = Path(typed).expanduser()
            if path.exists():
                raise CharRNNError(f"{path} exists already: name a new file")
            save(path, self.text)
        self._exit()

    def _warm(self, typed: str) -> None:
        if typed:
            self.config = replace(self.config, temperature=_number(float, typed))

    def _lengthen(self, typed: str) -> None:
        if typed:
            self.config = replace(self.config, length=_number(int, typed))

    # Questions, on a line of their own.

    def _ask(self, question: str, answer: Answer) -> None:
        self.question, self._answer = f" {question}", answer
        self._typed.reset()
        self.app.layout.focus(self._typed)

    def _answered(self) -> bool:
        try:
            self._answer(self._typed.text.strip())
        except CharRNNError as error:
            self._say(error.message)
            return True  # what was typed stays
        self._back()
        return False

    def _back(self) -> None:
        self.question = ""
        self.app.layout.focus(self.buffer)

    # The network writes in a thread of its own; what is shown changes in this one.

    def _write(self, before: str) -> None:
        """Put a continuation in place of all that follows `before`."""
        unknown = next(filter(self.is_unknown, before), None)
        if unknown is not None:
            self._say(f"the model cannot read {symbol_name(unknown)}: Ctrl-X leaves it out")
            return
        self.buffer.save_to_undo_stack()
        self._stop.clear()
        self.is_writing = True
        self.app.layout.focus(self._bar)  # so that no key changes the text, nor what is undone to
        self.continuation = Continuation(len(before), next(self._seeds))
        self._show(before)
        self.app.create_background_task(self._wait_for_writing(before, self.continuation))

    def _show(self, text: str) -> None:
        self.buffer.set_document(Document(text, len(text)), bypass_readonly=True)
        self.app.invalidate()

    async def _wait_for_writing(self, before: str, continuation: Continuation) -> None:
        loop = asyncio.get_running_loop()

        def show(text: str) -> None:
            loop.call_soon_threadsafe(self._show, text)

        try:
            await loop.run_in_executor(None, self._written, before, continuation.seed, show)
        except CharRNNError as error:
            self._say(error.message)
        finally:
            self.is_writing = False
            self.app.layout.focus(self.buffer)
            self._past[self.text] = continuation
            self._changed()
            self.app.invalidate()
            if self._leaving:
                self._leaving = False
                self._leave()

    def _written(self, before: str, seed: int, show: Callable[[str], None]) -> None:
        """In a thread: read `before` and write on, until it has its length or is stopped."""
        read = self._readings.after(before, lambda: not self._stop.is_set())
        if read is None:
            return
        text, shown = before, 0.0
        for piece in self._generator.stream(read, **{**asdict(self.config), "seed": seed}):
            text += piece
            now = time.perf_counter()
            if now - shown > FLUSH_SECONDS:
                show(text)
                shown = now
            if self._stop.is_set():
                break
        show(text)


def _number(kind: type[N], typed: str) -> N:
    try:
        return kind(typed)
    except ValueError:
        raise CharRNNError(f"'{typed}' is no number") from None


class _Shown(Processor):
    """A line as a terminal may get it; the continuation and unknown symbols marked."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def apply_transformation(self, given: TransformationInput) -> Transformation:
        """Each symbol of the line in its visible form."""
        line = given.document.lines[given.lineno]
        first = given.document.translate_row_col_to_index(given.lineno, 0)
        continuation = self._screen.continuation
        start = continuation.start if continuation else len(given.document.text)
        shown: StyleAndTextTuples = []
        places = [0]  # where each symbol begins on the screen
        for at, symbol in enumerate(line):
            style = "class:continuation" if first + at >= start else ""
            if self._screen.is_unknown(symbol):
                style = "class:unknown"
            last = at == len(line) - 1 and given.lineno < given.document.line_count - 1
            form = _form(symbol, before_line_feed=last)
            shown.append((style, form))
            places.append(places[-1] + len(form))
        return Transformation(
            shown,
            lambda at: places[min(at, len(line))] + max(0, at - len(line)),
            lambda at: max((i for i, place in enumerate(places) if place <= at), default=0),
        )


def _form(symbol: str, *, before_line_feed: bool) -> str:
    if symbol == "\r" and before_line_feed:
        return ""
    return TAB if symbol == "\t" else visible(symbol)
