"""The command ``llm``: with our plugin, and through its setting for servers like OpenAI's."""

from __future__ import annotations

import tomllib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from server.conftest import running, save_model

import charrnn

ROOT = Path(charrnn.__file__).parents[1]
Llm = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llm")
    save_model(folder / "runs" / "tale" / "model.safetensors", seed=1)
    (folder / "settings").mkdir()  # of llm, which takes seconds to make its database
    return folder


@pytest.fixture
def ask(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Llm]:
    """Return `ask("-m", ...)`: the exit code and the output of ``llm``, in a folder with a run."""
    monkeypatch.setenv("LLM_USER_PATH", str(folder / "settings"))
    monkeypatch.setenv("LLM_LOAD_PLUGINS", "")  # only what is registered here
    monkeypatch.chdir(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        pytest.importorskip("llm", reason="needs 'pip install llm'")
        import click.testing
        import llm.cli
        import llm.plugins

        from charrnn import llm_plugin

        llm.plugins.load_plugins()
        llm.plugins.pm.register(llm_plugin, "charrnn under test")

        def ask(*words: str, stdin: str = "") -> tuple[int, str]:
            ended = click.testing.CliRunner().invoke(llm.cli.cli, words, input=stdin)
            return ended.exit_code, ended.output

        yield ask
        llm.plugins.pm.unregister(name="charrnn under test")


def test_the_entry_point_names_the_plugin() -> None:
    described = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert described["entry-points"]["llm"] == {"charrnn": "charrnn.llm_plugin"}
    assert (ROOT / "charrnn" / "llm_plugin.py").exists()


def test_a_run_continues_a_prompt_as_its_model_does(ask: Llm) -> None:
    model = charrnn.load("runs/tale")
    options = ("-o", "seed", "5", "-o", "temperature", "0.6", "-o", "top_p", "0.9")
    expected = str(model.sample("once", length=50, seed=5, temperature=0.6, top_p=0.9))
    line = ("-m", "charrnn/tale", "once", *options)
    assert ask(*line, "-o", "max_tokens", "50") == (0, expected + "\n")
    assert ask(*line, "-o", "length", "50", "--no-stream") == (0, expected + "\n")
    assert ask("-m", "charrnn/newest", *line[2:], "-o", "length", "50") == (0, expected + "\n")


def test_it_streams(ask: Llm) -> None:
    import llm

    response = llm.get_model("charrnn/tale").prompt("once", seed=5, length=300)
    pieces = list(response)
    assert len(pieces) > 3
    assert "".join(pieces) == str(charrnn.load("runs/tale").sample("once", seed=5, length=300))


def test_a_conversation_is_one_text(ask: Llm) -> None:
    options = ("-o", "seed", "5", "-o", "length", "20", "-o", "regex", "[a-z ]+")
    code, first = ask("-m", "charrnn/tale", "once", *options)
    assert code == 0
    code, second = ask("-c", " upon", *options)
    text = "once" + first.removesuffix("\n") + " upon"
    expected = charrnn.load("runs/tale").sample(text, seed=5, length=20, regex="[a-z ]+")
    assert (code, second) == (0, str(expected) + "\n")


def test_its_options_are_those_of_sampling(ask: Llm) -> None:
    code, listed = ask("models", "list", "--options", "-q", "charrnn/tale")
    assert code == 0
    for name in ("temperature", "top_p", "seed", "max_tokens", "regex", "repeat_penalty", "stop"):
        assert f"{name}:" in listed
    assert "num_samples:" not in listed


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("-o", "top_p", "3"), "`top_p` must be a number above 0 and at most 1"),
        (("-o", "temperatur", "1"), "temperatur"),
        (("-s", "Be brief."), "follows no instructions: leave the system prompt out"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    words: tuple[str, ...], sentence: str, ask: Llm
) -> None:
    code, said = ask("-m", "charrnn/tale", "once", *words)
    assert code == 1
    assert said.startswith("Error: ")
    assert sentence in said
    assert "Traceback" not in said


def test_a_model_that_does_not_exist_is_not_known(ask: Llm) -> None:
    code, said = ask("-m", "charrnn/nothing", "once")
    assert code == 1
    assert "charrnn/nothing" in said


def test_a_server_answers_it_by_openais_protocol(ask: Llm, folder: Path) -> None:
    """A file of its own names the server; no plugin is needed."""
    with running(folder, Path("runs/tale")) as server:
        (folder / "settings" / "extra-openai-models.yaml").write_text(
            f"- model_id: served\n  model_name: tale\n  api_base: {server.url}/v1\n"
            "  completion: true\n"
        )
        asked: Any = {"prompt": "once", "max_tokens": 40, "seed": 3, "temperature": 0.5}
        expected = server.complete(model="tale", **asked)["choices"][0]["text"]
        options = ("-o", "max_tokens", "40", "-o", "seed", "3", "-o", "temperature", "0.5")
        assert ask("-m", "served", "once", *options) == (0, expected + "\n")
        assert ask("-m", "served", "once", *options, "--no-stream") == (0, expected + "\n")
        code, said = ask("-m", "served", "once", "-o", "top_p", "-1")
        assert code == 1
        assert "top_p" in said
        assert server.faults == []
