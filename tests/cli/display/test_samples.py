"""How texts are written: as the entries of a list, and without those that are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from charrnn.cli.display.sample_output import OutputOptions, Target
from charrnn.config import SampleConfig
from cli.conftest import Cli, Run, needs_terminal, on_terminal


@pytest.mark.parametrize(
    ("separator", "text", "ending"),
    [
        ("\n", "one", "\n"),
        ("\n", "one\n", ""),
        ("\n\n", "one", "\n\n"),
        ("\n\n", "one\n", "\n"),
        ("\n\n", "one\n\n", ""),
        ("\n\n", "", "\n\n"),
        ("\0", "one\n", "\0"),
        ("%\n", "one%", "\n"),
        ("", "one", ""),
    ],
)
def test_a_separator_is_completed(separator: str, text: str, ending: str) -> None:
    target = Target.of(OutputOptions(separator=separator), 2, SampleConfig())
    assert target.ending(text) == ending


def test_texts_end_as_their_settings_say() -> None:
    def separator(separator: str = "", count: int = 2, **config: object) -> str:
        target = Target.of(OutputOptions(), count, SampleConfig(**config), separator)
        return target.ending("text")

    assert separator() == "\n\n"
    assert separator(max_lines=1) == separator(stop="\n") == separator("\n") == "\n"
    assert separator("%\n", max_lines=1) == "%\n"
    assert separator(count=1) == separator("\n", count=1) == ""


def test_a_model_of_a_list_writes_an_entry_a_line(apart: Run, cli: Cli) -> None:
    words = ("sample", "-m", apart.folder, "--seed", 1, "--num-samples", 40)
    done = cli(*words)
    assert done.err == "seed: 1\n"
    lines = done.out.splitlines()
    assert done.out == "".join(f"{line}\n" for line in lines)
    assert lines == [sample["text"] for sample in cli(*words, "--json").json["samples"]]
    assert cli(*words, "--keep-stop").out == done.out
    assert cli(*words, "--separator", ", ").out == "".join(f"{line}, " for line in lines)
    cli(*words, "--out", "names.txt")
    assert (cli.folder / "names.txt").read_text() == done.out
    assert cli("sample", "-m", apart.folder, "--seed", 1).out == lines[0]


@needs_terminal
def test_a_list_has_no_headers_on_a_terminal(apart: Run, tmp_path: Path) -> None:
    words = ("sample", "-m", apart.folder, "--seed", 1, "--num-samples", 3)
    lines = Cli(tmp_path)(*words).out.splitlines()
    assert on_terminal(tmp_path, *words).screen == "\r\n".join(["seed: 1", *lines, ""])


def test_no_text_is_written_twice(apart: Run, cli: Cli) -> None:
    words = ("sample", "-m", apart.folder, "--seed", 1, "--num-samples")
    lines = cli(*words, 20, "--unique").out.splitlines()
    assert len(set(lines)) == 20
    plain = cli(*words, 200).out.splitlines()
    assert lines == list(dict.fromkeys(plain))[:20]
    few = cli(*words, 3, "--unique", "--length", 1, "--allow", "ab")
    assert len(few.out.splitlines()) == len(set(few.out.splitlines())) == 2
    assert "2 of 3 texts after 501 tries: the others repeat one of these" in few.err


def test_new_texts_are_not_in_the_training_text(apart: Run, cli: Cli) -> None:
    trained = set(apart.text.read_text().splitlines())
    words = ("sample", "-m", apart.folder, "--seed", 1)
    many = (*words, "--num-samples", 20)
    plain = cli(*many, "--novelty", "--json").json["samples"]
    known = [sample["text"] in trained for sample in plain]
    assert any(known)
    assert [sample["novelty"]["entry"] for sample in plain] == known
    for sample in plain:
        if sample["novelty"]["entry"]:
            line = apart.text.read_text().splitlines()[sample["novelty"]["corpus_line"] - 1]
            assert line == sample["text"]
    done = cli(*many, "--new")
    assert len(done.out.splitlines()) == 20
    assert trained.isdisjoint(done.out.splitlines())
    assert "novelty" not in done.err.replace("novelty: indexing", "")
    entry = next(number for number, is_known in enumerate(known, start=1) if is_known)
    said = f"novelty: {entry} of 20: the whole text is an entry of the training text (line "
    assert said in cli(*many, "--novelty").err
    name = min(trained)
    none = cli(*words, "--new", "--regex", name)
    assert none.out == ""
    assert "0 of 1 text after 500 tries: the others repeat one of these, or are not new" in none.err


def test_new_text_of_a_model_of_one_text_occurs_nowhere(tiny: Run, cli: Cli) -> None:
    words = ("sample", "-m", tiny.folder, "--seed", 1, "-n", 3, "--num-samples", 30, "--unique")
    words = (*words, "--temperature", 1.3)
    trained = tiny.text.read_text("utf-8")
    plain = [sample["text"] for sample in cli(*words, "--json").json["samples"]]
    new = [sample["text"] for sample in cli(*words, "--new", "--json").json["samples"]]
    assert any(text in trained for text in plain)
    assert len(new) == 30
    assert not any(text in trained[: len(trained) * 9 // 10] for text in new)
