"""Writing in turns: keys go in, the text and the screen are checked."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from waiting import HANGS, kill_if_it_hangs

from charrnn.cli import prompt
from charrnn.cli.display.editor import Editor
from charrnn.cli.prompt import PromptCache
from charrnn.config import SampleConfig
from charrnn.errors import PromptError
from charrnn.generator import Generator
from charrnn.model import model_file
from charrnn.model.model_file import Model
from charrnn.model.saved_state import Prompted
from cli.conftest import PROGRAM, Cli, Run, environment, modules_in, needs_terminal, on_terminal

TAB, AGAIN, UNDO, REDO, LEAVE_OUT = "\t", "\x12", "\x1a", "\x19", "\x18"
TEMPERATURE, LENGTH, STOP, LEAVE, LEFT = "\x14", "\x0c", "\x03", "\x04", "\x1b[D"
FIRST = 100  # the first seed


class Person:
    """Types into an editor and waits until something is seen."""

    def __init__(
        self, editor: Editor, send: Callable[[str], None], has_left: Callable[[], bool]
    ) -> None:
        self.editor, self._send, self.has_left = editor, send, has_left

    async def types(self, keys: str, seen: Callable[[], object]) -> None:
        self._send(keys)
        end = time.monotonic() + HANGS
        while not seen():
            shown = (keys, self.editor.draft.text, self.editor.message, self.status)
            assert time.monotonic() < end, shown
            await asyncio.sleep(0.01)

    async def says(self, text: str) -> None:
        """Types a text and waits until it is in the draft."""
        wanted = self.editor.draft.text + text
        await self.types(text, lambda: self.editor.draft.text == wanted)

    async def lets_write(self, keys: str, seed: int) -> str:
        """Presses a key that makes the network write; returns the whole text afterwards."""

        def written() -> bool:
            done = self.editor.draft.continuation
            return not self.editor.draft.is_writing and bool(done) and done.seed == seed

        await self.types(keys, written)
        return self.editor.draft.text

    async def leaves(self) -> None:
        await self.types(LEAVE, self.has_left)

    @property
    def status(self) -> str:
        return "".join(text for _, text in self.editor.status())


Acts = Callable[[Person], Awaitable[None]]


@pytest.fixture
def writer(tiny_model: Model) -> Generator:
    return Generator(tiny_model)


@pytest.fixture
def sit_down(writer: Generator) -> Callable[..., Editor]:
    """`sit_down(acts, text="", length=30, asks=False)` returns the editor after a session."""

    def run(
        acts: Acts,
        text: str = "",
        length: int = 30,
        asks: bool = False,
        model: Generator = writer,
    ) -> Editor:
        async def session(editor: Editor, send: Callable[[str], None]) -> None:
            running = asyncio.create_task(editor.app.run_async())
            while not editor.app.is_running:
                await asyncio.sleep(0)
            await acts(Person(editor, send, running.done))
            editor.exit()
            assert await running == 0

        with create_pipe_input() as keys:
            config = SampleConfig(length=length)
            editor = Editor(
                model, config, count(FIRST), text, asks=asks, input=keys, output=DummyOutput()
            )
            asyncio.run(session(editor, keys.send_text))
        return editor

    return run


def test_tab_continues_the_typed_text(sit_down: Any, writer: Generator) -> None:
    async def acts(person: Person) -> None:
        await person.says("hello ")
        first = await person.lets_write(TAB, FIRST)
        assert first == "hello " + writer.sample("hello ", length=30, seed=FIRST).text
        assert f"seed {FIRST}" in person.status
        assert person.editor.draft.continuation.start == 6
        await person.says("we")
        assert (
            person.editor.draft.continuation is None
        )  # an edit makes the continuation part of the text
        second = await person.lets_write(TAB, FIRST + 1)
        assert second == first + "we" + writer.sample(first + "we", length=30, seed=FIRST + 1).text

    sit_down(acts)


def test_tab_continues_an_empty_text(sit_down: Any, writer: Generator) -> None:
    async def acts(person: Person) -> None:
        assert await person.lets_write(TAB, FIRST) == writer.sample(length=30, seed=FIRST).text

    sit_down(acts)


def test_another_continuation_undo_and_redo(sit_down: Any, writer: Generator) -> None:
    async def acts(person: Person) -> None:
        editor = person.editor
        await person.types(AGAIN, lambda: "no continuation" in person.status)
        first = await person.lets_write(TAB, FIRST)
        second = await person.lets_write(AGAIN, FIRST + 1)
        assert second == "he" + writer.sample("he", length=30, seed=FIRST + 1).text != first
        await person.types(UNDO, lambda: editor.draft.text == first)
        assert editor.draft.continuation.seed == FIRST
        third = await person.lets_write(AGAIN, FIRST + 2)
        assert third.startswith("he")
        assert len(third) == 32
        await person.types(UNDO + UNDO, lambda: editor.draft.text == "he")
        assert editor.draft.continuation is None
        await person.types(REDO, lambda: editor.draft.text == first)

    sit_down(acts, "he")


def test_tab_replaces_the_text_after_the_cursor(sit_down: Any, writer: Generator) -> None:
    async def acts(person: Person) -> None:
        editor = person.editor
        await person.types(3 * LEFT, lambda: editor.draft.buffer.cursor_position == 4)
        text = await person.lets_write(TAB, FIRST)
        assert text == "hell" + writer.sample("hell", length=30, seed=FIRST).text
        await person.types(UNDO, lambda: editor.draft.text == "hello w")
        assert editor.draft.buffer.cursor_position == 4

    async def begin(person: Person) -> None:
        person.editor.draft.buffer.cursor_position = 7
        await acts(person)

    sit_down(begin, "hello w")


def test_unknown_characters_are_named_at_once_and_can_be_removed(sit_down: Any) -> None:
    async def acts(person: Person) -> None:
        person.editor.config = replace(person.editor.config, unknown="error")
        await person.says("hé€\n")
        assert "unknown to the model, ^X removes them: 'é' (U+00E9), '€' (U+20AC)" in person.status
        await person.types(TAB, lambda: "cannot read 'é'" in person.status)
        assert person.editor.draft.text == "hé€\n"
        await person.types(LEAVE_OUT, lambda: person.editor.draft.text == "h\n")
        assert person.editor.draft.buffer.cursor_position == 2
        assert "U+" not in person.status
        await person.types(UNDO, lambda: person.editor.draft.text == "hé€\n")

    sit_down(acts)


@pytest.mark.parametrize(("unknown", "read"), [("nearest", "he\n"), ("skip", "h\n")])
def test_unknown_characters_are_replaced_when_the_network_writes(
    unknown: str, read: str, sit_down: Any, writer: Generator
) -> None:
    async def acts(person: Person) -> None:
        assert person.editor.config.unknown == "nearest"
        person.editor.config = replace(person.editor.config, unknown=unknown)
        await person.says("hé€\n")
        assert "^X removes them: 'é'" in person.status
        text = await person.lets_write(TAB, FIRST)
        assert text == read + writer.sample(read, length=30, seed=FIRST).text
        assert "unknown characters: 'é' (U+00E9)" in person.status
        await person.types(UNDO, lambda: person.editor.draft.text == "hé€\n")

    sit_down(acts)


def test_temperature_and_length_are_asked_for(sit_down: Any, writer: Generator) -> None:
    async def acts(person: Person) -> None:
        editor = person.editor
        await person.types(TEMPERATURE, lambda: editor.question.text)
        await person.types("warm\n", lambda: "'warm' is not a number" in person.status)
        await person.types("\x15-1\n", lambda: "--temperature must be" in person.status)
        await person.types("\x150\n", lambda: editor.config.temperature == 0)
        await person.types(LENGTH + "12\n", lambda: editor.config.length == 12)
        await person.types(LENGTH, lambda: "length (now 12)" in editor.question.text)
        await person.types("\n", lambda: not editor.question.text)
        await person.types(LENGTH + "3" + STOP, lambda: not editor.question.text)
        text = await person.lets_write(TAB, FIRST)
        assert text == writer.greedy(length=12).text
        assert "temperature 0  length 12" in person.status

    sit_down(acts)


def test_ctrl_c_stops_and_keeps_the_text_so_far(sit_down: Any) -> None:
    async def acts(person: Person) -> None:
        editor = person.editor
        await person.types(STOP, lambda: person.status == " Ctrl-D leaves")
        await person.types(TAB, lambda: len(editor.draft.text) > 50)
        assert "writing" in person.status
        ignored = "h" + LEAVE_OUT + UNDO
        await person.types(ignored, lambda: editor.draft.is_writing)
        text = await person.lets_write(STOP, FIRST)
        assert 50 < len(text) < 10**6
        await person.types(UNDO, lambda: editor.draft.text == "he")

    sit_down(acts, "he", length=10**6)


def test_leaving_stops_the_writing(sit_down: Any) -> None:
    async def acts(person: Person) -> None:
        await person.types(TAB, lambda: len(person.editor.draft.text) > 50)
        await person.leaves()

    assert not sit_down(acts, length=10**6).draft.is_writing


def test_numbers_that_overflow_while_it_writes_are_reported(
    sit_down: Any, make_model: Callable[..., Model]
) -> None:
    """An irnn has no bounds: a state that grows overflows after some characters."""
    huge = make_model("helo w\n", cell="irnn")
    for name, value in huge.values.items():
        if name.endswith("weight_hh"):
            value[:] = 1e3

    async def acts(person: Person) -> None:
        await person.types(TAB, lambda: "numbers of this network overflow" in person.status)
        assert not person.editor.draft.is_writing
        text = person.editor.draft.text
        assert text.startswith("he")
        await person.says("lo")  # the editor goes on
        await person.types(TAB, lambda: "numbers of this network overflow" in person.status)
        await person.leaves()

    assert sit_down(acts, "he", length=200, model=Generator(huge)).draft.text


def test_a_model_that_cannot_write_is_refused_before_the_screen_changes(
    tiny: Run, make_pair_model: Callable[..., Model], cli: Cli
) -> None:
    huge = model_file.load(tiny.model)
    huge.values["output.weight"][:] = np.finfo(np.float32).max  # type: ignore[index]
    huge.values["output.bias"][:] = np.finfo(np.float32).max  # type: ignore[index]
    model_file.save(cli.folder / "huge", huge)
    model_file.save(cli.folder / "pairs", make_pair_model())
    for model, words in (("huge", "network overflow"), ("pairs", "this model answers sources")):
        shown = on_terminal(cli.folder, "write", "-m", model)
        assert shown.code == (1 if model == "huge" else 2)
        assert words in shown.screen
        assert "\x1b[?1049h" not in shown.screen  # the alternate screen


def test_a_person_who_leaves_is_asked_for_a_file(sit_down: Any, tmp_path: Path) -> None:
    there = tmp_path / "there.txt"
    there.write_text("mine")

    async def acts(person: Person) -> None:
        editor = person.editor
        await person.types(LEAVE, lambda: "save" in editor.question.text)
        await person.types(STOP, lambda: not editor.question.text)
        await person.types(LEAVE, lambda: "save" in editor.question.text)
        await person.types(f"{there}\n", lambda: "exists already" in person.status)
        none = tmp_path / "none" / "x"
        await person.types(f"\x15{none}\n", lambda: "could not be written" in person.status)
        await person.types(f"\x15{tmp_path / 'new.txt'}\n", person.has_left)

    sit_down(acts, "hello\r\n", asks=True)
    assert (tmp_path / "new.txt").read_bytes() == b"hello\r\n"
    assert there.read_text() == "mine"


@pytest.mark.parametrize("answer", ["\n", LEAVE])
def test_saving_can_be_declined(answer: str, sit_down: Any, tmp_path: Path) -> None:
    async def acts(person: Person) -> None:
        await person.types(LEAVE, lambda: person.editor.question.text)
        await person.types(answer, person.has_left)

    assert sit_down(acts, "hello", asks=True).draft.text == "hello"


@pytest.mark.parametrize(("text", "asks"), [("", True), ("hello", False)])
def test_without_need_no_file_is_asked_for(text: str, asks: bool, sit_down: Any) -> None:
    assert sit_down(Person.leaves, text, asks=asks).draft.text == text


def test_control_characters_are_made_visible(sit_down: Any) -> None:
    text = "h\x1b[31m\u202e\x9b\u2066\te\r\nllo\r"
    shown: list[str] = []

    async def acts(person: Person) -> None:
        control = person.editor.app.layout.current_control
        content = control.create_content(80, 20)
        lines = [content.get_line(number) for number in range(content.line_count)]
        shown.extend("".join(part for _, part in line).rstrip() for line in lines)
        assert content.cursor_position.y == 1
        assert content.cursor_position.x == 4

    sit_down(acts, text)
    assert shown == ["h␛[31m<U+202E><U+009B><U+2066>    e", "llo␍"]


class Reader(Generator):
    """Records what it reads."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.texts: list[str] = []

    def read(self, prompt: str | Prompted, after: Prompted | None = None) -> Prompted:
        if isinstance(prompt, str):
            self.texts.append(prompt)
        return super().read(prompt, after)


