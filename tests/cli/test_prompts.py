"""Prompts, states, limits and outputs, which the commands that write text share."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import strict_json

from .conftest import Cli, Run, needs_terminal, on_terminal

PROMPT = "the old café\n"


@pytest.mark.parametrize(
    "where", ["--prompt -", "--prompt-file -", "--prompt-file prompt.txt", "-"]
)
def test_prompts_from_all_sources_are_equal(where: str, tiny: Run, cli: Cli) -> None:
    (cli.folder / "prompt.txt").write_text(PROMPT, "utf-8", newline="")
    words = ("greedy", "-m", tiny.folder, "-n", 30)
    given = cli(*words, "--prompt", PROMPT)
    assert cli(*words, *where.split(), stdin=PROMPT.encode()) == given
    assert cli(*words, PROMPT, stdin=b"not read") == given
    assert cli(*words, "--prompt", PROMPT, stdin=b"not read") == given
    assert given.out.startswith(PROMPT)


@pytest.mark.parametrize("command", ["sample --seed 1", "greedy", "beam"])
def test_text_that_is_piped_in_is_the_prompt(command: str, tiny: Run, cli: Cli) -> None:
    words = f'charrnn {command} -m "$1" -n 20'
    given = cli(*command.split(), "-m", tiny.folder, "-n", 20, "-p", "the old")
    assert cli.shell(f'printf "the old" | {words}', tiny.folder) == given
    if command == "greedy":
        assert cli.shell(f'printf "the old" > file; {words} < file', tiny.folder) == given


@pytest.mark.parametrize("stdin", ["< /dev/null", "<&-", "< <(true)"])
def test_a_standard_input_without_text_is_no_prompt(stdin: str, tiny: Run, cli: Cli) -> None:
    expected = cli("greedy", "-m", tiny.folder, "-n", 20)
    assert cli.shell(f'charrnn greedy -m "$1" -n 20 {stdin}', tiny.folder) == expected


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tiny: Run, cli: Cli) -> None:
    done = cli.start("greedy", "-m", tiny.folder, "-n", 20).end()  # its stdin stays open
    assert done.out == cli("greedy", "-m", tiny.folder, "-n", 20).out
    assert "nothing came on standard input in 3 seconds, so there is no prompt" in done.err
    done = cli.start("greedy", "-m", tiny.folder, "-n", 20, "-p", "").end()
    assert done.err == ""


def test_a_script_on_standard_input_is_not_its_commands_prompt(tiny: Run, cli: Cli) -> None:
    expected = cli("greedy", "-m", tiny.folder, "-n", 20).out
    (cli.folder / "script").write_text("read line\nfirst\nrest of the script\n")
    line = '{ read line; charrnn greedy -m "$1" -n 20; cat; } < script'
    assert cli.shell(line, tiny.folder).out == expected + "first\nrest of the script\n"


def test_words_without_quotes_are_explained(cli: Cli) -> None:
    done = cli("sample", "It", "was", code=2)
    assert "(was): put words that belong together" in done.err
    done = cli("inspect", "next", "It was", code=2)
    assert "(It was): this command takes options alone" in " ".join(done.err.split())


def test_a_model_is_no_prompt(tiny: Run, cli: Cli) -> None:
    sentence = cli("greedy", tiny.folder, code=2).sentence
    assert f"use --model {tiny.folder}" in sentence
    sentence = cli("greedy", tiny.text, code=2).sentence
    assert f"use --prompt-file {tiny.text}" in sentence
    assert cli("greedy", "-m", tiny.folder, "-n", 0, "the old").out == "the old"


def test_a_byte_order_mark_is_dropped_from_the_prompt(tiny: Run, cli: Cli) -> None:
    done = cli("greedy", "-m", tiny.folder, "-p", "-", "-n", 0, stdin=b"\xef\xbb\xbfthe")
    assert done.out == "the"
    assert "byte order mark" in done.err


def test_an_empty_prompt_is_no_prompt(tiny: Run, cli: Cli) -> None:
    words = ("greedy", "-m", tiny.folder, "-n", 20)
    assert cli(*words, "--prompt", "") == cli(*words) == cli(*words, "--prompt", "-")


def test_unknown_characters_are_replaced_or_skipped_and_reported(tiny: Run, cli: Cli) -> None:
    words = ("greedy", "-m", tiny.folder, "-n", 0, "-p", "ÓLD “Ж” séa\udcff")
    near = cli(*words)
    assert cli(*words, "--unknown", "nearest") == near
    assert near.out == "old  séa"
    assert "'Ж' (U+0416) left out" in near.err
    assert "'L' (U+004C) -> 'l' (U+006C)" in near.err
    assert near.err.count("unknown characters: ") == 1
    assert cli(*words, "--unknown", "skip").out == "  séa"


@needs_terminal
def test_ctrl_c_interrupts_a_long_prompt(tiny: Run, cli: Cli) -> None:
    (cli.folder / "long.txt").write_text("the old harbour was quiet.\n" * 2**17, "utf-8")
    words = ("greedy", "-m", tiny.folder, "--prompt-file", "long.txt", "-n", 1)
    shown = on_terminal(cli.folder, *words, stop_at="reading the prompt")
    assert shown.code == 130


def test_a_saved_state_continues_like_one_long_run(tiny: Run, cli: Cli) -> None:
    words = ("sample", "-m", tiny.folder)
    whole = cli(*words, "-n", 60, "--seed", 5, "-p", "the ")
    first = cli(*words, "-n", 25, "--seed", 5, "-p", "the ", "--save-state", "s")
    rest = cli(*words, "-n", 35, "--load-state", "s", "--save-state", "s")
    assert first.out + rest.out == whole.out
    assert "seed: 5\n" in rest.err
    assert cli(*words, "-n", 35, "--load-state", "s", "--seed", 6).out != rest.out
    branches = cli(*words, "--load-state", "s", "--num-samples", 3, "-n", 20, "--json").json
    assert len({sample["text"] for sample in branches["samples"]}) == 3
    longer = cli(*words, "-n", 80, "--seed", 5, "-p", "the ").out
    assert branches["samples"][0]["text"] == longer.removeprefix(whole.out)


@pytest.mark.parametrize("command", ["greedy", "beam"])
def test_deterministic_commands_continue_from_a_state(command: str, tiny: Run, cli: Cli) -> None:
    begun = cli(command, "-m", tiny.folder, "-n", 20, "-p", "the ", "--save-state", "s").out
    rest = cli(command, "-m", tiny.folder, "-n", 20, "--load-state", "s").out
    assert rest == cli(command, "-m", tiny.folder, "-n", 20, "-p", begun).out.removeprefix(begun)


def test_every_text_matches_in_full(tiny: Run, cli: Cli) -> None:
    regex = r"[a-z]{2,9}( [a-zé]{2,9}){1,3}\."
    words = ("-m", tiny.folder, "-n", 60, "--regex", regex, "--json")
    for command in (("sample", "--num-samples", 5), ("greedy",), ("beam", "--num-return", 2)):
        for sample in cli(*command, *words).json["samples"]:
            assert re.fullmatch(regex, sample["text"])
            assert sample["finished_by"] == "constraint"
    assert re.fullmatch(regex, cli("sample", *words[:-1]).out)


def test_characters_and_lines_are_limited(tiny: Run, cli: Cli) -> None:
    limits = ("--forbid", r"a-m\W", "--allow", "^n", "--length", 200)
    out = cli("sample", "-m", tiny.folder, *limits).out
    assert len(out) == 200
    assert not re.search(r"[a-n\W]", out)
    out = cli("sample", "-m", tiny.folder, "--max-lines", 2).out
    assert out.count("\n") == 2
    assert out.endswith("\n")


def test_out_writes_what_stdout_would_get(tiny: Run, cli: Cli) -> None:
    words = ("sample", "-m", tiny.folder, "-p", PROMPT, "-n", 50, "--seed", 1)
    done = cli(*words, "--out", "text.txt")
    assert (done.out, done.err) == ("", "seed: 1\nwritten: text.txt\n")
    assert (cli.folder / "text.txt").read_bytes() == cli(*words).out.encode()
    assert "--force" in cli(*words, "--out", "text.txt", code=2).sentence
    cli(*words, "--out", "text.txt", "--force", "-n", 1)
    assert (cli.folder / "text.txt").read_text("utf-8").startswith(PROMPT)
    cli(*words, "--out", "one.json", "--json")
    (sample,) = strict_json.loads((cli.folder / "one.json").read_text("utf-8"))["samples"]
    assert len(sample["text"]) == 50
    assert {path.name for path in cli.folder.iterdir()} == {"text.txt", "one.json"}


def test_several_texts_are_written_to_a_folder(tiny: Run, cli: Cli) -> None:
    words = ("sample", "-m", tiny.folder, "-n", 50, "--seed", 1, "--num-samples", 3)
    cli(*words, "--out", "texts")
    samples = cli(*words, "--json").json["samples"]
    texts = [(cli.folder / "texts" / f"{number}.txt").read_text("utf-8") for number in (1, 2, 3)]
    assert texts == [sample["text"] for sample in samples]
    assert "exists" in cli(*words, "--out", "texts", code=2).sentence


def test_existing_output_stays_if_writing_fails(tiny: Run, cli: Cli) -> None:
    (cli.folder / "text.txt").write_text("before")
    cli(
        "sample",
        "-m",
        tiny.folder,
        "--out",
        "text.txt",
        "--force",
        "-p",
        "@",
        "--unknown",
        "error",
        code=2,
    )
    assert (cli.folder / "text.txt").read_text() == "before"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "cp1252", "utf-8"])
def test_the_encoding_of_a_prompt_file_is_decided(encoding: str, tiny: Run, cli: Cli) -> None:
    words = ("sample", "-m", tiny.folder, "-n", 20, "--seed", 1)
    (cli.folder / "prompt.txt").write_bytes("the old café was".encode(encoding))
    done = cli(*words, "--prompt-file", "prompt.txt")
    assert done.out == cli(*words, "--prompt", "the old café was").out
    assert ("prompt.txt is" in done.err) == (encoding != "utf-8")


def bad(folder: Path) -> None:
    (folder / "russian.txt").write_bytes("Съешь же ещё этих булок".encode("cp1251"))
    (folder / "damaged.txt").write_bytes("café au lait, déjà".encode()[:-1] + b"\x81\xff")
    (folder / "novel.txt").write_text("a year's work")
    (folder / "empty.txt").write_text("")
    (folder / "made").mkdir()


CASES = {
    "--prompt-file nothere.txt": ["nothere.txt", "No such file"],
    "--prompt-file damaged.txt": ["damaged.txt is not UTF-8", "not certain", "iconv"],
    "--prompt-file russian.txt": ["iconv -f cp1251 -t UTF-8', which reads \"Съешь же ещё"],
    "--prompt-file novel.txt --prompt x": ["--prompt and --prompt-file both give a prompt"],
    "--unknown error --prompt @": ["'@' (U+0040)", "--unknown nearest"],
    "x --prompt y": ["PROMPT and --prompt both give a prompt"],
    "x --prompts novel.txt": ["PROMPT and --prompts both give a prompt"],
    "--prompts nothere.txt": ["--prompts nothere.txt", "No such file"],
    "--prompts empty.txt": ["--prompts empty.txt is empty"],
    "--prompts novel.txt --save-state s": ["leave out --prompts"],
    "--unknown nerest": ["--unknown 'nerest'", "did you mean nearest?"],
    "--load-state novel.txt": ["novel.txt", "not a saved state"],
    "--save-state novel.txt": ["novel.txt", "not a saved state", "another name"],
    "--save-state s --num-samples 2": ["--num-samples 1"],
    "--out made": ["made is a folder"],
    "--out novel.txt --num-samples 2": ["a file", "name a folder"],
    "--regex (a": ["--regex '(a'", "position 0"],
    "--regex @+": ["'@' (U+0040)", "charrnn info"],
    "--forbid ]": ["brackets"],
}


def test_bad_input_gets_a_sentence(tiny: Run, cli: Cli) -> None:
    bad(cli.folder)
    before = {path.name for path in cli.folder.rglob("*")}
    lines = (("sample", "-m", tiny.folder, *line.split(" ")) for line in CASES)
    for done, (line, words) in zip(cli.each(lines, code=2), CASES.items(), strict=True):
        assert [word for word in words if word not in done.sentence] == [], line
        assert done.out == "", line
    assert {path.name for path in cli.folder.rglob("*")} == before
    assert (cli.folder / "novel.txt").read_text() == "a year's work"


def test_what_is_written_takes_up_the_names_of_a_text_to_adapt_to(tiny: Run, cli: Cli) -> None:
    (cli.folder / "zeno.txt").write_text("the quinqua was late. " * 240, "utf-8")
    words = ("sample", "-m", tiny.folder, "-n", 200, "--seed", 1)
    learnt = cli(*words, "--adapt", "zeno.txt", "--save-state", "s")
    assert learnt.out.count("quin") >= 3
    again = cli(*words, "--adapt", "-", "-p", "", stdin=b"the quinqua was late. " * 240)
    assert again.out == learnt.out
    assert cli(*words, "--prompt-file", "zeno.txt", "--no-prompt").out.count("quin") < 3
    assert "quin" in cli(*words, "--load-state", "s").out
    assert cli("greedy", "-m", tiny.folder, "--load-state", "s", "-n", 40).out
    assert cli("beam", "-m", tiny.folder, "-n", 9, "--adapt", "zeno.txt", "-p", "the q").out


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("--adapt nothing.txt", "--adapt nothing.txt: No such file"),
        ("--adapt empty.txt", "empty"),
        ("--adapt - --prompt -", "both read standard input"),
        ("--adapt story.txt --weights int8", "--adapt changes the weights"),
        ("--adapt story.txt --source a", "--adapt is for texts"),
    ],
)
def test_what_cannot_be_adapted_to_is_refused(words: str, why: str, tiny: Run, cli: Cli) -> None:
    (cli.folder / "empty.txt").write_text("")
    (cli.folder / "story.txt").write_text("the old harbour")
    assert why in cli("sample", "-m", tiny.folder, *words.split(), code=2).sentence
