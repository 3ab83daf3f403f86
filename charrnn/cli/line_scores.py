"""Score the lines of a file, or of a pipe as they come: ``charrnn score --line-by-line``."""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from charrnn.cli.display.progress import ProgressBar
from charrnn.cli.display.scores import score_fields
from charrnn.cli.display.surprisal_tables import MEASURES, ScoreOutput
from charrnn.cli.shared import csv_rows, left_after, note
from charrnn.cli.source_lines import piped_lines
from charrnn.cli.texts import read_for
from charrnn.config.fields import flag
from charrnn.errors import OptionError, PromptError, counted
from charrnn.terminal import TextWriter

if TYPE_CHECKING:
    from charrnn.config import DynamicOptions
    from charrnn.generator import Generator as Model
    from charrnn.scoring import Score
    from charrnn.scoring.many_scores import Batch, Text

_OF_DOCUMENTS = ("document_separator", "include", "exclude")  # options without meaning for lines
_AS_LINES = {"pairs": False, "swap": False, "items": "", "document_separator": ""}


@dataclass
class LineScores:
    """The lines of a text, each scored by itself.

    Attributes:
        model: scores them.
        file: the text; ``-`` is standard input.
        given: the options of `Reading` that the user gave.
        unknown: what to do with characters that the model does not know.
        skip: how many lines are left out.
        count: how many lines were read so far.
    """

    model: Model
    file: str
    given: Mapping[str, Any]
    unknown: str
    skip: int
    count: int = 0
    _unscored: deque[tuple[int, Sequence[str]]] = field(default_factory=deque)

    def rows(self) -> Generator[str]:
        """Yield rows of CSV, some at a time; the first names the columns.

        Raises:
            PromptError: a line cannot be scored; the rows of those before it came first.
            OptionError: no line is left after those to skip.
        """
        names = [] if self.skip else [["line", *MEASURES, "text"]]
        name = f"{self._name}, line"
        for scores in self.model.many_scores.scores(self._batches(), self.unknown, name):
            first, lines = self._unscored.popleft()
            numbered = enumerate(zip(lines, scores, strict=False), start=first)
            if scores:
                yield csv_rows(names + [_row(number, *scored) for number, scored in numbered])
                names = []
        if not self.count:
            raise PromptError(f"{self._name} is empty: write one text on each line")
        left_after(self.skip, self.count, "line")

    @property
    def _name(self) -> str:
        return "standard input" if self.file == "-" else self.file

    def _batches(self) -> Iterator[Batch | None]:
        from charrnn.scoring.many_scores import Batch

        for block in self._blocks():
            if block is None:
                yield None
                continue
            *ended, last = block.split("\n")
            lines = [f"{line}\n" for line in ended] + ([last] if last else [])
            rest = lines[max(0, self.skip - self.count) :]
            self.count += len(lines)
            first = self.count - len(rest) + 1
            texts, error = self._texts(rest, first)
            if texts:
                self._unscored.append((first, rest))
                yield Batch(first, texts)
            if error:
                raise error

    def _blocks(self) -> Iterator[str | None]:
        """Yield whole lines, some at a time; None where no more have come through a pipe."""
        if self.file == "-":
            own = {name: value for name, value in self.given.items() if name != "max_unpacked"}
            yield from piped_lines("lines", replace(self.model.reading, **own))
            return
        from charrnn.text.reader import Reader, silent

        text = read_for(self.model.reading, [self.file], {**_AS_LINES, **self.given})
        if len(text.sources) != 1:
            raise OptionError(f"{self.file} has {len(text.sources):,} files: name one of them")
        held: list[bytes] = []  # the beginning of a line whose end has not come
        with ProgressBar() as bar:
            progress = silent if sys.stdout.isatty() else bar
            for piece in Reader(text.sources, text.reading, progress, "scoring"):
                end = piece.data.rfind(b"\n") + 1
                if end:
                    yield b"".join([*held, piece.data[:end]]).decode()
                    held = []
                held.append(piece.data[end:])
            yield b"".join(held).decode()

    def _texts(self, lines: Sequence[str], first: int) -> tuple[list[Text], PromptError | None]:
        """Return what lines hold, and what is wrong with the one that comes after these."""
        if not self.model.reading.pairs:
            return list(lines), None
        from charrnn.text import pair_lines

        parse = pair_lines.parser(self.file)
        texts: list[Text] = []
        for number, line in enumerate(lines, start=first):
            bare = line.removesuffix("\n")
            try:
                pair = parse(bare.encode()) if bare else ()
            except ValueError as error:
                return texts, PromptError(f"{self._name}, line {number:,}: {error}")
            sides = [side.decode() for side in pair]
            swapped = sides[::-1] if self.model.reading.swap else sides
            texts.append((swapped[0], swapped[1]) if sides else "")
        return texts, None


def _row(number: int, line: str, score: Score) -> list[Any]:
    from charrnn.text import line_ends

    measured = list(score_fields(score).values()) if score.characters else [0, 0, "", "", ""]
    return [number, *measured, line_ends.without_end(line)]


def write_line_scores(
    model: Model,
    files: Sequence[str],
    given: Mapping[str, Any],
    unknown: str,
    output: ScoreOutput,
    learning: DynamicOptions,
) -> None:
    """Score each line of a file by itself, and write a row for each as it is scored.

    Raises:
        OptionError: an option is not for lines by themselves, or several files are named.
        CharRNNError: the text cannot be read, or a line cannot be scored.
    """
    if learning.dynamic:
        raise OptionError(
            "--line-by-line scores each line by itself, and --dynamic learns from those before: "
            "leave one of them out"
        )
    unused = [flag(name) for name in _OF_DOCUMENTS if name in given]
    if unused:
        raise OptionError(f"--line-by-line scores lines: leave out {unused[0]}")
    if len(files) != 1:
        raise OptionError("--line-by-line numbers the lines of one file: name one")
    scores = LineScores(model, files[0], given, unknown, output.skip)
    with contextlib.closing(scores.rows()) as rows:
        if output.csv and str(output.csv) != "-":
            from charrnn.storage.files import write_atomically

            write_atomically(output.csv, (some.encode() for some in rows))
            note(f"written: {output.csv} ({counted(scores.count - output.skip, 'line')})")
            return
        writer = TextWriter(sys.stdout)
        for some in rows:
            writer.write(some)
            writer.flush()
        writer.finish()
