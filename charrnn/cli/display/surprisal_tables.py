"""Write for ``charrnn score``: JSON and CSV for programs, and the options of the output."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from charrnn.cli.display.scores import score_fields
from charrnn.cli.shared import csv_rows, note
from charrnn.config.fields import Options, check_force, choice, flag, integer, path, switch
from charrnn.errors import OptionError
from charrnn.storage.files import would_replace, write_atomically
from charrnn.terminal import TextWriter

if TYPE_CHECKING:
    from charrnn.scoring import Scored, Surprise

MEASURES = ("characters", "bytes", "nats", "bpc", "bits_per_byte")  # of a row
WORST = 5  # passages of each text


@dataclass(frozen=True)
class ScoreOutput(Options):
    """What to report, and where."""

    by: str | None = choice(
        Literal["character", "line", "document"],
        None,
        "Unit to report: character, line or document; lines and documents are ranked.",
        shown="character for one text, document for several",
    )
    line_by_line: bool = switch(
        "Score each line by itself, also of endless input, and write a row of CSV for each as it "
        "comes, in order, on every core. Of pairs, each line is a pair."
    )
    skip: int = integer(
        0,
        10**12,
        0,
        "With --line-by-line: leave out the first N lines, whose rows an earlier command wrote.",
        shown="none",
    )
    html: Path | None = path("Write the colored texts as an HTML page.", shown="none")
    csv: Path | None = path("Write a table with a row per unit; - is stdout.", shown="none")
    force: bool = switch("Overwrite these files if they exist.")
    json: bool = switch("Print one JSON object as the last line of stdout.")

    def __post_init__(self) -> None:
        """Refuse files that exist before anything is scored."""
        super().__post_init__()
        if self.skip and not self.line_by_line:
            raise OptionError("--skip is for --line-by-line: give both, or leave it out")
        for option in ("by", "html", "json"):
            if self.line_by_line and getattr(self, option):
                raise OptionError(
                    f"--line-by-line writes a row for each line, without {flag(option)}: leave "
                    "one of them out"
                )
        check_force(self.force, html=self.html, csv=self.csv)
        for option, file in (("--html", self.html), ("--csv", self.csv)):
            if file and str(file) != "-" and would_replace(file) and not self.force:
                raise OptionError(f"{option} {file} exists: choose another name, or use --force")


def json_fields(texts: Sequence[Scored], by: str) -> dict[str, Any]:
    """Return the scores of lines or documents, or all about the characters, for JSON.

    Args:
        texts: in their order.
        by: character, line or document.
    """
    if by == "line":
        found = lines(surprises(texts))
        return {"lines": [where | score_fields(line.score) for where, line in found]}
    documents = [{"file": text.name, **score_fields(text.score)} for text in texts]
    if by == "character":
        for fields, text in zip(documents, surprises(texts), strict=True):
            fields["symbols"] = list(text.units)
            fields["symbol_nats"] = [round(nats, 7) for nats in text.nats.tolist()]
            fields["worst"] = [_passage(text, part) for part in text.worst(WORST)]
    return {"documents": documents}


def _passage(text: Surprise, part: slice) -> dict[str, Any]:
    """Return where a passage is, and what was expected at its most surprising unit."""
    peak = text.peak(part)
    expected = zip(text.likeliest[peak].tolist(), text.likeliest_nats[peak].tolist(), strict=True)
    line, column = text.position(part.start)
    return {
        "line": line,
        "column": column,
        "text": text[part].text,
        "nats": float(text.nats[part].sum()),
        "most": text.units[peak],
        "probability": math.exp(-float(text.nats[peak])),
        "expected": {text.token_names[token]: math.exp(-nats) for token, nats in expected},
    }


def surprises(texts: Sequence[Scored]) -> list[Surprise]:
    """Return texts whose characters are wanted, not their scores alone."""
    from charrnn.scoring import Surprise

    return [text for text in texts if isinstance(text, Surprise)]


def lines(texts: Sequence[Surprise]) -> Iterator[tuple[dict[str, Any], Surprise]]:
    """Yield each line of each text after its file and number."""
    for text in texts:
        for number, part in enumerate(text.lines(), start=1):
            yield {"file": text.name, "line": number}, text[part]


def csv_table(texts: Sequence[Scored], by: str) -> str:
    """Return a table with a row for each character, line or document, in the order of the text."""
    from charrnn.text import line_ends

    rows: list[list[Any]]
    if by == "character":
        rows = [["file", "line", "column", "symbol", "nats", "bits", "expected", "p"]]
        for text in surprises(texts):
            rows += _character_rows(text)
    elif by == "line":
        rows = [["file", "line", *MEASURES, "text"]]
        for where, line in lines(surprises(texts)):
            text_of_line = line_ends.without_end(line.text)
            rows.append([*where.values(), *score_fields(line.score).values(), text_of_line])
    else:
        rows = [["file", *MEASURES]]
        rows += [[text.name, *score_fields(text.score).values()] for text in texts]
    return csv_rows(rows)


def _character_rows(text: Surprise) -> Iterator[list[Any]]:
    from charrnn.text import line_ends

    line, column = 1, 1
    best, best_nats = text.likeliest[:, 0].tolist(), text.likeliest_nats[:, 0].tolist()
    following = [*text.units[1:], ""]
    for unit, after, nats, token, token_nats in zip(
        text.units, following, text.nats.tolist(), best, best_nats, strict=True
    ):
        bits = round(nats / math.log(2), 7)
        expected = [text.token_names[token], round(math.exp(-token_nats), 7)]
        yield [text.name, line, column, unit, round(nats, 7), bits, *expected]
        ended = line_ends.count(unit) - (unit.endswith("\r") and after.startswith("\n"))
        line += ended
        column = line_ends.position(unit)[1] if ended else column + len(unit)


def write_result(file: Path, text: str) -> None:
    """Write a page or a table to a file, or to stdout if it is ``-``."""
    if str(file) == "-":
        out = TextWriter(sys.stdout)
        out.write(text)
        out.finish()
        return
    write_atomically(file, text.encode())
    note(f"written: {file}")
