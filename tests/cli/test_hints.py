from __future__ import annotations

from charrnn.cli.hints import _OTHER_COMMANDS, _OTHER_NAMES, _TEXTS, similar_options

from .conftest import Cli
from .test_help import COMMANDS, visible

WRONG = [
    (("train", "x", "--lr", "1"), "No such option: --lr: did you mean --learning-rate?"),
    (("train", "x", "--gpu"), "--gpu: did you mean --device cuda?"),
    (("train", "x", "--hidden_size", "8"), "did you mean --hidden-size?"),
    (("train", "x", "--dropuot", "1"), "did you mean --dropout?"),
    (("train", "x", "--size", "8"), "did you mean --hidden-size or --batch-size or"),
    (("train", "x", "--rumpelstilt", "8"), "--rumpelstilt: see charrnn train --help"),
    (("sample", "--temp", "1"), "did you mean --temperature?"),
    (("beam", "--beams", "3"), "did you mean --width?"),
    (("train", "x", "-o", "run"), "-o: did you mean --out?"),
    (("train", "--input", "x"), "give it without an option: 'charrnn train CORPUS'"),
    (("sample", "--text", "It was"), "give it without an option: 'charrnn sample TEXT'"),
    (("generate", "It was"), "No such command 'generate': did you mean 'charrnn sample'?"),
    (("help", "train"), "did you mean 'charrnn --help'?"),
    (("-v",), "-v: did you mean --version?"),
    (("runs", "rm", "x"), "No such command 'rm': did you mean 'charrnn runs remove'?"),
    (("runs", "list"), "did you mean 'charrnn runs'?"),
    (("runs", "--cvs"), "did you mean --csv?"),
    (("corpora", "ls"), "did you mean 'charrnn corpora list'?"),
    (("smaple",), "No such command 'smaple'. Did you mean 'sample'?"),
    (("sample", "-n", "many"), "this must be a whole number, such as 100"),
    (("sample", "-t", "warm"), "this must be a number, such as 0.5"),
]


def test_a_wrong_option_is_explained(cli: Cli) -> None:
    ended = cli.each((words for words, _ in WRONG), code=2)
    for done, (_, advice) in zip(ended, WRONG, strict=True):
        assert advice in " ".join(line.strip("│ ") for line in done.err.splitlines())
        assert done.out == ""


def test_a_suggestion_is_an_option_of_the_command() -> None:
    assert similar_options("--temp", ["--help", "--steps", "--test"]) == []
    assert similar_options("--temp", ["--temperature"]) == ["--temperature"]


def test_every_other_name_leads_to_an_option_and_is_none_itself() -> None:
    options = {name for words in [(), *COMMANDS] for p in visible(words) for name in p.opts}
    assert {meant.split()[0] for meant in _OTHER_NAMES.values()} <= options
    assert not (_OTHER_NAMES.keys() | _TEXTS) & options


def test_every_other_command_leads_to_a_command_and_is_none_itself() -> None:
    known = {" ".join(words) for words in COMMANDS} | {"bench", "runs"}
    for meant in _OTHER_COMMANDS.values():
        words, _, option = meant.partition("--")
        path = tuple(words.split())
        assert words.strip() in known | {""}
        options = {name for p in visible(path) for name in p.opts} | {"--help"}
        assert not option or f"--{option}" in options
    assert not _OTHER_COMMANDS.keys() & known


def test_a_folder_of_runs_may_have_the_name_of_a_command(cli: Cli) -> None:
    (cli.folder / "list").mkdir()
    assert cli("runs", "list").out == ""
