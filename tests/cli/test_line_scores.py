"""`score --line-by-line`: a row for each line, as it comes."""

from __future__ import annotations

import csv
import io
import signal
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from charrnn.cli.display.surprisal_tables import ScoreOutput
from charrnn.cli.line_scores import write_line_scores
from charrnn.config import DynamicOptions
from charrnn.decoding import workers
from charrnn.errors import PromptError
from charrnn.generator import Generator
from charrnn.model import model_file
from charrnn.model.model_file import Model

from .conftest import Cli, Run

MakeModel = Callable[..., Model]
TEXT = "the harbour was old.\n\nthe sea was café.\r\nand quiet 日本 🙂 sea"
ROWS = ("characters", "bytes", "nats", "bpc", "bits_per_byte")


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.fixture
def lines(tiny: Run, cli: Cli) -> list[str]:
    """Write a text of four lines, the last without an end."""
    (cli.folder / "text.txt").write_text(TEXT, "utf-8", newline="")
    return TEXT.replace("\r", "").split("\n")


def test_rows_are_those_of_lines_as_documents(tiny: Run, cli: Cli, lines: list[str]) -> None:
    words = ("score", "-m", tiny.folder, "text.txt", "--newline", "lf")
    found = cli(*words, "--line-by-line")
    rows = table(found.out)
    assert [row["line"] for row in rows] == ["1", "2", "3", "4"]
    assert [row["text"] for row in rows] == lines
    documents = cli(*words, "--document-separator", "\\n", "--by", "document", "--csv", "-").out
    for row, document in zip(rows, table(documents), strict=True):
        for name in ROWS:
            assert float(row[name]) == pytest.approx(float(document[name]), rel=1e-9), name
    piped = cli(*words[:3], "-", *words[4:], "--line-by-line", stdin=TEXT.encode())
    assert piped.out == found.out
    assert "standard input: CR LF line ends were converted" in piped.err
    to_file = cli(*words, "--line-by-line", "--csv", "rows.csv")
    assert (to_file.out, (cli.folder / "rows.csv").read_text("utf-8")) == ("", found.out)
    assert "written: rows.csv (4 lines)" in to_file.err


def test_an_output_that_was_interrupted_goes_on(tiny: Run, cli: Cli, lines: list[str]) -> None:
    words = ("score", "-m", tiny.folder, "text.txt", "--newline", "lf", "--line-by-line")
    whole = cli(*words).out.splitlines(keepends=True)
    assert cli(*words, "--skip", 3).out == whole[4]
    piped = (*words[:3], "-", *words[4:], "--skip", 2)
    assert cli(*piped, stdin=TEXT.encode()).out == "".join(whole[3:])
    left = cli(*words, "--skip", 1, "--csv", "rest.csv")
    assert (cli.folder / "rest.csv").read_text("utf-8") == "".join(whole[2:])
    assert "rest.csv (3 lines)" in left.err
    assert "--skip 4 leaves none of 4 lines" in cli(*words, "--skip", 4, code=2).sentence


def test_a_line_that_cannot_be_scored_is_named_after_the_others(tiny: Run, cli: Cli) -> None:
    (cli.folder / "bad.txt").write_text("the sea\nthe ſea\nthe sea\n", "utf-8")
    words = ("score", "-m", tiny.folder, "--line-by-line")
    for name, said in (("bad.txt", "bad.txt"), ("-", "standard input")):
        data = (cli.folder / "bad.txt").read_bytes()
        done = cli(*words, name, code=2, stdin=data)
        assert [row["text"] for row in table(done.out)] == ["the sea"]
        assert f"{said}, line 2: " in done.sentence
        assert "'ſ' (U+017F)" in done.sentence
        assert "--unknown nearest or skip" in done.sentence
    near = cli(*words, "bad.txt", "--unknown", "nearest")
    assert [row["text"] for row in table(near.out)] == ["the sea", "the ſea", "the sea"]
    assert len({row["nats"] for row in table(near.out)}) == 1
    assert "unknown characters: 'ſ' (U+017F)" in near.err
    (cli.folder / "bad.txt").write_text("ſ\nthe sea\nſ", "utf-8")
    rows = table(cli(*words, "bad.txt", "--unknown", "skip").out)
    assert [row["characters"] for row in rows] == ["1", "8", "0"]
    assert rows[2]["bpc"] == ""
    first = cli(*words, "bad.txt", code=2)
    assert (first.out, "line 1: " in first.sentence) == ("", True)
    assert "is empty" in cli(*words, "-", code=2).sentence


