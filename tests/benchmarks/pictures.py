"""Draw the pictures of RESULTS.md into tests/pictures.

    make pictures RUN=runs/corpus-1 TEXT=corpus.txt

The run was trained on TEXT, an English play or novel. Terminal output is captured from a
pseudo-terminal and drawn by Chromium, which must be installed; the page, by playwright.
"""

from __future__ import annotations

import argparse
import fcntl
import io
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.text import Text
from serve import served

FOLDER = Path(__file__).parents[1] / "pictures"
COLUMNS, LINES = 100, 44  # of the terminal
COLORS = 255  # of a picture, few enough for a small file
WIDEST = 1700  # pixels
BEGINNING = "The king rose"  # of the text on the page
FRAME = "\x1b[2K"  # clears a line; the last live display comes after the last one


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "charrnn", *map(str, words)]


def drawn(name: str, *words: object, option: str = "--plot") -> None:
    """Let a command draw a picture by itself."""
    path = FOLDER / f"{name}.png"
    subprocess.run(command(*words, option, path, "--force"), check=True, stdout=subprocess.DEVNULL)
    smaller(path)


def screen(name: str, *words: object, lines: int, folder: Path | None = None) -> None:
    """Draw the last lines that a command shows on a terminal, or its last live display."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        command(*words),
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
    )
    os.close(theirs)
    shown = b""
    while piece := read(ours):
        shown += piece
    if process.wait():
        sys.exit(f"charrnn {' '.join(map(str, words))} failed: {shown.decode()}")
    text = shown.decode().replace("\r\n", "\n").replace("\r", "").rsplit(FRAME, 1)[-1]
    text = re.sub(r"\x1b\[\?25[hl]", "", text)
    console = Console(width=COLUMNS, record=True, file=io.StringIO(), force_terminal=True)
    for line in text.splitlines()[:lines]:
        console.print(Text.from_ansi(line), soft_wrap=True)
    line = " ".join(word.name if isinstance(word, Path) else str(word) for word in words)
    photographed(console.export_svg(title=f"charrnn {line}"), FOLDER / f"{name}.png")


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux reports EIO once the last program on a terminal has ended
        return b""


def page(model: Path) -> None:
    """Draw the Write tab of ``charrnn serve``, in which surprising characters are colored."""
    from playwright.sync_api import sync_playwright

    path = FOLDER / "page.png"
    with served(model) as server, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1120, "height": 960})
        opened.goto(f"http://127.0.0.1:{server.port}/")
        opened.fill("#write-text", BEGINNING)
        opened.fill("#length", "420")
        opened.fill("#seed", "1")
        opened.check("#color")
        opened.click("#go")
        while not (opened.text_content("#status") or "").startswith("Wrote"):
            time.sleep(0.1)
        position = opened.input_value("#write-text").rindex(" ") + 1
        move = "at => document.getElementById('write-text').setSelectionRange(at, at)"
        opened.evaluate(move, position)
        time.sleep(2)  # the page asks what the model expects there
        opened.screenshot(path=path)
        browser.close()
    smaller(path)


def chromium() -> str:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), "")


def photographed(svg: str, path: Path) -> None:
    """Render an SVG with Chromium."""
    width, height = (
        round(float(size)) for size in re.findall(r'viewBox="0 0 (\S+) (\S+)"', svg)[0]
    )
    with tempfile.TemporaryDirectory() as name:
        page = Path(name) / "page.html"
        page.write_text(f'<meta charset="utf-8"><body style="margin:0">{svg}', "utf-8")
        line = ["--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},{height}"]
        subprocess.run(
            [chromium(), *line, f"--screenshot={path}", page.as_uri()],
            check=True,
            capture_output=True,
        )
    smaller(path)


def smaller(path: Path) -> None:
    """Rewrite a picture with fewer colors and at most `WIDEST` pixels wide."""
    with Image.open(path) as image:
        image.thumbnail((WIDEST, 10 * WIDEST))
        image.convert("RGB").quantize(COLORS).save(path, optimize=True)
    print(f"{path.name:<16} {path.stat().st_size:>9,} bytes", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument("text", type=Path, help="the text for untrained and small networks")
    parser.add_argument("only", nargs="*", help="names of pictures, such as cells; default: all")
    given = parser.parse_args()
    model, text = ("--model", given.run), given.text.resolve()
    several = [word for cell in ("elman", "irnn:1.1", "gru") for word in ("--cell", cell)]
    tasks = [word for task in ("copy", "adding", "brackets") for word in ("--task", task)]
    inspect = {
        "next": ("next", *model, "--prompt", "The king is ", "--length", 6),
        "cells": ("cells", *model),
        "gradients": ("gradients", text, *model, *several),
        "memory": ("memory", *model),
        "tasks": ("memory", *tasks, "--seeds", 3),
    }
    wanted = given.only or ["plot", *inspect, "unit", "training", "page"]
    FOLDER.mkdir(exist_ok=True)
    for name in wanted:
        if name == "plot":
            drawn(name, "plot", given.run, option="--out")
        elif name == "page":
            page(given.run)
        elif name == "unit":
            line = ("inspect", "cells", *model, "--unit", best(model), "--length", 900)
            screen(name, *line, lines=34)
        elif name == "training":
            with tempfile.TemporaryDirectory() as folder:
                line = ("train", text, "--hidden-size", 128, "--steps", 1000)
                screen(name, *line, lines=LINES - 8, folder=Path(folder))
        else:
            drawn(name, "inspect", *inspect[name])
    print(f"{sum(path.stat().st_size for path in FOLDER.glob('*.png')):,} bytes in total")


def best(model: tuple[object, ...]) -> str:
    """Return the unit that tracks the position in the line best."""
    line = command("inspect", "cells", *model, "--json")
    found = json.loads(subprocess.run(line, check=True, capture_output=True).stdout)["trackers"]
    return next(one["unit"] for one in found if one["feature"] == "position in the line")


if __name__ == "__main__":
    main()
