from __future__ import annotations

import math
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import strict_json
from waiting import HANGS

from charrnn.storage import machine
from cli.conftest import BY_LIBRARY, TEXT_CHARACTERS, TINY, Cli, Run, story

FIELDS = {
    "run_dir": str,
    "model": str,
    "cell": str,
    "parameters": int,
    "steps": int,
    "epochs": float,
    "characters": int,
    "seconds": float,
    "chars_per_second": float,
    "train_nats": float,
    "valid_nats": float,
    "valid_bpc": float,
    "valid_bits_per_byte": float,
    "valid_window256_nats": float,
    "stopped_by": str,
}
# The backend that needs no compilation, for tests that do not depend on the backend.
QUICK = ("--steps", 2, "--hidden-size", 8, *BY_LIBRARY)


def described(run_dir: Path) -> dict[str, Any]:
    return strict_json.loads((run_dir / "config.json").read_text("utf-8"))


def test_json_has_the_fields_of_the_contract(tiny: Run) -> None:
    result = tiny.done.json
    assert {name: type(result[name]) for name in FIELDS} == FIELDS


def test_json_counts_what_was_done(tiny: Run) -> None:
    result, train = tiny.done.json, described(tiny.folder)["train"]
    assert result["steps"] == 40
    assert result["characters"] == 40 * train["batch_size"] * train["seq_len"]
    assert result["epochs"] == pytest.approx(result["characters"] / (0.9 * TEXT_CHARACTERS), 0.1)
    assert result["stopped_by"] == "steps"
    assert result["cell"] == "lstm"
    assert 0 < result["seconds"] < HANGS
    assert result["chars_per_second"] > 0


def test_losses_in_json_agree_in_three_units(tiny: Run) -> None:
    result = tiny.done.json
    valid = tiny.text.read_text("utf-8")[int(0.9 * TEXT_CHARACTERS) :]
    assert result["valid_bpc"] == pytest.approx(result["valid_nats"] / math.log(2))
    bits = result["valid_bpc"] * len(valid)
    assert result["valid_bits_per_byte"] == pytest.approx(bits / len(valid.encode()))


def test_forty_steps_learn_something(tiny: Run) -> None:
    symbols = len(set(tiny.text.read_text("utf-8")))
    for loss in ("train_nats", "valid_nats", "valid_window256_nats"):
        assert 0.5 < tiny.done.json[loss] < math.log(symbols) - 0.5


def test_a_run_is_named_after_its_text_with_a_number(tiny: Run) -> None:
    assert tiny.done.json["run_dir"] == str(Path("runs") / "story-1")
    assert tiny.done.json["model"] == str(Path("runs") / "story-1" / "model.safetensors")
    assert tiny.model.is_file()


def test_run_folder_holds_these_files(tiny: Run) -> None:
    names = {path.name for path in tiny.folder.iterdir()}
    files = {"config.json", "metrics.jsonl", "summary.json", "model.safetensors", "latest"}
    assert names == files | {".lock", "checkpoints"}


def test_the_summary_equals_the_json_output(tiny: Run) -> None:
    assert strict_json.loads((tiny.folder / "summary.json").read_text("utf-8")) == tiny.done.json


def test_metrics_have_one_json_line_per_report(tiny: Run) -> None:
    rows = strict_json.rows(tiny.folder / "metrics.jsonl")
    steps = [row["step"] for row in rows]
    assert steps == sorted(set(steps))
    assert steps[-1] == 40
    assert rows[-1]["valid_nats"] < rows[0]["train_nats"]


def test_notes_are_plain_lines_without_a_terminal(tiny: Run) -> None:
    notes = tiny.done.err
    assert "\x1b" not in notes
    assert "\r" not in notes
    for word in ("tokens", "lstm, 1 x 32", "parameters", "step 40", "valid", "model.safetensors"):
        assert word in notes


