"""A model knows how its text was read, and the commands that read a text for it do the same."""

from __future__ import annotations

import pytest

from charrnn.model import model_file
from charrnn.model.model_file import MODEL_NAME
from cli.conftest import BY_LIBRARY, Cli, Run
from cli.conftest import names as random_names

QUICK = ("--steps", 15, "--hidden-size", 16, *BY_LIBRARY, "--num-layers", 1, "--out", "run")


def test_a_file_is_scored_as_the_validation_text_was(apart: Run, cli: Cli) -> None:
    valid_nats = apart.done.json["valid_nats"]
    held_out = random_names(600)[-apart.done.json["valid_characters"] :]
    (cli.folder / "b.txt").write_text(held_out, newline="")
    own = cli("eval", "-m", apart.folder, "--json").json
    assert own["nats"] == pytest.approx(valid_nats, abs=2e-4)
    of_file = cli("eval", "b.txt", "-m", apart.folder, "--json")
    assert of_file.json == own
    assert of_file.err == f"model: {apart.model}\n"
    scored = cli("score", "b.txt", "-m", apart.folder, "--json").json
    assert scored["nats"] == pytest.approx(own["nats"], abs=2e-4)
    assert scored["by"] == "document"
    # Read as one text it surprises the model much more; no window of 256 lies within a name.
    one = cli("eval", "b.txt", "-m", apart.folder, "--document-separator", "", "--json").json
    assert one["nats"] > valid_nats + 0.3
    assert own["window256_nats"] is None


def test_a_text_is_validated_as_it_is_evaluated_and_no_window_spans_documents(cli: Cli) -> None:
    pages = [random_names(60 + 20 * number) for number in range(9)]
    (cli.folder / "a.txt").write_text("%".join(pages))
    (cli.folder / "b.txt").write_text("%".join(pages[::-1]))
    words = ("--valid", "b.txt", "--document-separator", "%", "--reset-at-documents", "--json")
    trained = cli("train", "a.txt", *words, *QUICK).json
    found = cli("eval", "b.txt", "-m", "run", "--json").json
    assert found["nats"] == pytest.approx(trained["valid_nats"], abs=2e-4)
    assert found["window256_nats"] == pytest.approx(trained["valid_window256_nats"], abs=2e-4)
    one = cli("eval", "b.txt", "-m", "run", "--document-separator", "#", "--json").json
    assert one["window256_nats"] != pytest.approx(found["window256_nats"], abs=2e-4)


@pytest.mark.parametrize("trained_with", ["lf", "keep"])
def test_line_ends_are_those_of_the_training(trained_with: str, cli: Cli) -> None:
    (cli.folder / "dos.txt").write_bytes(random_names(300).replace("\n", "\r\n").encode())
    cli("train", "dos.txt", "--newline", trained_with, *QUICK)
    score = cli("score", "dos.txt", "-m", "run", "--json").json
    evaluated = cli("eval", "dos.txt", "-m", "run", "--exact", "--json").json
    assert score["nats"] == pytest.approx(evaluated["nats"], abs=1e-4)
    bytes_of = {"lf": random_names(300), "keep": random_names(300).replace("\n", "\r\n")}
    assert score["characters"] == len(bytes_of[trained_with])
    cells = cli("inspect", "cells", "dos.txt", "-m", "run", "--unit", "1.1", "--json").json
    assert ("\r" in cells["text"]) == (trained_with == "keep")
    if trained_with == "lf":
        kept = cli("score", "dos.txt", "-m", "run", "--newline", "keep", code=2)
        assert "dos.txt: lines end in CR LF, which is kept (--newline lf converts it)" in kept.err


def test_prompt_files_are_read_as_the_text_of_the_training(cli: Cli) -> None:
    russian = "привет, мир\n" * 60
    (cli.folder / "koi.txt").write_bytes(russian.replace("\n", "\r\n").encode("koi8-r"))
    cli("train", "koi.txt", "--encoding", "koi8-r", "--newline", "lf", *QUICK)
    (cli.folder / "prompt.txt").write_bytes("мир\r\nпри".encode("koi8-r"))
    words = ("--length", 5, "--unknown", "error", "-m", "run")
    done = cli("greedy", "--prompt-file", "prompt.txt", *words)
    assert done.out.startswith("мир\nпри")
    assert "prompt.txt is read as KOI8-R" in done.err
    (cli.folder / "utf8.txt").write_text("мир\nпри", "utf-8", newline="")
    assert cli("greedy", "--prompt-file", "utf8.txt", *words).out == done.out
    assert cli("greedy", "--prompt", "мир\r\nпри", *words).out == done.out


