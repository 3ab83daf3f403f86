from __future__ import annotations

import io
import math
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from charrnn.cli.display import training_progress
from charrnn.cli.shared import wrapped
from charrnn.training.events import Metrics, Notice, Planned
from cli.conftest import TITLE, Run, Shown, needs_terminal, on_terminal


@needs_terminal
def test_the_live_picture_shows_numbers_a_bar_and_a_sample(watched: tuple[Run, Shown]) -> None:
    run, shown = watched
    assert shown.code == 0
    assert run.model.is_file()
    pictures = shown.screen.split("sample ─")
    assert len(pictures) > 3
    for number in (
        r"step \d+",
        r"epoch \d\.\d\d",
        r"[\d,]+ chars/s",
        r"train \d\.\d{4} nats  ",
        r"      \d\.\d{3} bpc  ",
        r"valid \d\.\d{4} nats",
        r"best \d\.\d{4} nats",
        r"\d+% +\d:\d\d left",
        "100%",
    ):
        assert re.search(number, shown.screen), number


@needs_terminal
def test_the_live_picture_charts_the_losses(watched: tuple[Run, Shown]) -> None:
    screen = watched[1].screen
    assert "nats per character, over steps" in screen
    assert re.search(r"[\u2801-\u28ff]", screen)
    assert re.search("train .* valid", screen.split("over steps")[1])


@pytest.mark.parametrize(
    ("width", "height", "lines"),
    [(100, 60, 10), (100, 28, 7), (60, 26, 5), (100, 24, 0), (59, 60, 0)],
)
def test_the_chart_uses_the_available_space(width: int, height: int, lines: int) -> None:
    picture = training_progress.Picture(lambda: False)
    console = Console(width=width, height=height)
    picture._train = [(step, 3.0 - step / 100) for step in range(40)]
    assert picture._draw_chart(console) == ""  # no validation loss yet
    picture._valid = picture._train[::10]
    chart = picture._draw_chart(console).splitlines()
    assert sum("│" in line for line in chart) == lines
    assert max(map(len, chart), default=0) <= width


@needs_terminal
def test_a_sample_in_the_picture_cannot_steer_the_terminal(watched: tuple[Run, Shown]) -> None:
    screen = watched[1].screen
    assert "␛]0;owned␇ hi␍␛" in screen  # the sample contains it, escaped
    assert TITLE[:4] not in screen
    assert "\x07" not in screen
    assert re.search(r"\r[^\r\n\x1b]", screen) is None


@needs_terminal
def test_the_picture_restores_the_cursor(watched: tuple[Run, Shown]) -> None:
    hidden, shown = "\x1b[?25l", "\x1b[?25h"
    assert hidden in watched[1].screen
    assert watched[1].screen.rindex(shown) > watched[1].screen.rindex(hidden)


@needs_terminal
def test_the_result_follows_the_picture(watched: tuple[Run, Shown]) -> None:
    last = watched[1].screen.splitlines()[-1]
    assert last == "next     charrnn sample --model run"


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "term", "kind"),
    [
        (Screen(), "xterm", training_progress.Picture),
        (Screen(), "dumb", training_progress.Lines),
        (io.StringIO(), "xterm", training_progress.Lines),
    ],
)
def test_a_picture_is_drawn_only_if_the_cursor_can_move(
    stream: io.StringIO, term: str, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", term)
    assert type(training_progress.display_for(lambda: False)) is kind


@pytest.mark.parametrize("nats", [None, 1.4142, 12.5, 3e9])
def test_the_numbers_of_the_picture_fit_into_80_columns(nats: float | None) -> None:
    picture = training_progress.Picture(lambda: False)
    train = SimpleNamespace(minutes=5.0)
    picture.planned = SimpleNamespace(plan=SimpleNamespace(train=train))
    picture._last_valid, picture._best = nats, nats or 1.0
    shown = Metrics(
        step=123_456,
        epoch=0.0,
        characters=1,
        fraction=0.5,
        seconds=5000,
        train_nats=nats or 1.0,
        valid_nats=None,
        learning_rate=1e-3,
        grad_norm=1.0,
        clipped=0.0,
        chars_per_second=1_234_567,
    )
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(picture._draw(shown))
    lines = console.export_text().splitlines()
    row = next(line for line in lines if line.startswith("train"))
    assert "valid" in row
    assert "gradient" in row
    assert "clipped" in lines[lines.index(row) + 1]
    if nats and nats < 100:
        assert lines[lines.index(row) + 1].count(" bpc ") == 3


class Narrow(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_are_cut_between_words_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    line = "network  " + " ".join(f"word-number-{number}," for number in range(20))
    shown = wrapped(line, Narrow(), training_progress.LABEL).splitlines()
    assert len(shown) > 2
    assert max(map(len, shown)) <= 80
    assert all(part.startswith(" " * training_progress.LABEL) for part in shown[1:])
    assert " ".join(part.strip() for part in shown) == line
    assert wrapped(line, io.StringIO(), training_progress.LABEL) == line
    assert wrapped(f"{line}\n\n  {line}", Narrow(), 0).count("\n\n  network") == 1


@pytest.mark.parametrize(
    "line",
    [
        "run      runs/a name with spaces " + "x" * 70,
        "next     charrnn sample --model 'runs/a name with spaces' --length 1000 --temperature 0.8",
        "resume   charrnn train " + "text.txt " * 12,
    ],
)
def test_a_command_or_a_path_after_its_label_stays_on_one_line(line: str) -> None:
    assert wrapped(line, Narrow(), training_progress.LABEL) == line


def test_what_is_quoted_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    command = "'charrnn train text.txt --out runs/text-1 --resume'"
    line = f"the training's text has grown since the run was stopped: use {command} to go on"
    assert wrapped(line, Narrow(), 0).splitlines() == [
        "the training's text has grown since the run was stopped: use",
        f"{command} to go on",
    ]


@needs_terminal
def test_notes_and_plan_are_not_cut_inside_a_word_at_80_columns(tiny: Run, tmp_path: Path) -> None:
    shown = on_terminal(tmp_path, "train", tiny.text, "--steps", 5, "--dry-run", columns=80)
    lines = shown.screen.replace("\r", "").splitlines()
    assert next(line for line in lines if line.startswith("network"))
    assert next(line for line in lines if "expect words that do not" in line)
    assert max(len(line) for line in lines if not line.startswith("run ")) <= 80
    error = on_terminal(tmp_path, "train", columns=80).screen.replace("\r", "").splitlines()
    assert error[-1] == "--config RUN"


def _planned(run_dir: Path | None = None) -> Planned:
    plan = SimpleNamespace(train=SimpleNamespace(minutes=1.0))
    return Planned(SimpleNamespace(path=run_dir), SimpleNamespace(valid=[]), plan, None)  # type: ignore[arg-type]


def test_a_plan_that_is_made_anew_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training_progress, "plan_lines", lambda planned: ["network  lstm"])
    lines, second = training_progress.Lines(lambda: False), _planned()
    for event in (_planned(), Notice("planned anew: lstm, 2 x 96"), second):
        lines.show(event)
    assert capsys.readouterr().err == "network  lstm\nplanned anew: lstm, 2 x 96\n"
    assert lines.planned is second


def test_the_picture_of_a_training_that_begins_anew_forgets_its_losses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training_progress, "plan_lines", lambda planned: [])
    picture = training_progress.Picture(lambda: False)
    picture.show(_planned())
    picture._train, picture._valid, picture._best = [(1, 3.0)], [(1, 3.0)], 3.0
    picture.show(_planned())
    assert picture._train == picture._valid == []
    assert picture._best == math.inf
