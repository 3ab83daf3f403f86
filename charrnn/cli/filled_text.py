"""Show the texts of ``charrnn fill``, or write them to a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from charrnn.cli.display.sample_output import OutputOptions
from charrnn.cli.display.samples import SHOWN
from charrnn.cli.shared import json_line, note, print_json
from charrnn.terminal import visible

if TYPE_CHECKING:
    from charrnn.decoding.filling import Filled

_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"


def show_filled(given: str, texts: Sequence[Filled], output: OutputOptions) -> None:
    """Write texts to stdout, or to where the options say.

    Args:
        given: the text with its gaps.
        texts: the same, filled; each gets a line's end, and a blank line if it has several lines.
        output: where they go.
    """
    from charrnn.storage import files

    if output.json and output.out is None:
        print_json(_fields(given, texts))
        return
    if output.out is not None:
        written = json_line(_fields(given, texts)) if output.json else _lines(texts, bold=False)
        files.write_atomically(output.out, written.encode())
        note(f"written: {output.out}")
        return
    terminal = sys.stdout.isatty()
    bold = terminal and os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR")
    sys.stdout.write(_lines(texts, bold=bold, safe=terminal))
    sys.stdout.flush()


def _lines(texts: Sequence[Filled], *, bold: bool, safe: bool = False) -> str:
    """Return the texts; `safe`: what could control a terminal is shown instead."""
    lines = []
    for filled in texts:
        pieces = [(visible(piece) if safe else piece, new) for piece, new in filled.pieces()]
        shown = [f"{_BOLD}{piece}{_PLAIN}" if new and bold else piece for piece, new in pieces]
        text = filled.text
        end = "" if text.endswith("\n") else "\n"
        several = len(texts) > 1 and "\n" in text.rstrip("\n")
        lines.append("".join(shown) + end + ("\n" if several else ""))
    return "".join(lines)


def _fields(given: str, texts: Sequence[Filled]) -> dict[str, Any]:
    """Return the JSON object."""
    samples = [
        {
            "text": filled.text,
            "seed": filled.seed,
            "log_prob": filled.log_prob,
            "fillings": [{name: getattr(each, name) for name in SHOWN} for each in filled.fillings],
        }
        for filled in texts
    ]
    return {"prompt": given, "samples": samples}
