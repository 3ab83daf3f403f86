"""A musicologist works in a notebook: watches, interrupts, looks at samples and scores in color.

A real kernel of Jupyter runs the cells, which takes some seconds and a dozen packages that nothing
else here needs: where nbclient and ipykernel are not installed, the tests are skipped.
"""

from __future__ import annotations

import html
import os
import re
from pathlib import Path
from typing import Any

import pytest
from waiting import HANGS

import charrnn

ROOT = Path(charrnn.__file__).parents[1]
CELLS = {
    "train": """
import charrnn, os, signal, warnings
warnings.filterwarnings("error", module="charrnn")
TEXT = "X:1\\nT:The <b>Nettle</b> & Rose\\nK:Ador\\n|:ABc ABc|ABc AGA|BAB cAB|cBA d2c:|\\n" * 60
small = dict(hidden_size=12, num_layers=1, cell="lstm", backend="library", threads=1)
run = charrnn.train(text=TEXT, steps=12, out="run", progress=True, **small)
run""",
    "stream": """
model = charrnn.load(run)
for piece in model.stream("X:2\\n", length=40, seed=1):
    print(piece, end="", flush=True)""",
    "sample": """model.sample("X:2\\n", length=40, seed=1)""",
    "score": """model.score("X:2\\nT:<b>Rose & Nettle</b>\\n")""",
    "mistake": """charrnn.train(text=TEXT, hiden_size=3)""",
    "interrupt": """
seen = []
def press(event):  # once, as the button does that interrupts the kernel
    if isinstance(event, charrnn.Progress) and not seen:
        seen.append(event)
        os.kill(os.getpid(), signal.SIGINT)
stopped = charrnn.train(text=TEXT, steps=2000, out="other", callback=press, **small)
print(stopped.stopped_by, charrnn.load(stopped))""",
    "thread": """
import asyncio
again = await asyncio.to_thread(charrnn.train, text=TEXT, steps=12, out="third", **small)
print(again.valid_nats == run.valid_nats)""",
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Return what each cell showed."""
    for package in ("nbclient", "ipykernel"):
        pytest.importorskip(package, reason="needs 'pip install nbclient ipykernel'")
    import nbclient
    import nbformat

    folder = tmp_path_factory.mktemp("notebook")
    new = nbformat.v4
    book = new.new_notebook(cells=[new.new_code_cell(cell.strip()) for cell in CELLS.values()])
    client = nbclient.NotebookClient(
        book,
        timeout=HANGS,
        allow_errors=True,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
    return {name: cell.outputs for name, cell in zip(CELLS, book.cells, strict=True)}


def _text(outputs: list[Any], stream: str) -> str:
    return "".join(each.text for each in outputs if each.get("name") == stream)


def _shown(outputs: list[Any]) -> dict[str, str]:
    """Return what a cell's value looks like, by MIME type."""
    (found,) = (each for each in outputs if each.output_type == "execute_result")
    return dict(found.data)


def _read(page: str) -> str:
    """Return the text that a browser shows."""
    return html.unescape(re.sub("<[^>]+>", "", page))


def test_a_training_shows_its_plan_and_its_losses(outputs: dict[str, list[Any]]) -> None:
    said = _text(outputs["train"], "stderr")
    assert "network  lstm, 1 x 12" in said
    assert re.search(r"^valid    \d\.\d+ nats", said, re.MULTILINE)
    assert "\x1b" not in said  # a notebook is no terminal
    assert _text(outputs["train"], "stdout") == ""
    assert " nats per character, 12 steps" in _shown(outputs["train"])["text/plain"]


def test_samples_and_scores_are_shown_in_color(outputs: dict[str, list[Any]]) -> None:
    streamed = _text(outputs["stream"], "stdout")
    assert len(streamed) == 40
    sample, score = _shown(outputs["sample"]), _shown(outputs["score"])
    assert _read(sample["text/html"]).startswith(f"X:2\n{streamed}40 characters, seed 1, ")
    assert "T:<b>Rose & Nettle</b>" in _read(score["text/html"])
    assert "nats per character" in score["text/plain"]


def test_a_mistake_and_an_interrupt_leave_the_kernel_alive(outputs: dict[str, list[Any]]) -> None:
    (error,) = outputs["mistake"]
    assert (error.ename, "did you mean 'hidden_size'?" in error.evalue) == ("TypeError", True)
    assert _text(outputs["interrupt"], "stdout").startswith("interrupt <Generator lstm, 1 x 12")
    assert _text(outputs["thread"], "stdout") == "True\n"
