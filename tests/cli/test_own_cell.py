"""A cell outside the package, given as a file: every command that takes it, and what else is run.

The file leaves a mark whenever its code runs.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import strict_json
from own_cells import HERE
from safetensors import safe_open

import charrnn
from charrnn.cells import own
from charrnn.errors import CharRNNError
from cli.conftest import Cli

MARK = "from pathlib import Path\n\nPath('ran').touch()\n"
TEXT = "the cat sat on the mat. a dog ran far from the sea!\n" * 60
# By the plain loop: nothing is compiled for it.
TRAIN = ("--hidden-size", 8, "--num-layers", 1, "--backend", "reference", "--seed", 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a text, a cell and a model that needs it; the cell's code has not run.

    A module's tests share it, so none changes these files.
    """
    folder = tmp_path_factory.mktemp("own")
    (folder / "text.txt").write_text(TEXT)
    (folder / "my_cell.py").write_text(MARK + (HERE / "mingru.py").read_text("utf-8"))
    line = ("train", "text.txt", "--cell", "./my_cell.py", *TRAIN, "--steps", 20, "--json")
    done = Cli(folder)(*line, "--out", "run")
    assert done.json["cell"] == "mingru"
    assert "next     charrnn sample --model run --cell my_cell.py" in done.err
    (folder / "ran").unlink()
    return folder


def test_the_run_has_the_text_of_the_cell_and_the_model_its_hash(folder: Path) -> None:
    source = (folder / "my_cell.py").read_bytes()
    assert (folder / "run" / "model.cell.py").read_bytes() == source
    with safe_open(folder / "run" / "model.safetensors", "numpy") as file:
        header = strict_json.loads(file.metadata()["charrnn"])
    assert header["config"]["cell"] == f"mingru@{hashlib.sha256(source).hexdigest()}"
    assert "sigmoid" not in json.dumps(header)
    assert "my_cell.py" not in json.dumps(header)
    summary = strict_json.loads((folder / "run" / "summary.json").read_text())
    assert summary["cell"] == "mingru"


# One for each way in which commands load a model; then more that have the option.
LOADING = [
    "sample --novelty --length 5 -m run",
    "eval text.txt -m run",
    "inspect cells text.txt -m run",
    "inspect gradients text.txt --lags 5 --windows 2 -m run",
]
TRAINING = [
    "train text.txt --init-from run --dry-run --backend reference",
    "train text.txt --out run --resume --steps 30",
]
MORE = ["beam -n 5 -m run", "score text.txt -m run", "inspect next -m run"]
MORE += ["inspect memory text.txt --longest 4 -m run"]


def test_no_command_runs_the_code_of_a_cell_that_was_not_named(folder: Path) -> None:
    for done in Cli(folder).each((line.split() for line in LOADING + TRAINING), code=2):
        assert "the cell mingru" in done.sentence
        assert "--cell" in done.sentence
    assert not (folder / "ran").exists()


def test_a_model_is_described_without_its_cell(folder: Path) -> None:
    lines = ("info run", "info run --json", "runs", "plot run --json")
    Cli(folder).each(line.split() for line in lines)
    assert not (folder / "ran").exists()


def test_info_counts_the_parameters(folder: Path) -> None:
    found = Cli(folder)("info", "run", "--json").json
    # V = 17: embedding 18 x 64, two blocks of 8 x 64 + 8, output 17 x 8 + 17
    assert found["parameters"] == 18 * 64 + 2 * (8 * 64 + 8) + 17 * 8 + 17
    assert "network    mingru, 1 x 8" in Cli(folder)("info", "run").out


@pytest.mark.parametrize("line", LOADING + MORE)
def test_every_command_that_loads_a_model_takes_its_cell(folder: Path, line: str) -> None:
    assert Cli(folder)(*line.split(), "--cell", "./my_cell.py").out
    (folder / "ran").unlink()


def test_the_sentence_is_a_command_that_works(folder: Path) -> None:
    sentence = Cli(folder)("greedy", "-m", "run", code=2).sentence
    assert "use --cell run/model.cell.py, a copy from the training; read it first" in sentence
    copy = ("--cell", "run/model.cell.py")
    there = Cli(folder)("greedy", "-m", "run", *copy, "--length", 20).out
    assert there == Cli(folder)("greedy", "-m", "run", "--cell", "my_cell.py", "--length", 20).out
    (folder / "ran").unlink()


