import re
from importlib.metadata import PackageNotFoundError

import pytest

from charrnn import errors
from charrnn.errors import (
    CharRNNError,
    InputError,
    OptionError,
    RunError,
    in_python,
    missing_package,
    nearest,
)


def _family(kind: type[CharRNNError]) -> set[type[CharRNNError]]:
    return {kind}.union(*(_family(child) for child in kind.__subclasses__()))


@pytest.mark.parametrize("kind", sorted(_family(InputError), key=str))
def test_bad_input_exits_with_2(kind: type[CharRNNError]) -> None:
    assert kind.exit_code == 2


@pytest.mark.parametrize("kind", sorted(_family(RunError), key=str))
def test_a_failure_while_running_exits_with_1(kind: type[CharRNNError]) -> None:
    assert kind.exit_code == 1


def test_the_tree_in_the_docstring_is_the_class_tree() -> None:
    drawn = []
    parents = ["Exception"]
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"([ │├└─]*)(\w+Error)\b", line):
            depth = len(match[1]) // 4
            parents[depth + 1 :] = [match[2]]
            drawn.append((match[2], parents[depth]))
    real = [
        (kind.__name__, kind.__base__.__name__)
        for kind in _family(CharRNNError)
        if kind.__module__ == errors.__name__  # rooms have some of their own
    ]
    assert sorted(drawn) == sorted(real)


def test_nearest_suggests_the_word_that_was_meant() -> None:
    assert nearest("lsmt", ["elman", "lstm", "gru"]) == "did you mean lstm?"


def test_nearest_lists_all_when_none_is_near() -> None:
    assert nearest("xyz", ["elman", "lstm"]) == "choose from elman, lstm"


@pytest.mark.parametrize(
    ("flags", "keywords"),
    [
        ("--hidden-size must be 1 or more", "`hidden_size` must be 1 or more"),
        ("use --num-layers 1, and --input-depth 2.", "use `num_layers=1`, and `input_depth=2`."),
        ("lower --temperature -0.5 (--top-p)", "lower `temperature=-0.5` (`top_p`)"),
        ("--width 50,000 is large", "`width` 50,000 is large"),
        ("--encoding 'utf' is not known", "`encoding` 'utf' is not known"),
        (
            "--resume to go on, --force for a new one",
            "`resume=True` to go on, `force=True` for a new one",
        ),
        ("--device cuda:1", "`device` cuda:1"),
    ],
)
def test_a_python_caller_reads_keywords_and_the_command_line_flags(
    flags: str, keywords: str
) -> None:
    error = OptionError(flags)
    assert (str(error), error.message) == (keywords, flags)


@pytest.mark.parametrize(
    "sentence",
    [
        "convert it: 'iconv -f LATIN1 -t UTF-8'",
        "make it with 'charrnn prepare --out FOLDER'",
        "--a-file.txt does not exist",
        "no text -- or too little -- is left",
        "well--known",
        missing_package("drawing", "matplotlib", "plot"),
    ],
)
def test_text_that_is_not_an_option_is_unchanged(sentence: str) -> None:
    assert in_python(sentence) == sentence


def test_an_error_that_quotes_another_keeps_flags_for_the_command_line() -> None:
    inner = OptionError("--seed 1 is taken")
    outer = RunError(f"not used: {inner.message}")
    assert outer.message == "not used: --seed 1 is taken"
    assert str(outer) == "not used: `seed=1` is taken"


@pytest.mark.parametrize(
    ("source", "advice"),
    [
        (None, "drawing needs matplotlib: run pip install 'charrnn-text[plot]'"),
        ('{"url": "file:///clone"}', "run pip install '.[plot]' in a clone of charrnn"),
        (PackageNotFoundError(), "run pip install '.[plot]' in a clone of charrnn"),
    ],
)
def test_a_missing_package_is_installed_from_where_charrnn_came(
    source: object, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Installed:
        def read_text(self, name: str) -> object:
            assert name == "direct_url.json"
            return source

    def distribution(name: str) -> Installed:
        assert name == "charrnn-text"
        if isinstance(source, Exception):
            raise source
        return Installed()

    monkeypatch.setattr("importlib.metadata.distribution", distribution)
    monkeypatch.setattr("sys.platform", "linux")
    assert missing_package("drawing", "matplotlib", "plot").endswith(advice)
    monkeypatch.setattr("sys.platform", "win32")
    assert missing_package("drawing", "matplotlib", "plot").endswith(advice.replace("'", '"'))
