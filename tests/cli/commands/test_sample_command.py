from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest
import strict_json
from waiting import wait_until

import charrnn
from cli.conftest import Cli, Run, children, needs_terminal, on_terminal

PROMPT = "日本 🙂.\nthe café "


@pytest.fixture(scope="module")
def greedy(tiny: Run, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return 80 characters of greedy text after the prompt."""
    cli = Cli(tmp_path_factory.mktemp("greedy"))
    return cli("greedy", "-m", tiny.folder, "--prompt", PROMPT, "--length", 80).out


def test_texts_differ_and_the_printed_seed_repeats_them(tiny: Run, cli: Cli) -> None:
    words = ("sample", "-m", tiny.folder, "--length", 200)
    first, other = cli(*words), cli(*words)
    assert first.out != other.out
    printed = re.fullmatch(r"seed: (\d+)\n", first.err)
    assert printed, first.err
    assert cli(*words, "--seed", printed[1]) == first


@pytest.mark.parametrize("length", [0, 1, 123])
def test_length_counts_characters_after_the_prompt(length: int, tiny: Run, cli: Cli) -> None:
    out = cli("sample", "-m", tiny.folder, "--prompt", PROMPT, "--length", length).out
    assert out.startswith(PROMPT)
    assert len(out) == len(PROMPT) + length


def test_the_prompt_changes_the_text(tiny: Run, cli: Cli) -> None:
    written = [
        cli("greedy", "-m", tiny.folder, "-p", prompt, "-n", 30).out.removeprefix(prompt)
        for prompt in ("the harb", "the caf")
    ]
    assert written[0] != written[1]


def test_json_has_the_fields_of_the_contract(tiny: Run, cli: Cli) -> None:
    words = ("--prompt", PROMPT, "--length", 60, "--seed", 3)
    done = cli("sample", "-m", tiny.folder, *words, "--json")
    (sample,) = done.json["samples"]
    assert sample.keys() >= {"text", "seed", "log_prob", "finished_by"}
    assert len(sample["text"]) == 60
    assert sample["seed"] == 3
    assert sample["log_prob"] < 0
    assert sample["finished_by"] == "length"
    assert done.json["prompt"] == PROMPT
    assert done.json["chars_per_second"] > 0
    assert "日本" in done.out
    assert PROMPT + sample["text"] == cli("sample", "-m", tiny.folder, *words).out


def test_several_samples_are_separated_and_the_first_is_unchanged(tiny: Run, cli: Cli) -> None:
    words = ("sample", "-m", tiny.folder, "--length", 60, "--seed", 3, "-p", PROMPT)
    samples = cli(*words, "--num-samples", 3, "--json").json["samples"]
    assert len({sample["text"] for sample in samples}) == 3

    done = cli(*words, "--num-samples", 3)
    texts = [PROMPT + sample["text"] for sample in samples]
    assert done.out == "".join(f"{text.removesuffix(chr(10))}\n\n" for text in texts)
    for number, sample in enumerate(samples, start=1):
        assert f"{number} of 3: log-probability {sample['log_prob']:.2f} nats" in done.err
    assert cli(*words).out == texts[0]
    ended = "".join(f"{text}\0" for text in texts)
    assert cli(*words, "--num-samples", 3, "--separator", r"\x00").out == ended
    assert cli(*words, "--separator", r"\x00").out == texts[0] + "\0"
    done = cli(*words, "--num-samples", 3, "--separator", r"%\n", "--out", "all.txt")
    assert "log-probability" not in done.err
    assert (cli.folder / "all.txt").read_text("utf-8") == "".join(f"{text}%\n" for text in texts)


@needs_terminal
def test_several_samples_have_headers_on_a_terminal(tiny: Run, tmp_path: Path) -> None:
    words = ("sample", "-m", tiny.folder, "--length", 20, "--seed", 3, "--num-samples", 2)
    screen = on_terminal(tmp_path, *words).screen
    assert re.search(r"=== 1 of 2 ===\r\n.*\r\n=== 2 of 2 ===\r\n", screen, re.DOTALL)
    assert "===" not in on_terminal(tmp_path, *words, "--max-lines", 1).screen


@pytest.mark.parametrize("end", [("--max-lines", 1), ("--stop", r"\n")])
def test_texts_of_one_line_are_lines(end: tuple[str, object], tiny: Run, cli: Cli) -> None:
    words = ("sample", "-m", tiny.folder, "--seed", 1, "--num-samples", 4)
    samples = cli(*words, *end, "--json").json["samples"]
    lines = [sample["text"].removesuffix("\n") for sample in samples]
    assert cli(*words, *end).out == "".join(f"{line}\n" for line in lines)
    assert all(line and "\n" not in line for line in lines)


def test_a_stop_string_has_escapes_and_can_be_kept(tiny: Run, cli: Cli) -> None:
    words = ("sample", "-m", tiny.folder, "--seed", 3)
    out = cli(*words, "--stop", r".\n").out
    assert out == cli(*words, "--stop", ".\n").out
    assert cli(*words, "--stop", r".\n", "--keep-stop").out == f"{out}.\n"
    assert cli("beam", *words[1:3], "-n", 30, "--stop", r"\x20", "--keep-stop").out.endswith(" ")


@pytest.mark.parametrize("command", ["sample", "greedy", "beam"])
def test_an_error_comes_before_any_text(command: str, tiny: Run, cli: Cli) -> None:
    more = {"sample": ("--num-samples", 2), "beam": ("--num-return", 2)}.get(command, ())
    done = cli(command, "-m", tiny.folder, "-p", "the", "--stop", "@", *more, code=2)
    assert done.out == ""
    assert "--stop can never be met" in done.sentence


def test_each_line_of_a_file_is_a_prompt(tiny: Run, cli: Cli) -> None:
    (cli.folder / "prompts.txt").write_bytes("the old\r\n\n日本 @\n".encode())
    words = ("-m", tiny.folder, "-n", 20, "--prompts", "prompts.txt", "--json")
    found = cli("sample", *words, "--seed", 5, "--num-samples", 2)
    prompts = ["the old", "", "日本 "]
    assert found.json["prompt"] is None
    samples = found.json["samples"]
    assert [sample["prompt"] for sample in samples] == [text for text in prompts for _ in "ab"]
    assert found.err.count("unknown characters: '@' (U+0040) left out") == 1
    one = ("sample", "-m", tiny.folder, "-n", 20, "--seed", 5, "--json")
    first = cli(*one, "--num-samples", 2, "-p", "the old").json["samples"]
    assert first == [{k: v for k, v in s.items() if k != "prompt"} for s in samples[:2]]
    assert len({sample["text"] for sample in samples}) == 6
    for command in ("greedy", "beam"):
        texts = [sample["text"] for sample in cli(command, *words).json["samples"]]
        alone = [
            cli(command, "-m", tiny.folder, "-n", 20, "-p", text, "--no-prompt").out
            for text in prompts
        ]
        assert texts == alone
    out = cli("greedy", *words[:-1], "--separator", "|").out
    assert out == "".join(f"{a}{b}|" for a, b in zip(prompts, texts_of(cli, words), strict=True))
    bare = cli("greedy", *words[:-1], "--separator", "|", "--no-prompt").out
    assert bare == "".join(f"{text}|" for text in texts_of(cli, words))
    cli("greedy", *words[:-1], "--out", "folder")
    files = [(cli.folder / "folder" / f"{number}.txt").read_text("utf-8") for number in (1, 2, 3)]
    assert files == out.split("|")[:-1]


def texts_of(cli: Cli, words: tuple[object, ...]) -> list[str]:
    return [sample["text"] for sample in cli("greedy", *words).json["samples"]]


def test_stops_before_a_stop_string(tiny: Run, cli: Cli) -> None:
    words = ("sample", "-m", tiny.folder, "--length", 1000, "--seed", 3)
    (sample,) = cli(*words, "--stop", ".\n", "--json").json["samples"]
    assert sample["finished_by"] == "stop"
    whole = cli(*words).out
    assert sample["text"] == whole[: whole.index(".\n")]
    assert cli(*words, "--stop", ".\n").out == sample["text"]


@pytest.mark.parametrize(
    "filter_", [("--temperature", 0), ("--top-k", 1), ("--top-p", 1e-9), ("--min-p", 1)]
)
def test_the_tightest_filter_is_greedy(
    filter_: tuple[str, float], greedy: str, tiny: Run, cli: Cli
) -> None:
    words = ("-m", tiny.folder, "--prompt", PROMPT, "--length", 80)
    assert cli("sample", *words, *filter_).out == greedy


def test_every_filter_changes_the_text(tiny: Run, cli: Cli) -> None:
    words = ("sample", "-m", tiny.folder, "--length", 120, "--seed", 3, "--temperature", 1.5)
    filters = {
        "--top-k": 3,
        "--typical-p": 0.5,
        "--top-p": 0.5,
        "--min-p": 0.3,
        "--xtc-probability": 1,
        "--mirostat-ent": 0.5,
        "--repeat-penalty": 2,
        "--presence-penalty": 2,
        "--frequency-penalty": 2,
        "--no-repeat-ngram-size": 2,
        "--logit-bias": "e=5",
    }
    outs = [cli(*words).out, *(cli(*words, *filter_).out for filter_ in filters.items())]
    assert len(set(outs)) == len(outs)


def test_mirostat_with_save_state_is_refused(tiny: Run, cli: Cli) -> None:
    state = ("--mirostat-ent", 2, "--save-state", cli.folder / "state")
    done = cli("sample", "-m", tiny.folder, *state, code=2)
    assert done.out == ""
    assert "leave out --mirostat-ent" in done.err
    assert not (cli.folder / "state").exists()


def test_a_hot_temperature_is_wilder(tiny: Run, cli: Cli) -> None:
    words = ("sample", "-m", tiny.folder, "--length", 300, "--seed", 1, "--json")
    cold, hot = (cli(*words, "-t", t).json["samples"][0]["log_prob"] for t in (0.3, 3))
    assert cold > hot


def test_a_given_model_is_not_printed(tiny: Run, cli: Cli) -> None:
    folder, file = (
        cli("sample", "-m", m, "-n", 60, "--seed", 3) for m in (tiny.folder, tiny.model)
    )
    assert folder == file
    assert file.err == "seed: 3\n"


def test_an_environment_variable_names_the_default_model(tiny: Run, cli: Cli) -> None:
    words = ("sample", "-n", 30, "--seed", 1)
    env = {"CHARRNN_MODEL": str(tiny.folder)}
    done = cli(*words, env=env)
    assert done.out == cli(*words, "-m", tiny.folder).out
    assert done.err.startswith(f"model: {tiny.folder} (trained on story, 40 steps, ")
    (cli.folder / "other.safetensors").write_bytes(b"")
    assert "other" in cli(*words, "-m", "other.safetensors", code=2, env=env).sentence
    assert "no model found" in cli(*words, code=2, env={"CHARRNN_MODEL": ""}).sentence
    assert cli("info", "--json", env=env).json["training"]["steps"] == 40


@pytest.mark.parametrize(
    ("newest", "older", "note"),
    [
        ({"valid_nats": 2.0}, {"valid_nats": 1.5}, "reached 1.500 nats per character on the same"),
        ({"valid_nats": 2.0}, {"valid_nats": 1.95}, None),
        ({"valid_nats": 2.0}, {"valid_nats": 1.5, "corpus": {"sha256": {"corpus": "1"}}}, None),
        ({"steps": 299}, {"steps": 4000, "corpus": {}}, "was trained for 4,000 steps"),
        ({"steps": 300}, {"steps": 4000, "corpus": {}}, None),
    ],
)
def test_a_toy_run_does_not_hide_a_real_one_without_a_word(
    newest: dict[str, object], older: dict[str, object], note: str | None, tiny: Run, cli: Cli
) -> None:
    for number, (name, given) in enumerate((("a", older), ("b", newest))):
        changed = dict(given)
        run = shutil.copytree(tiny.folder, cli.folder / "runs" / name)
        config = strict_json.loads((run / "config.json").read_text())
        config["corpus"] = changed.pop("corpus", config["corpus"])
        (run / "config.json").write_text(json.dumps(config))
        summary = strict_json.loads((run / "summary.json").read_text())
        summary |= {"steps": 1000, "valid_nats": None, **changed}
        (run / "summary.json").write_text(json.dumps(summary))
        for path in run.rglob("*"):
            os.utime(path, (1e9 + number, 1e9 + number))
    done = cli("sample", "-n", 5, "--seed", 1)
    assert f"model: {Path('runs', 'b')} (" in done.err
    older_run = Path("runs", "a")
    said = f"model: this is the newest run, but {older_run} {note}"
    assert (said in done.err) == (note is not None), done.err
    assert done.err.count("model: ") == 1 + (note is not None)
    assert cli("sample", "-n", 5, "--seed", 1, "-m", "runs/b").err == "seed: 1\n"


def test_a_checkpoint_writes_with_its_own_weights(tiny: Run, cli: Cli) -> None:
    text = shutil.copy(tiny.text, cli.folder)
    flags = ("--cell", "lstm", "--hidden-size", 16, "--num-layers", 1, "--backend", "library")
    steps = ("--steps", 30, "--checkpoint-every", 10, "--seed", 1, "--out", "r")
    cli("train", text, *flags, *steps, "--sample-every", 15)
    assert (cli.folder / "r" / "samples.txt").read_text("utf-8").count("=== step ") == 2
    words = ("sample", "-n", 50, "--seed", 1, "-m")
    texts = [cli(*words, f"r/checkpoints/{step}").out for step in (10, 20, 30)]
    assert len(set(texts)) == 3
    described = cli("info", "r/checkpoints/20", "--json").json
    assert described["model"] == str(Path("r", "checkpoints", "20"))
    assert described["training"]["steps"] == 20
    losses = [
        cli("eval", "-m", f"r/checkpoints/{step}", "--json").json["nats"] for step in (10, 20, 30)
    ]
    assert losses == sorted(losses, reverse=True)
    # The model has the last weights, with logits that are multiplied by a factor.
    assert cli("eval", "-m", "r", "--json").json["nats"] < losses[-1]
    factor = cli("info", "r", "--json").json["training"]["logits_factor"]
    alike = cli(*words, "r", "--temperature", factor).out
    assert alike == cli(*words, "r/checkpoints/30", "--temperature", 1).out
    file = "r/checkpoints/10/tensors.safetensors"
    assert cli(*words, file).out == texts[0]
    loaded = charrnn.load(cli.folder / "r" / "checkpoints" / "10")
    assert loaded.sample(length=50, seed=1).text == texts[0]
    assert "name one, such as" in cli(*words, "r/checkpoints", code=2).sentence
    assert "does not exist" in cli(*words, "r/checkpoints/40", code=2).sentence
    (cli.folder / "r" / "model.safetensors").unlink()
    assert "cannot be used yet" in cli(*words, "r/checkpoints/10", code=2).sentence
    shutil.copy(tiny.model, cli.folder / "r")
    assert "another training" in cli(*words, "r/checkpoints/10", code=2).sentence


def test_without_a_model_the_newest_run_is_used_and_named(tiny: Run, cli: Cli) -> None:
    for number, name in enumerate(("a", "c", "b")):
        run = shutil.copytree(tiny.folder, cli.folder / "runs" / name)
        for path in run.rglob("*"):
            os.utime(path, (1e9 + number, 1e9 + number))
    (cli.folder / "runs" / "d-without-a-model").mkdir()
    done = cli("sample", "--length", 50)
    line = next(line for line in done.err.splitlines() if line.startswith("model: "))
    loss = tiny.done.json["valid_nats"]
    run = Path("runs", "b")
    assert line == f"model: {run} (trained on story, 40 steps, {loss:.3f} nats per character)"
    assert done.err.count("model: ") == 1
    assert len(done.out) == 50
    assert set(done.out) <= set(tiny.text.read_text("utf-8"))


def test_a_seed_that_changes_nothing_is_noted(tiny: Run, cli: Cli) -> None:
    greedy = cli("sample", "-n", 5, "--temperature", 0, "-m", tiny.folder)
    assert "seed" not in greedy.err
    seeded = cli("sample", "-n", 5, "--temperature", 0, "--seed", 3, "-m", tiny.folder)
    assert "--seed has no effect at --temperature 0, where nothing is random" in seeded.err
    assert seeded.out == greedy.out


def test_an_output_that_was_interrupted_goes_on(tiny: Run, cli: Cli) -> None:
    words = ("sample", "-m", tiny.folder, "--num-samples", 300, "--length", 20, "--seed", 4)
    words = (*words, "--max-lines", 1)
    whole = cli(*words).out.splitlines(keepends=True)
    assert len(whole) == 300
    assert cli(*words, "--skip", 40).out.splitlines(keepends=True) == whole[40:]
    cli(*words, "--skip", 290, "--separator", "\\n", "--out", "rest.txt")
    assert (cli.folder / "rest.txt").read_text() == "".join(whole[290:])
    cli(*words, "--skip", 298, "--out", "rest")
    assert {path.name for path in (cli.folder / "rest").iterdir()} == {"299.txt", "300.txt"}
    assert "leaves none of 300 texts" in cli(*words, "--skip", 300, code=2).sentence
    assert "--skip" in cli(*words, "--skip", 3, "--unique", code=2).sentence
    (cli.folder / "prompts.txt").write_text("a\nb\n")
    assert "--skip" in cli(*words, "--skip", 3, "--prompts", "prompts.txt", code=2).sentence
    assert "--skip" in cli("greedy", "-m", tiny.folder, "--skip", 3, code=2).sentence
    assert "--skip" in cli("beam", "-m", tiny.folder, "--skip", 3, code=2).sentence


def test_many_texts_are_written_by_all_cores(tiny: Run, cli: Cli) -> None:
    """Their order and characters are those of one process, also if the reader stops early."""
    few = ("-n", 100, "--seed", 4, "--stop", " ", "--separator", "\\n", "--num-samples", 300)
    alone = cli("sample", "-m", tiny.folder, *few).out
    line = 'charrnn sample -m "$1" -n 100 --seed 4 --stop " " --separator "\\n"'
    many = cli.shell(f"{line} --num-samples 90000 --threads 2 | head -n 30", tiny.folder)
    assert len(many.out) > 60
    assert alone.startswith(many.out)
    assert many.err == "seed: 4\n"


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
@pytest.mark.parametrize(
    ("whom", "by", "code", "sentence"),
    [
        ("all", signal.SIGINT, 130, ""),
        ("one", signal.SIGTERM, 143, ""),
        ("worker", signal.SIGKILL, 1, "one of the processes was killed"),
    ],
)
def test_processes_end_together(
    whom: str, by: signal.Signals, code: int, sentence: str, tiny: Run, cli: Cli
) -> None:
    """Ctrl-C of all, a signal for the first, or the death of one ends all, with one sentence."""
    many = ("--num-samples", 10**8, "--seed", 4, "--separator", "\\n", "--out", "many.txt")
    running = cli.start_program("sample", "-m", tiny.folder, "--prompt", "", *many)
    wait_until(lambda: any(path.stat().st_size for path in cli.folder.glob(".many*")))
    workers = children(running.process.pid)
    assert len(workers) > 1
    if whom == "all":
        for worker in workers:
            os.kill(worker, by)
        running.signal(by)
    elif whom == "one":
        running.signal(by)
    else:
        os.kill(workers[-1], by)
    ended = running.end()
    assert ended.code == code
    assert [line for line in ended.err.splitlines() if line not in ("", "seed: 4")] == (
        [ended.sentence] if sentence else []
    )
    assert sentence in ended.err
    wait_until(lambda: not any(map(_runs, workers)))
    assert not list(cli.folder.iterdir())


def _runs(process: int) -> bool:
    """Return whether a process runs; one that has ended has no command line, if it is there."""
    try:
        return bool(Path(f"/proc/{process}/cmdline").read_bytes())
    except OSError:
        return False
