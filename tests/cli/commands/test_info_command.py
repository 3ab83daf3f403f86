from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import strict_json

from charrnn.model import model_file
from charrnn.model.model_file import Model
from cli.conftest import Cli, Run


def test_json_describes_the_file(tiny: Run, cli: Cli) -> None:
    result = cli("info", tiny.folder, "--json").json
    run = strict_json.loads((tiny.folder / "config.json").read_text("utf-8"))
    symbols = "".join(sorted(set(tiny.text.read_text("utf-8"))))
    assert result["config"] == run["model"]
    assert result["config"]["vocab_size"] == len(symbols)
    assert result["tokenizer"] == {"kind": "char", "symbols": symbols}
    assert result["parameters"] == tiny.done.json["parameters"]
    assert result["model"] == str(tiny.model)
    assert result["training"]["valid_nats"] == tiny.done.json["valid_nats"]
    assert result["training"]["corpus"] == run["corpus"]


def test_lines_show_size_tokens_and_losses(tiny: Run, cli: Cli) -> None:
    out = cli("info", tiny.model).out
    for words in (
        str(tiny.model),
        "lstm, 1 x 32",
        f"{tiny.done.json['parameters']:,} parameters",
        "日",
        "🙂",
        str(tiny.done.json["valid_nats"]),
    ):
        assert words in out


def test_a_backend_has_the_name_that_options_have(
    make_model: Callable[..., Model], cli: Cli
) -> None:
    made = replace(make_model(), training={"kernel": {"backend": "scaffold"}})
    model_file.save(cli.folder / "old.safetensors", made)
    assert "kernel.backend: fused\n" in cli("info", "old.safetensors").out
    assert cli("info", "old.safetensors", "--json").json["training"] == made.training


def test_without_a_model_the_newest_run_is_shown(tiny: Run, cli: Cli) -> None:
    shutil.copytree(tiny.folder, cli.folder / "runs" / "mine")
    assert cli("info").out.startswith("runs")
    assert "mine" in cli("info", "--json").json["model"]


def test_a_model_file_has_no_timestamp(tiny: Run, cli: Cli) -> None:
    training = cli("info", tiny.folder, "--json").json["training"]
    assert not {"seconds", "time", "date", "chars_per_second"} & training.keys()


def test_control_characters_are_made_visible(watched: tuple[Run, object], cli: Cli) -> None:
    out = cli("info", watched[0].folder).out
    assert "␛" in out
    assert not {"\x1b", "\x07", "\r"} & set(out)


def test_what_is_none_is_shown_in_json_only(tiny: Run, cli: Cli) -> None:
    assert cli("info", tiny.folder, "--json").json["training"]["train"]["minutes"] is None
    out = cli("info", tiny.folder).out
    assert "None" not in out
    assert "train.minutes" not in out
    assert "train.steps: 40" in out


def test_several_models_are_shown_side_by_side(
    tiny: Run, watched: tuple[Run, object], cli: Cli
) -> None:
    run = watched[0]
    lines = cli("info", tiny.folder, run.folder).out.splitlines()
    shown = {line.split()[0]: line.split()[1:] for line in lines}
    assert lines[0].split() == [tiny.folder.name, run.folder.name]
    assert shown["parameters"][0] == f"{tiny.done.json['parameters']:,}"
    assert shown["steps"] == ["40", "60"]
    assert shown["train.dropout"][0] == "0.1"
    assert shown["train.seed"] == ["7", "1"]
    assert "train.optimizer" not in shown  # the same
    # Models of the same name are told apart by their paths.
    other = Path(shutil.copytree(tiny.folder, cli.folder / tiny.folder.name))
    lines = cli("info", tiny.folder, other).out.splitlines()
    assert lines[0].split() == [str(tiny.model), str(other / tiny.model.name)]
