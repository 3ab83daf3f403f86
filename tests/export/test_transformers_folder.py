"""Needs transformers where a folder is loaded; an installation for tests has it."""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FORMS, random_values
from own_cells import MIXED

from charrnn.cells import CELLS, find
from charrnn.compiler import cell_file
from charrnn.config import ModelConfig
from charrnn.config.exporting import ExportOptions
from charrnn.export import export, transformers_folder
from charrnn.generator import Generator
from charrnn.inference.numpy_engine import NumpyEngine
from charrnn.model.model_file import Model
from charrnn.text.tokenizer import CharTokenizer

ALPHABET = "abcd\n"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return transformers, which keeps the code of models in a folder of the tests."""
    home = str(tmp_path_factory.mktemp("home"))
    known = {"HF_HOME": home, "HF_MODULES_CACHE": home, "HF_HUB_OFFLINE": "1"}
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        for name, value in known.items():
            patch.setenv(name, value)
        found = pytest.importorskip("transformers", reason="needs 'pip install transformers'")
        found.utils.logging.disable_progress_bar()
        yield found


def load(library: Any, folder: Path) -> tuple[Any, Any]:
    model = library.AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    return model, library.AutoTokenizer.from_pretrained(folder, trust_remote_code=True)


def made(folder: Path, model: Model) -> Path:
    export(model, ExportOptions(to="huggingface", out=folder, force=True))
    return folder


def model_of(cell: str, seed: int = 3, **form: Any) -> Model:
    layers = 1 if cell == "jordan" else 2
    sizes = {"hidden_size": 6, "embedding_size": 3, "num_layers": layers}
    config = ModelConfig(5, cell=cell, **{**sizes, **form})
    values = random_values(config, seed, scale=0.7)
    return Model(config, CharTokenizer.from_texts(ALPHABET), values)


def assert_same_logits(network: Any, model: Model) -> None:
    engine, start = NumpyEngine(model.config, model.values), model.config.start_token
    ids = np.random.default_rng(1).integers(0, model.config.vocab_size, (6, 2))
    ids[0] = start
    expected, _ = engine.read(ids, engine.start_state(2))
    with torch.no_grad():
        found = network(torch.from_numpy(ids.T.copy())).logits.numpy()
    assert (found[..., start] == -np.inf).all()  # it is never written
    np.testing.assert_allclose(found[..., :start].swapaxes(0, 1), expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_gives_our_logits(cell: str, library: Any, tmp_path: Path) -> None:
    for name in ("plain", "all"):
        model = model_of(cell, **FORMS[name])
        network, _ = load(library, made(tmp_path / name, model))
        assert_same_logits(network, model)


def test_every_form_gives_our_logits(form: dict[str, Any], library: Any, tmp_path: Path) -> None:
    model = model_of("lstm-peephole", **form)
    assert_same_logits(load(library, made(tmp_path / "out", model))[0], model)


def test_tokens_may_be_one_hot_the_output_tied_and_a_cell_ones_own(
    library: Any, make_model: Callable[..., Model], tmp_path: Path
) -> None:
    for name, model in (
        ("one-hot", make_model(embedding_size=0, num_layers=3, skip_connections=True)),
        ("own", make_model(cell=MIXED, num_layers=2)),
        ("tied", make_model(num_layers=2, skip_connections=True, tied_output=True)),
        ("ensemble", make_model(num_layers=2, hidden_size=6, embedding_size=4, ensemble=2)),
    ):
        assert_same_logits(load(library, made(tmp_path / name, model))[0], model)


@pytest.mark.parametrize("ensemble", [1, 2])
def test_it_writes_what_we_write(library: Any, tmp_path: Path, ensemble: int) -> None:
    """Greedy and with beams, one text or several of other lengths, with its state or without."""
    sizes = {"hidden_size": 6 * ensemble, "embedding_size": 4 * ensemble}
    model = model_of("lstm-coupled", learned_start=True, ensemble=ensemble, **sizes)
    network, tokenizer = load(library, made(tmp_path / "out", model))
    generator = Generator(model, threads=1)
    texts = ["abc", "d", "b\na"]
    inputs = tokenizer(texts, return_tensors="pt", padding=True)

    def written(**options: Any) -> list[str]:
        with torch.no_grad():
            ids = network.generate(**inputs, do_sample=False, max_new_tokens=12, **options)
        found = tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [whole.removeprefix(text) for whole, text in zip(found, texts, strict=True)]

    expected = [str(generator.greedy(text, length=12)) for text in texts]
    assert written() == written(use_cache=False) == expected
    beams = [str(generator.beam(text, length=12, width=3)) for text in texts]
    assert written(num_beams=3) == written(num_beams=3, use_cache=False) == beams


def test_a_state_goes_on_where_it_ended_and_padding_changes_nothing(
    library: Any, tmp_path: Path
) -> None:
    network, tokenizer = load(library, made(tmp_path / "out", model_of("gru")))
    with torch.no_grad():
        whole = tokenizer("abcdab", return_tensors="pt")
        logits = network(**whole).logits
        first = network(whole.input_ids[:, :3])
        second = network(whole.input_ids[:, 3:], cache=first.cache)
        torch.testing.assert_close(second.logits, logits[:, 3:])
        assert second.cache.get_seq_length() == 7
        padded = tokenizer(["abcdab", "d"], return_tensors="pt", padding=True)
        alone = network(**tokenizer("d", return_tensors="pt")).logits
        torch.testing.assert_close(network(**padded).logits[1, -2:], alone[0])
    loss = network(**whole, labels=whole.input_ids).loss
    nats = torch.log_softmax(logits[0, :-1], -1).gather(1, whole.input_ids[0, 1:, None])
    torch.testing.assert_close(loss, -nats.mean())
    loss.backward()
    assert all(weight.grad is not None for weight in network.parameters())


def test_it_samples_by_default_as_we_do(library: Any, tmp_path: Path) -> None:
    network, tokenizer = load(library, made(tmp_path / "out", model_of("lstm")))
    config = network.generation_config
    assert (config.do_sample, config.temperature, config.top_k) == (True, 0.8, 0)
    ids = network.generate(**tokenizer("ab", return_tensors="pt"), num_return_sequences=2)
    assert ids.shape == (2, 3 + 300)
    assert set(tokenizer.decode(ids[0], skip_special_tokens=True)) <= set(ALPHABET)


def test_equal_models_give_equal_files_of_readable_code(
    tmp_path: Path, make_model: Callable[..., Model]
) -> None:
    for name in ("a", "b"):
        made(tmp_path / name, make_model("abé\u2028", num_layers=2, layer_norm=True))
    files = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}
    assert set(files) == set(transformers_folder.NAMES)
    source = files[transformers_folder.MODELING].decode()
    ast.parse(source)
    assert "$" not in source
    lines = source.splitlines()
    assert len(lines) < 260
    assert max(map(len, lines)) <= 100
    assert "# c_t = f ⊙ c_{t-1} + i ⊙ g" in lines
    assert "# SPDX-License-Identifier: MIT" in lines
    config = json.loads(files["config.json"])
    assert config["vocab_size"] == 5
    assert config["bos_token_id"] == config["pad_token_id"] == 4


def test_the_words_of_a_cell_stay_comments(
    tmp_path: Path, make_model: Callable[..., Model]
) -> None:
    text = 'h\n\nimport os\r\x0cos.abort()\n"""'
    cell = replace(find(MIXED), name="sly", title=text, equation=text)
    folder = made(tmp_path / "out", make_model(cell=cell_file.use(cell)))
    source = (folder / transformers_folder.MODELING).read_text("utf-8")
    tree = ast.parse(source)
    assert not any(isinstance(n, ast.Name) and n.id == "os" for n in ast.walk(tree))
    assert {line[0] for line in source.splitlines() if "os.abort" in line} == {"#"}