def test_only_new_text_is_read(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt, "_STEP", 3)
    reader = Reader(tiny_model)
    readings = PromptCache(reader)
    for text, read in (
        ("hello", ["", "hel", "lo"]),
        ("hello we", [" we"]),
        ("hello", []),
        ("hell", ["hel", "l"]),  # from the start, whose state is cached
        ("hello well", ["ll"]),
        ("", []),
    ):
        before = len(reader.texts)
        kept = readings.after(text)
        assert kept is not None
        assert reader.texts[before:] == read
        expected = Generator(tiny_model).read(text)
        assert abs(kept.logits - expected.logits).max() < 1e-5


def test_a_text_goes_on_after_what_was_learnt_from(tiny_model: Model) -> None:
    generator = Generator(tiny_model)
    learnt = generator.read("hello well hello\n" * 9, adapt=True)
    read = PromptCache(generator, learnt).after("hello")
    assert read is not None
    assert read.weights is learnt.weights
    assert read.logits.tobytes() == generator.read("hello", learnt).logits.tobytes()


def test_a_stopped_reading_is_resumed(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt, "_STEP", 2)
    reader = Reader(tiny_model)
    readings = PromptCache(reader)
    answers = iter([True, False])
    assert readings.after("hello", lambda: next(answers)) is None
    assert readings.after("hello") is not None
    assert reader.texts == ["", "he", "ll", "o"]
    with pytest.raises(PromptError):
        readings.after("hello!")


