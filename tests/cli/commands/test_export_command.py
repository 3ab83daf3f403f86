from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import charrnn
from charrnn.errors import ModelError, OptionError
from charrnn.export import transformers_folder
from charrnn.generator import Generator
from charrnn.model import model_file
from charrnn.model.model_file import Model
from cli.conftest import Cli, Run, environment


@pytest.fixture
def model(tiny_model: Model, cli: Cli) -> Path:
    path = cli.folder / "m.safetensors"
    model_file.save(path, tiny_model)
    return path


def test_a_folder_holds_the_trained_network(tiny: Run, cli: Cli) -> None:
    done = cli("export", "-m", tiny.folder, "--to", "huggingface", "--out", "story")
    assert (done.out, done.err.count("\n")) == ("", 1)
    assert "load it with transformers, story as its name and trust_remote_code=True" in done.err
    files = {path.name for path in (cli.folder / "story").iterdir()}
    assert files == set(transformers_folder.NAMES)
    config = json.loads((cli.folder / "story" / "config.json").read_bytes())
    info = cli("info", tiny.folder, "--json").json
    assert config["vocab_size"] == info["config"]["vocab_size"] + 1
    assert (config["cell"], config["hidden_size"]) == ("lstm", 32)


def test_a_file_of_onnx_continues_a_text_as_the_model_does(tiny: Run, cli: Cli) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs 'pip install onnxruntime'")
    pytest.importorskip("onnx", reason="needs 'pip install onnx'")
    cli("export", "-m", tiny.folder, "--to", "onnx", "--out", "story.onnx")
    running = onnxruntime.InferenceSession(str(cli.folder / "story.onnx"))
    metadata = running.get_modelmeta().custom_metadata_map
    tokens = json.loads(metadata["tokens"])
    state = {each.name: np.zeros((1, 32), np.float32) for each in running.get_inputs()[1:]}
    token, written = int(metadata["start_token"]), ""
    for _ in range(30):
        logits, *after = running.run(None, {"token": np.array([token]), **state})
        state = dict(zip(state, after, strict=True))
        token = int(logits[0].argmax())
        written += tokens[token]
    assert written == cli("greedy", "-m", tiny.folder, "--length", 30).out.removesuffix("\n")


def test_what_is_there_is_replaced_only_with_force(model: Path, cli: Cli) -> None:
    line = ("export", "-m", model, "--to", "huggingface", "--out", "out")
    cli(*line)
    first = (cli.folder / "out" / "model.safetensors").read_bytes()
    assert cli(*line, code=2).sentence.endswith(
        "--out out was exported before: use --force to replace it"
    )
    cli(*line, "--force")
    assert (cli.folder / "out" / "model.safetensors").read_bytes() == first
    (cli.folder / "out" / "notes.txt").write_text("mine")
    assert "already holds other files" in cli(*line, "--force", code=2).sentence
    assert (cli.folder / "out" / "notes.txt").read_text() == "mine"
    assert [path.name for path in cli.folder.iterdir() if path.name[0] == "."] == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--to", "onnx", "--out", "."), "--out . is a folder: name a file"),
        (("--to", "onnx", "--out", "m.safetensors"), "m.safetensors exists: choose another name"),
        (("--to", "onnx", "--out", "no/x"), "no is not a folder: create it, or choose another"),
        (("--to", "huggingface", "--out", "m.safetensors"), "is a file: name a folder"),
        (("--to", "huggingface", "--out", "."), "already holds other files"),
        (("--to", "onnx", "--out", "-"), "--out - names no file"),
        (("--to", "hugging", "--out", "x"), "'hugging' is not known: did you mean huggingface?"),
    ],
)
def test_a_place_or_a_format_that_is_wrong_is_said(
    words: tuple[str, ...], sentence: str, model: Path, cli: Cli
) -> None:
    assert sentence in cli("export", "-m", model, *words, code=2).sentence
    assert [path.name for path in cli.folder.iterdir()] == [model.name]


def test_a_model_of_pairs_is_refused(make_pair_model: Callable[..., Model], cli: Cli) -> None:
    model_file.save(cli.folder / "pairs.safetensors", make_pair_model())
    line = ("export", "-m", "pairs.safetensors", "--to", "huggingface", "--out", "out")
    assert "a model of pairs cannot be exported" in cli(*line, code=2).sentence


def test_counts_are_left_out_and_that_is_said(tiny_model: Model, cli: Cli) -> None:
    model_file.save(
        cli.folder / "m.safetensors", replace(tiny_model, training={"counts": {"order": 3}})
    )
    done = cli("export", "-m", "m.safetensors", "--to", "huggingface", "--out", "out")
    assert "the counts of the training text are left out" in done.err


def test_the_missing_package_is_named_with_its_extra(model: Path, cli: Cli) -> None:
    modules = cli.folder / "modules"
    modules.mkdir()
    missing = 'raise ModuleNotFoundError("No module named \'onnx\'", name="onnx")'
    (modules / "onnx.py").write_text(missing)
    root = str(Path(charrnn.__file__).parents[1])
    env = environment() | {"PYTHONPATH": f"{modules}:{root}"}
    done = cli("export", "-m", model, "--to", "onnx", "--out", "x.onnx", code=2, env=env)
    assert "--to onnx needs onnx: run pip install" in done.sentence
    assert "[onnx]" in done.sentence


def test_python_callers_export_too(tiny_model: Model, tmp_path: Path) -> None:
    generator = Generator(tiny_model)
    generator.export("huggingface", tmp_path / "out")
    with pytest.raises(OptionError, match=r"`out`.* was exported before: use `force=True`"):
        generator.export("huggingface", tmp_path / "out")
    generator.export("huggingface", str(tmp_path / "out"), force=True)


def test_a_model_of_pairs_raises_an_error(make_pair_model: Callable[..., Model]) -> None:
    with pytest.raises(ModelError, match="a model of pairs cannot be exported"):
        Generator(make_pair_model()).export("onnx", "x")
