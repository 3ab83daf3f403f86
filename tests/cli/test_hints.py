from __future__ import annotations

from charrnn.cli.hints import _OTHER_NAMES, similar_options

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
    options = {name for words in COMMANDS for p in visible(words) for name in p.opts}
    assert {meant.split()[0] for meant in _OTHER_NAMES.values()} <= options
    assert not _OTHER_NAMES.keys() & options