def test_the_plan_names_tokens_split_and_size(tiny: Run) -> None:
    symbols = len(set(tiny.text.read_text("utf-8")))
    for words in (
        f"vocabulary of {symbols} tokens",
        "train 10,800, valid 1,200 characters (by position)",
        f"{tiny.done.json['parameters']:,} parameters",
        "40 steps",
    ):
        assert words in tiny.done.err


def test_the_same_steps_give_the_same_bytes(tiny: Run, cli: Cli) -> None:
    cli("train", tiny.text, *TINY, "--out", "again")
    assert (cli.folder / "again" / "model.safetensors").read_bytes() == tiny.model.read_bytes()


def test_a_folder_that_holds_a_run_is_refused(tiny: Run, cli: Cli) -> None:
    out = shutil.copytree(tiny.folder, cli.folder / "out")
    done = cli("train", tiny.text, *QUICK, "--out", out, code=2)
    assert str(out) in done.sentence
    assert "--force" in done.sentence
    assert done.out == ""
    assert contents(out) == contents(tiny.folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_force_replaces_the_run_and_nothing_else(tiny: Run, cli: Cli) -> None:
    out = shutil.copytree(tiny.folder, cli.folder / "out")
    (out / "notes.txt").write_text("mine")
    done = cli("train", tiny.text, *QUICK, "--out", out, "--force", "--json")
    result = done.json
    assert f"the earlier run in {out} is replaced\n" in done.err
    assert (out / "notes.txt").read_text() == "mine"
    assert strict_json.loads((out / "summary.json").read_text("utf-8")) == result
    assert contents(out)["metrics.jsonl"].count(b"\n") == 2
    assert contents(out)["model.safetensors"] != tiny.model.read_bytes()


def test_dry_run_without_a_budget_plans_minutes_and_writes_nothing(cli: Cli) -> None:
    (cli.folder / "hello").write_text("a file is meant before a corpus of its name\n" * 100)
    done = cli("train", "hello", "--dry-run", "--json")
    assert done.json["run_dir"] == str(Path("runs") / "hello-1")
    assert done.json["train"]["steps"] is None
    assert 0 < done.json["train"]["minutes"] <= 5
    assert "vocabulary of 17 tokens" in done.err
    assert f"{done.json['train']['minutes']:g} minutes" in done.err
    assert [path.name for path in cli.folder.iterdir()] == ["hello"]


def test_dry_run_says_which_options_act_later(cli: Cli) -> None:
    (cli.folder / "text.txt").write_text("a text\n" * 100)
    plan = ("train", "text.txt", "--steps", 2, "--hidden-size", 8, "--dry-run")
    assert "--dry-run" not in cli(*plan).err
    done = cli(*plan, "--tensorboard", "--sample-every", 1, "--checkpoint-every", 1, "--seeds", 2)
    flags = "--checkpoint-every, --sample-every, --seeds and --tensorboard"
    assert f"--dry-run only checks {flags}, which would act during the training\n" in done.err
    assert [path.name for path in cli.folder.iterdir()] == ["text.txt"]


def test_hello_is_learned_and_the_folder_gets_the_next_number(cli: Cli) -> None:
    (cli.folder / "runs" / "hello-1").mkdir(parents=True)
    steps = ("--steps", 100, "--learning-rate", 0.02)
    result = cli("train", "hello", *steps, *BY_LIBRARY, "--json").json
    assert result["run_dir"] == str(Path("runs") / "hello-2")
    assert result["valid_nats"] < 0.02
    assert cli("greedy", "--prompt", "hell", "--length", 11).out == "hellohellohello"


def test_more_threads_than_cores_are_not_used(cli: Cli, tiny: Run) -> None:
    done = cli("train", tiny.text, *QUICK, "--threads", 999)
    cores = machine.cores()
    assert f"--threads 999: {cores} are used, one for each core of this machine" in done.err
    assert described(cli.folder / "runs" / "story-1")["threads"] == cores
    assert "speed not known yet" in done.err
    done = cli("train", tiny.text, "--out", "runs/story-1", "--resume", "--steps", 4)
    assert "--threads 999" in done.err
    done = cli("sample", "-m", tiny.folder, "--length", 9, "--seed", 1, "--threads", 999)
    assert "--threads 999" in done.err
    assert done.out == cli("sample", "-m", tiny.folder, "--length", 9, "--seed", 1).out


def test_several_texts_with_a_separate_validation_text(cli: Cli) -> None:
    (cli.folder / "texts").mkdir()
    (cli.folder / "texts" / "b").write_bytes(b"b" * 500)
    (cli.folder / "texts" / "a").write_bytes(b"\xef\xbb\xbf" + b"aaaa\r\n" * 100)
    (cli.folder / "valid.txt").write_text("hello " * 100 + "ü", "utf-8")
    (cli.folder / "out").mkdir()  # an empty folder is accepted
    words = ("--valid", "valid.txt", "--newline", "lf", "--out", "out")
    done = cli("train", "texts", "hello", *QUICK, *words)

    assert done.out == ""  # without --json
    assert f"{Path('texts', 'a')}: a byte order mark at its start was dropped" in done.err
    assert f"{Path('texts', 'a')}: CR LF line ends were converted to LF" in done.err
    run = described(cli.folder / "out")
    assert [Path(name).name for name in run["files"]] == ["a", "b", "hello.txt"]
    assert run["corpus"]["train_characters"] == 500 + 500 + 10_000
    assert run["model"]["vocab_size"] == len("\n abehloü")
    summary = strict_json.loads((cli.folder / "out" / "summary.json").read_text("utf-8"))
    scored = cli("eval", "--model", "out", "--json").json
    assert scored["characters"] == summary["valid_characters"] == 601
    assert scored["nats"] == pytest.approx(summary["valid_nats"], abs=1e-5)


def test_training_without_a_validation_text(tiny: Run, cli: Cli) -> None:
    network = ("--cell", "gru-reset-after", "--num-layers", 2, "--embedding-size", 0)
    result = cli("train", tiny.text, *QUICK, *network, "--valid-fraction", 0, "--json").json
    assert result["cell"] == "gru-reset-after"
    assert result["train_nats"] > 0
    losses = ("valid_nats", "valid_bpc", "valid_bits_per_byte", "valid_window256_nats")
    assert [result[name] for name in losses] == [None] * 4
    run = described(cli.folder / result["run_dir"])
    assert run["corpus"]["train_characters"] == TEXT_CHARACTERS
    assert len(cli("sample", "--length", 30).out) == 30
    assert "name a text" in cli("eval", code=2).sentence


def test_flags_override_the_config_file(cli: Cli) -> None:
    options = 'cell = "elman"\nhidden-size = 24\nseq_len = 32\nminutes = 3\nbackend = "library"\n'
    (cli.folder / "options.toml").write_text(options)
    flags = ("--config", "options.toml", "--hidden-size", 16, "--epochs", 2, "--json")
    result = cli("train", "-", *flags, stdin=story(3000).encode()).json

    assert result["run_dir"] == str(Path("runs") / "stdin-1")
    assert result["stopped_by"] == "epochs"
    assert result["epochs"] == 2
    assert result["cell"] == "elman"
    run = described(cli.folder / result["run_dir"])
    assert run["model"]["hidden_size"] == 16
    assert run["train"]["seq_len"] == 32
    assert run["train"]["minutes"] is None
    assert run["corpus"]["train_characters"] == 2700


def test_minutes_end_the_training(cli: Cli) -> None:
    (cli.folder / "long.txt").write_text(story(8_000) * 50)
    result = cli("train", "long.txt", "--minutes", 0.02, "--json").json
    assert result["stopped_by"] == "minutes"
    assert 0.6 < result["seconds"] < HANGS


def test_training_on_a_short_text_ends_early(cli: Cli) -> None:
    (cli.folder / "short.txt").write_text(story(1_200))
    sizes = ("--hidden-size", 8, *BY_LIBRARY)
    result = cli("train", "short.txt", "--minutes", 1000, *sizes, "--json").json
    assert result["stopped_by"] == "epochs"
    assert result["epochs"] == 30
    assert result["seconds"] < 500 * 60


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
def test_a_file_whose_name_is_not_utf8_trains(cli: Cli) -> None:
    (cli.folder / "caf\udce9.txt").write_text("one line and another\n" * 100)
    assert cli("train", "caf\udce9.txt", *QUICK, "--json").json["steps"] == 2


def test_a_trained_network_is_fine_tuned_by_a_plan_of_its_own(cli: Cli, tiny: Run) -> None:
    """The text is 1/64 of that of the model: an eighth of 7 / 32, the rate that suits the width."""
    (cli.folder / "new.txt").write_text(story(TEXT_CHARACTERS)[-TEXT_CHARACTERS // 64 :], "utf-8")
    start = ("train", "new.txt", "--init-from", tiny.model, "--backend", "library")
    done = cli(*start, "--out", "planned", "--epochs", 4)
    assert "training fine-tuning for 4 epochs, " in done.err
    assert " parameters (the size of the model to start from)\n" in done.err
    train = described(cli.folder / "planned")["train"]
    assert train["learning_rate"] == pytest.approx(7 / 32 / 8, rel=0.01)
    assert (
        f"nadamw {train['learning_rate']:.3g}, dropout {train['dropout']:g}, locked dropout, "
        in done.err
    )

    given = ("--learning-rate", 0.004, "--dropout", 0, "--epochs", 2)
    done = cli(*start, "--out", "given", *given)
    assert "training fine-tuning for 2 epochs, " in done.err
    train = described(cli.folder / "given")["train"]
    assert (train["learning_rate"], train["dropout"], train["epochs"]) == (0.004, 0.0, 2.0)

    dry = cli(*start, "--dry-run", "--json", "--minutes", 1).json
    known = described(tiny.folder)["corpus"]["train_characters"]
    assert (dry["train"]["epochs"], dry["known"]) == (10.0, known)
    done = cli("train", "new.txt", "--out", "planned", "--resume", "--epochs", 4.5)
    assert "training fine-tuning for 4.5 epochs, " in done.err


DEEP = ("--skip-connections", "--input-depth", 2, "--recurrent-depth", 2, "--output-depth", 2)
KEPT = ("--locked-dropout", "--weight-drop", 0.2, "--zoneout", 0.1, "--zoneout-cell", 0.2)


def test_a_network_with_every_variant_trains_and_samples(cli: Cli, tiny: Run) -> None:
    forms = (*DEEP, *KEPT, "--learned-start", "--layer-norm", "--init", "he", "--forget-bias", 2)
    quick = ("--steps", 2, "--hidden-size", 8, "--num-layers", 2, "--backend", "reference")
    done = cli("train", tiny.text, "--out", "deep", *quick, *forms, "--dropout", 0.3)
    assert "skip connections, input depth 2" in done.err
    assert "zoneout 0.1" in done.err
    assert "weight drop 0.2" in done.err
    model, train = (described(cli.folder / "deep")[part] for part in ("model", "train"))
    assert (model["input_depth"], model["layer_norm"], model["zoneout_cell"]) == (2, True, 0.2)
    assert (train["locked_dropout"], train["init"], train["forget_bias"]) == (True, "he", 2.0)
    assert len(cli("sample", "--model", "deep", "--length", 20, "--seed", 1).out) == 20


def test_the_window_and_the_update_interval_are_used(cli: Cli, tiny: Run) -> None:
    window = ("--seq-len", 12, "--update-every", 5)
    done = cli("train", tiny.text, "--out", "far", *QUICK, *window, "--batch-size", 2, "--json")
    assert "windows of 12 every 5" in done.err
    train = described(cli.folder / "far")["train"]
    assert (train["seq_len"], train["update_every"], train["state"]) == (12, 5, "carry")
    assert done.json["characters"] == 2 * 2 * 5


def test_a_full_window_is_a_whole_stream(cli: Cli, tiny: Run) -> None:
    done = cli("train", tiny.text, "--out", "full", *QUICK, "--seq-len", "full", "--batch-size", 4)
    each = int(0.9 * TEXT_CHARACTERS) // 4
    assert f"windows of {each:,}" in done.err
    assert described(cli.folder / "full")["train"]["seq_len"] == each


@pytest.mark.parametrize("flag", ["--window-state", "--state"])
def test_the_state_can_be_reset_at_each_window(flag: str, cli: Cli, tiny: Run) -> None:
    done = cli("train", tiny.text, "--out", "naive", *QUICK, flag, "reset")
    assert "state reset for each" in done.err


CONTRADICTIONS = [
    (("--seq-len", 8, "--update-every", 9), "--update-every 9"),
    (("--state", "reset", "--update-every", 2), "leave out --update-every"),
    (("--seq-len", "all"), "--seq-len must be a whole number or full, not all"),
    (("--omega", 1), "--omega is for elman, irnn, preactivation"),
    (("--seeds", 2, "--resume", "--dry-run"), "leave out --seeds, and name one of the runs"),
    (("--cell", "jordan", "--num-layers", 2), "use --num-layers 1"),
    (("--cell", "jordan", "--backend", "scaffold"), "whose output map is inside"),
    (
        ("--layer-norm", *BY_LIBRARY),
        "--backend library has no lstm, or not in this",
    ),
]


def test_contradictions_are_refused(cli: Cli, tiny: Run) -> None:
    ended = cli.each((("train", tiny.text, *words) for words, _ in CONTRADICTIONS), code=2)
    for done, (_, sentence) in zip(ended, CONTRADICTIONS, strict=True):
        assert sentence in done.sentence


def test_the_model_file_records_the_training(cli: Cli, tiny: Run) -> None:
    done = cli("train", tiny.text, "--out", "told", *QUICK)
    assert "library kernels, matrix products in float32: as asked" in done.err
    out = cli("info", "told").out
    assert "kernel.backend: library" in out
    assert "kernel.reason: as asked" in out


def test_clipping_is_reported(cli: Cli, tiny: Run) -> None:
    for norm, share in ((1e-6, 1.0), ("inf", 0.0)):
        done = cli("train", tiny.text, "--out", f"c{norm}", *QUICK, "--clip-norm", norm)
        assert f"{share:.0%} clipped" in done.err
        rows = strict_json.rows(cli.folder / f"c{norm}" / "metrics.jsonl")
        assert [row["clipped"] for row in rows] == [share] * len(rows)


def test_a_run_without_clipping_is_strict_json_and_can_be_resumed(cli: Cli, tiny: Run) -> None:
    cli("train", tiny.text, "--out", "free", *QUICK, "--clip-norm", "inf")
    assert described(cli.folder / "free")["train"]["clip_norm"] is None
    state = next((cli.folder / "free" / "checkpoints").glob("*/state.json"))
    assert strict_json.loads(state.read_text())["options"]["clip_norm"] is None
    done = cli("train", tiny.text, "--out", "free", "--resume", "--steps", 60, "--json")
    assert "changed  clip_norm" not in done.err
    assert strict_json.rows(cli.folder / "free" / "metrics.jsonl")[-1]["clipped"] == 0.0


def test_the_next_command_is_quoted_for_the_shell(cli: Cli, tiny: Run) -> None:
    done = cli("train", tiny.text, "--out", "my run", *QUICK)
    command = done.err.splitlines()[-1].split(maxsplit=1)[1]
    assert command == "charrnn sample --model 'my run'"
    assert len(cli(*shlex.split(command)[1:], "-n", 5).out) == 5