def test_the_oldest_states_are_dropped(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt, "_MAX_STATES", 3)
    readings = PromptCache(Generator(tiny_model))
    for text in ("h", "e", "l", "o"):
        readings.after(text)
    assert list(readings._states) == ["l", "", "o"]


# The command.


def test_without_a_terminal_the_error_says_what_to_use(tiny: Run, cli: Cli) -> None:
    done = cli("write", "-m", tiny.folder, code=2)
    assert "needs a terminal" in done.sentence
    assert "charrnn sample --prompt" in done.sentence
    assert done.out == ""


class Terminal:
    """Runs ``charrnn WORDS`` on a pseudo-terminal, in a folder."""

    def __init__(self, folder: Path, *words: object, env: dict[str, str] | None = None) -> None:
        import fcntl
        import pty
        import struct
        import termios

        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        self.process = subprocess.Popen(
            [PROGRAM, *map(str, words)],
            cwd=folder,
            env=environment() | (env or {}),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        self._killer = kill_if_it_hangs(self.process)
        self.screen = ""

    def wait_for(self, words: str) -> None:
        """Waits until the terminal shows these words again."""
        seen = ""
        for piece in self._pieces():
            seen += piece
            if words in seen:
                return
        raise AssertionError(seen)

    def types_until(self, keys: str, words: str) -> None:
        """Types a key that may do nothing yet, again and again, until these words are shown."""
        seen, pieces = "", self._pieces()
        while words not in seen:
            self.types(keys)
            while words not in seen and select.select([self._ours], [], [], 0.1)[0]:
                piece = next(pieces, None)
                assert piece, seen
                seen += piece

    def _pieces(self) -> Iterator[str]:
        while True:
            try:
                piece = os.read(self._ours, 4096).decode(errors="replace")
            except OSError:  # Linux: the terminal was closed
                return
            if not piece:
                return
            self.screen += piece
            yield piece

    def types(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def end(self) -> int:
        for _ in self._pieces():
            pass
        code = self.process.wait(HANGS)
        self._killer.cancel()
        os.close(self._ours)
        assert "Traceback" not in self.screen, self.screen
        return code


@needs_terminal
def test_a_session_on_a_terminal(tiny: Run, cli: Cli) -> None:
    words = ("-m", tiny.folder, "--seed", 5, "-t", 0.5, "-n", 60)
    terminal = Terminal(cli.folder, "write", *words, "-p", "the ", "--out", "story.txt")
    terminal.wait_for("leave")
    assert f"model: {tiny.folder}"[:60] in terminal.screen
    terminal.types("old sea ")
    terminal.wait_for("12")  # characters
    terminal.types(TAB)
    terminal.wait_for("seed 5")
    terminal.types_until("z", "unknown")  # while the network writes, nobody else does
    terminal.types(LEAVE_OUT + LEAVE)
    assert terminal.end() == 0
    written = (cli.folder / "story.txt").read_text("utf-8")
    assert written == cli("sample", *words, "-p", "the old sea ").out
    left = terminal.screen.split("\x1b[?1049l")[1]  # back from the other screen
    assert written.replace("\n", "\r\n") in left
    assert "saved: story.txt" in left


@needs_terminal
def test_sigterm_restores_the_terminal(tiny: Run, cli: Cli) -> None:
    terminal = Terminal(cli.folder, "write", "-m", tiny.folder, "-p", "the old")
    terminal.wait_for("leave")
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.end() == 143
    assert "the old" in terminal.screen.split("\x1b[?1049l")[1]


@needs_terminal
@pytest.mark.parametrize(
    ("words", "env", "sentence"),
    [
        (["--temperature", -1], {}, "--temperature must be"),
        (["--out", "there.txt"], {}, "--out there.txt exists already"),
        ([], {"TERM": "dumb"}, "TERM is dumb"),
        ([], modules_in(Path("absent")), "run pip install '.[write]' in a clone of charrnn"),
        (["-m", "none"], {}, "none does not exist"),
        (["--device", "cuda"], {}, "--device cuda: PyTorch sees no CUDA"),
    ],
)
def test_wrong_options_are_errors(
    words: list[object], env: dict[str, str], sentence: str, tiny: Run, cli: Cli
) -> None:
    (cli.folder / "there.txt").write_text("mine")
    absent = cli.folder / "absent"
    absent.mkdir()
    (absent / "prompt_toolkit.py").write_text(
        "raise ModuleNotFoundError('no prompt_toolkit', name='prompt_toolkit')"
    )
    terminal = Terminal(cli.folder, "write", "-m", tiny.folder, *words, env=env)
    assert terminal.end() == 2
    assert sentence in " ".join(terminal.screen.split())
    assert (cli.folder / "there.txt").read_text() == "mine"


@needs_terminal
def test_help_names_the_keys(cli: Cli) -> None:
    shown = on_terminal(cli.folder, "write", "--help").screen
    assert "Tab" in shown
    assert "Ctrl-D" in shown
