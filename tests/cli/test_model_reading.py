"""A model knows how its text was read, and the commands that read a text for it do the same."""

from __future__ import annotations

from cli.conftest import Cli, Run
from cli.conftest import names as random_names


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