def test_info_says_how_the_text_was_read(apart: Run, cli: Cli) -> None:
    out = cli("info", apart.folder).out
    assert "reading.documents_apart: True\n" in out
    assert "reading.document_separator: ↵\n" in out


def test_units_begin_anew_with_each_document(apart: Run, cli: Cli) -> None:
    (cli.folder / "one.txt").write_text("carski\n", newline="")
    (cli.folder / "more.txt").write_text("anna\ncarski\ncarski\n", newline="")
    words = ("-m", apart.folder, "--unit", "1.1", "--json")
    one, more = (cli("inspect", "cells", f"{n}.txt", *words).json for n in ("one", "more"))
    assert more["values"][5:] == one["values"] * 2
    for command in ("gradients", "memory"):
        fitting = ("--lags", 3) if command == "gradients" else ("--longest", 8)
        err = cli("inspect", command, apart.text, "-m", apart.folder, *fitting, "--json").err
        assert "run was trained on documents apart: here it reads the text as one" in err


def test_a_new_training_of_a_model_reads_its_text_as_the_first_one_did(
    apart: Run, cli: Cli
) -> None:
    (cli.folder / "new.txt").write_text(random_names(300).replace("a", "i"), newline="")
    (cli.folder / "one.txt").write_text(" ".join(random_names(300).split()))
    small = ("--steps", 5, *BY_LIBRARY[2:], "--init-from", apart.folder)
    done = cli("train", "new.txt", *small, "--out", "new")
    assert "state reset at documents" in done.err
    assert model_file.load(cli.folder / "new" / MODEL_NAME).reading.separator == "\n"
    as_one = "one is read as one text; the model of --init-from was trained on documents apart"
    assert as_one in cli("train", "one.txt", *small, "--out", "one").err
    assert as_one not in done.err


def test_a_text_without_the_separator_of_the_training_is_noted_once(apart: Run, cli: Cli) -> None:
    note = "one: '\\n', which ended each document of the training, does not occur"
    (cli.folder / "one.txt").write_text("annason")
    (cli.folder / "other.txt").write_text("annason\n")
    for command in ("score", "eval"):
        assert cli(command, "one.txt", "-m", apart.folder).err.count(note) == 1
        assert note not in cli(command, "other.txt", "-m", apart.folder).err
        given = ("--document-separator", "")
        assert note not in cli(command, "one.txt", "-m", apart.folder, *given).err


def test_a_text_of_a_model_of_documents_is_one_document(apart: Run, cli: Cli) -> None:
    names = set(random_names(600).splitlines())
    words = ("-m", apart.folder, "--length", 300, "--seed", 1)
    written = [
        cli("sample", *words).out,
        cli("greedy", *words[:-2]).out,
        cli("beam", *words[:-2]).out,
    ]
    assert all(text and "\n" not in text for text in written)
    found = cli("sample", *words, "--num-samples", 40, "--json").json["samples"]
    assert {sample["finished_by"] for sample in found} == {"stop"}
    texts = [sample["text"] for sample in found]
    assert all("\n" not in text and len(text) < 30 for text in texts)
    assert len(names & set(texts)) > 5
    # What a document's prompt writes is the same after other documents.
    after = cli("sample", *words, "--prompt", "anna\nbo").out.removeprefix("anna\nbo")
    assert after == cli("sample", *words, "--prompt", "bo").out.removeprefix("bo")


def test_a_state_saved_at_a_documents_end_continues_with_the_next(apart: Run, cli: Cli) -> None:
    words = ("-m", apart.folder, "--length", 300)
    cli("sample", *words, "--prompt", "bo", "--seed", 1, "--save-state", "state")
    assert cli("greedy", *words, "--load-state", "state").out == cli("greedy", *words).out
    again = [cli("sample", *words, "--load-state", "state").out for _ in range(2)]
    assert again[0] == again[1]  # its random numbers go on
    assert "\n" not in again[0]
