import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from charrnn import errors
from charrnn.errors import (
    EXCERPT,
    CharRNNError,
    CorpusError,
    InputError,
    ModelError,
    OptionError,
    RunError,
    counted,
    excerpt,
    file_name,
    in_python,
    missing_package,
    nearest,
    shell_command,
)
from charrnn.terminal import visible


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
        "it has grown; train on it with: charrnn train 'my text.txt' --init-from run",
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


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0 lines"),
        (1, "1 line"),
        (1.0, "1 line"),
        (2, "2 lines"),
        (0.5, "0.5 lines"),
        (12345, "12,345 lines"),
    ],
)
def test_a_number_agrees_with_its_noun(number: float, words: str) -> None:
    assert counted(number, "line") == words


def test_an_irregular_plural_is_given() -> None:
    assert [counted(n, "pass", "passes") for n in (1, 3)] == ["1 pass", "3 passes"]


def test_an_excerpt_of_a_long_text_is_short_and_has_both_ends() -> None:
    shown = excerpt("first\n" + "word\n" * 10_000 + "last")
    assert len(shown) <= EXCERPT
    assert shown.startswith("first word")
    assert shown.endswith("word last")
    assert "\n" not in shown
    assert excerpt("x" * EXCERPT) == "x" * EXCERPT
    assert excerpt(3) == "3"


PASTED = ["a b", "it's", "x\ny\x1b[3m", "a\udcffb", "", "~x", "\\n", "$HOME", "*", "-x", "é\u202e1"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize("word", PASTED, ids=ascii)
def test_a_printed_command_can_be_pasted_into_a_shell(word: str) -> None:
    line = shell_command("printf", "%s", word)
    assert visible(line) == line  # a terminal shows it as it is
    assert "\n" not in line
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=True)
    assert done.stdout == os.fsencode(word)


def test_plain_words_are_not_quoted() -> None:
    line = "charrnn train corpus/my-text_1.txt --document-separator=a,b --out runs/x@2:3"
    assert shell_command(*line.split()) == line


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        (r"C:\runs\tunes-1", r"C:\runs\tunes-1"),
        ("my run", '"my run"'),
        ("it's", '"it\'s"'),
        ("a&b", '"a&b"'),
        ("(a)", '"(a)"'),
        ("C:\\my runs\\", '"C:\\my runs\\\\"'),
        ('say "hi"', '"say ""hi"""'),
        ("", '""'),
    ],
)
def test_on_windows_words_are_quoted_for_cmd_and_powershell(
    word: str, quoted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert shell_command("charrnn", word) == f"charrnn {quoted}"


@pytest.mark.parametrize("given", [None, b"a.txt", ["a.txt"], ("a.txt",), 3, object()])
def test_what_cannot_name_a_file_is_refused(given: object) -> None:
    with pytest.raises(ModelError, match="the model must be the name of a file, not "):
        file_name(given, "the model", ModelError)


@pytest.mark.parametrize("text", ["x" * 256, "é" * 128, "a line\n" * 100, "a\n" * 2500])
def test_a_text_in_the_place_of_a_name_is_not_echoed(text: str) -> None:
    for kind in (OptionError, CorpusError):
        with pytest.raises(kind, match="that is a text, not a file") as caught:
            file_name(text, "--out", kind)
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize("kind", [OptionError, CorpusError])
def test_a_path_that_the_system_does_not_take_is_not_called_a_text(
    kind: type[CharRNNError],
) -> None:
    with pytest.raises(kind, match="that path has 4,096 bytes, and the system takes 4,095") as told:
        file_name("a/" * 2048, "--out", kind)
    assert len(str(told.value)) < 250
    assert file_name("a/" * 2047 + "a", "--out", kind)


@pytest.mark.parametrize("name", ["a.txt", "x" * 255, Path("a") / "b", "a\nb", "", "d/" * 200])
def test_any_other_name_is_taken(name: str | Path) -> None:
    assert file_name(name, "--out") == str(name)