def test_an_archive_is_restored_with_the_same_cell(folder: Path, tmp_path: Path) -> None:
    cell = ("-m", "run", "--cell", "my_cell.py")
    Cli(folder)("compress", "text.txt", tmp_path / "a", *cell)
    Cli(folder)("decompress", tmp_path / "a", tmp_path / "b", *cell)
    assert (tmp_path / "b").read_text() == TEXT
    (folder / "ran").unlink()


def test_a_changed_file_is_another_cell(folder: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed.py"
    changed.write_text((folder / "my_cell.py").read_text() + "# another\n")
    sentence = Cli(folder)("sample", "-m", "run", "--cell", changed, code=2).sentence
    assert f"was trained with another version of mingru than {changed} (SHA-256 " in sentence
    assert "use --cell run/model.cell.py" in sentence
    (folder / "ran").unlink(missing_ok=True)


def test_another_cell_does_not_go_with_a_model(folder: Path) -> None:
    sentence = Cli(folder)("sample", "-m", "run", "--cell", "lstm", code=2).sentence
    assert "--cell lstm does not go with run/model.safetensors, whose cell is mingru" in sentence


def test_a_copy_that_is_not_the_text_of_the_training_is_not_named(
    folder: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model.safetensors"
    model.write_bytes((folder / "run" / "model.safetensors").read_bytes())
    (tmp_path / "model.cell.py").write_text("print('trap')\n")
    sentence = Cli(folder)("sample", "-m", model, code=2).sentence
    assert "model.cell.py" not in sentence
    assert "use --cell with the file of the training" in sentence


def test_equal_runs_give_equal_bytes_wherever_the_file_is(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_bytes((folder / "my_cell.py").read_bytes())
    (tmp_path / "text.txt").write_text(TEXT)
    line = ("train", "text.txt", "--cell", "other.py", *TRAIN, "--steps", 20, "--out", "again")
    Cli(tmp_path)(*line)
    models = [path / "model.safetensors" for path in (folder / "run", tmp_path / "again")]
    assert models[0].read_bytes() == models[1].read_bytes()


def test_a_run_is_resumed_with_its_cell(folder: Path, tmp_path: Path) -> None:
    cli, cell = Cli(tmp_path), ("--cell", folder / "my_cell.py")
    (tmp_path / "text.txt").write_text(TEXT)
    cli("train", "text.txt", *cell, *TRAIN, "--steps", 10, "--out", "run")
    resume = ("train", "text.txt", "--out", "run", "--resume", "--steps", 20)
    assert cli(*resume, *cell, "--json").json["steps"] == 20
    sentence = cli(*resume, "--cell", "gru", code=2).sentence
    assert "--cell gru does not go with run/model.safetensors, whose cell is mingru" in sentence


def test_a_run_is_repeated_with_its_cell(folder: Path) -> None:
    line = ("train", "--config", "run", "--out", "repeated")
    sentence = Cli(folder)(*line, code=2).sentence
    assert "use --cell run/model.cell.py, a copy from the training" in sentence
    assert not (folder / "ran").exists()
    Cli(folder)(*line, "--cell", "run/model.cell.py", "--backend", "reference")
    models = [folder / name / "model.safetensors" for name in ("run", "repeated")]
    assert models[0].read_bytes() == models[1].read_bytes()
    (folder / "ran").unlink()


def test_the_name_of_a_file_is_no_name_of_a_cell(folder: Path) -> None:
    sentence = Cli(folder)("train", "text.txt", "--cell", "my_cell", code=2).sentence
    assert sentence == "charrnn: --cell 'my_cell' is not known: did you mean --cell ./my_cell.py?"
    sentence = Cli(folder)("train", "text.txt", "--cell", "mingruu", code=2).sentence
    assert "for a cell of your own, give its file, such as ./my_cell.py" in sentence


def test_a_configuration_file_names_no_code(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(f"cell = '{folder / 'my_cell.py'}'\n")
    sentence = Cli(folder)("train", "text.txt", "--config", file, code=2).sentence
    assert "a file's code is run only if the command names the file: add --cell" in sentence
    assert not (folder / "ran").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--recurrent-depth", 2), "--recurrent-depth is about the recurrent matrix, and mingru"),
        (("--weight-drop", 0.5), "--weight-drop is about the recurrent matrix, and mingru has"),
        (("--omega", 1), "--omega is for cells in which a gradient passes one matrix"),
        (("--backend", "library"), "--backend library has no mingru"),
    ],
)
def test_options_without_a_use_are_refused(
    folder: Path, options: tuple[object, ...], sentence: str
) -> None:
    line = ("train", "text.txt", "--cell", "my_cell.py", "--out", "none", "--steps", 1, *options)
    assert sentence in Cli(folder)(*line, code=2).sentence
    (folder / "ran").unlink()


def test_a_mistake_gives_file_and_line(cli: Cli) -> None:
    good = (HERE / "mingru.py").read_text("utf-8")
    (cli.folder / "bad.py").write_text(good.replace("sigmoid(x[0])", "sigmoyd(x[0])"))
    sentence = cli("cells", "./bad.py", code=2).sentence
    assert sentence == "charrnn: bad.py, line 11: 'sigmoyd' is not defined: did you mean sigmoid?"
    for line in ("train t.txt --cell bad.py", "bench train --cell bad.py", "sample --cell bad.py"):
        (cli.folder / "t.txt").write_text(TEXT)
        (cli.folder / "model.safetensors").touch()
        extra = ("-m", "model.safetensors") if "sample" in line else ()
        assert cli(*line.split(), *extra, code=2).sentence == sentence


def test_cells_shows_the_cells_that_are_named(cli: Cli) -> None:
    out = cli("cells", HERE / "mingru.py", "elman", "--hidden-size", 2, "--vocab-size", 3).out
    # V = 3, H = 2, E = 64: embedding 4 x 64, two blocks of 2 x 64 + 2, output 3 x 2 + 3
    size = 4 * 64 + 2 * (2 * 64 + 2) + 3 * 2 + 3
    assert out.startswith(f"mingru: minimal gated recurrent unit without a product, {size:,} para")
    assert "h_t = (1 - z)" in out
    assert "\nelman: Elman network" in out
    rows = cli("cells", HERE / "mingru.py", "--json").json["cells"]
    assert [row["cell"] for row in rows] == ["mingru"]


def test_a_cell_is_measured_beside_those_of_charrnn(cli: Cli) -> None:
    small = ("--hidden-size", 8, "--batch-size", 2, "--seq-len", 4, "--rounds", 1, "--threads", 1)
    line = ("bench", "train", "--cell", "elman", "--cell", HERE / "mingru.py", *small)
    rows = cli(*line, "--backend", "reference", "--precision", "float32", "--json").json["rows"]
    assert [(row["cell"], row["baseline"]) for row in rows] == [
        ("elman", "torch.nn.RNN float32"),
        ("mingru", "plain loop float32"),
    ]


def test_untrained_networks_and_toy_tasks_take_a_file(cli: Cli) -> None:
    (cli.folder / "text.txt").write_text(TEXT)
    line = ("inspect", "gradients", "text.txt", "--cell", f"{HERE / 'mingru.py'}:1.5", "--json")
    networks = cli(*line, "--lags", 5, "--windows", 2, "--hidden-size", 4).json["networks"]
    assert [network["name"] for network in networks] == ["mingru × 1.5"]
    line = ("inspect", "memory", "--task", "copy", "--cell", HERE / "mingru.py", "--steps", 2)
    found = cli(*line, "--longest", 1, "--hidden-size", 4, "--json").json
    assert [cell["cell"] for cell in found["tasks"][0]["cells"]] == ["mingru"]


def test_python_takes_a_file_or_a_cell(folder: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    options = {"steps": 2, "hidden_size": 4, "backend": "reference", "num_layers": 1}
    path = HERE / "slstm.py"
    run = charrnn.train(text, cell=path, out=tmp_path / "a", **options)
    assert run.cell == "slstm"
    model = charrnn.load(run.model, cell=str(path))
    assert "slstm, 1 x 4" in repr(model)
    again = charrnn.train(text, cell=own.named("slstm")[-1].cell, out=tmp_path / "b", **options)
    assert Path(again.model).read_bytes() == Path(run.model).read_bytes()
    with pytest.raises(CharRNNError, match=r"does not go with .*, whose cell is slstm"):
        charrnn.load(run.model, cell="lstm")
    with pytest.raises(CharRNNError, match="`cell`"):
        charrnn.load(folder / "run")