def test_what_does_not_go_together_is_refused(tiny: Run, cli: Cli, lines: list[str]) -> None:
    words = ("score", "-m", tiny.folder, "text.txt", "--line-by-line")
    for more in ("--by line", "--html x.html", "--json", "--dynamic", "--document-separator x"):
        assert more.split()[0] in cli(*words, *more.split(), code=2).sentence
    assert "one file" in cli(*words, "text.txt", code=2).sentence
    (cli.folder / "other.txt").write_text("sea")
    assert "name one of them" in cli("score", "-m", tiny.folder, ".", *words[4:], code=2).sentence
    assert "--skip is for --line-by-line" in cli(*words[:4], "--skip", 1, code=2).sentence


def _feed(monkeypatch: pytest.MonkeyPatch, blocks: Iterator[bytes]) -> None:
    stream = SimpleNamespace(read1=lambda size: next(blocks, b""))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream, isatty=lambda: False))


@pytest.mark.parametrize("processes", [1, 2])
def test_lines_of_a_pipe_are_scored_as_they_come(
    make_model: MakeModel,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    processes: int,
) -> None:
    """Of an endless pipe, only what has come is in memory; a line may come in pieces."""
    monkeypatch.setattr("charrnn.storage.machine.cores", lambda: processes)
    monkeypatch.setattr(workers, "WORTHWHILE", 1)
    shown: list[str] = []

    def blocks() -> Iterator[bytes]:
        yield b"ab\n"
        for _ in range(4):
            shown.append(capsys.readouterr().out)  # before anything else comes
            yield b"c\nc"
        yield b"\na\xffb\n"

    _feed(monkeypatch, blocks())
    given = (Generator(make_model("abc\n")), ["-"], {}, "error")
    with pytest.raises(PromptError, match=r"standard input, line 7: .*'ÿ'"):
        write_line_scores(*given, ScoreOutput(), DynamicOptions())
    texts = [[row.rsplit(",", 1)[1] for row in some.splitlines()] for some in shown]
    assert texts == [["text", "ab"], ["c"], ["cc"], ["cc"]]
    assert [row.rsplit(",", 1)[1] for row in capsys.readouterr().out.splitlines()] == ["cc", "c"]


def test_pairs_are_scored_line_by_line(make_pair_model: MakeModel, cli: Cli) -> None:
    model_file.save(cli.folder / "pairs.safetensors", make_pair_model("abc"))
    text = 'ab\tc\n\nc\tba\n{"source": "a", "target": "b"}\n'
    (cli.folder / "p.tsv").write_text(text)
    words = ("score", "p.tsv", "-m", "pairs.safetensors")
    found = cli(*words, "--line-by-line")
    rows = table(found.out)
    assert [row["text"] for row in rows] == text.splitlines()
    scored = [row for row in rows if row["characters"] != "0"]
    ranked = table(cli(*words, "--by", "document", "--csv", "-").out)
    for row, pair in zip(scored, ranked, strict=True):
        assert float(row["nats"]) == pytest.approx(float(pair["nats"]), rel=1e-6)
    piped = cli("score", "-", *words[2:], "--line-by-line", stdin=text.encode())
    assert piped.out == found.out
    (cli.folder / "p.tsv").write_text("ab\tc\nabc\n")
    bad = cli(*words, "--line-by-line", code=2)
    assert len(table(bad.out)) == 1
    assert "p.tsv, line 2: no tab in 'abc'" in bad.sentence


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
def test_endless_input_ends_by_a_signal_or_with_its_reader(tiny: Run, cli: Cli) -> None:
    line = '{ yes "the sea" || true; } | charrnn score - -m "$1" --line-by-line | head -n 3'
    done = cli.shell(line, tiny.folder)
    assert (done.code, done.err) == (0, "")
    assert [row["text"] for row in table(done.out)] == ["the sea"] * 2
    running = cli.start("score", "-", "-m", tiny.folder, "--line-by-line")
    assert running.process.stdin
    assert running.process.stdout
    running.process.stdin.write(b"the sea\n")
    running.process.stdin.flush()
    assert running.process.stdout.readline().startswith(b"line,")
    assert running.process.stdout.readline().startswith(b"1,")
    running.signal(signal.SIGINT)
    ended = running.end()
    assert (ended.code, ended.out, ended.err.strip()) == (130, "", "")
