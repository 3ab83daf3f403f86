"""Wrong use and bad input: exit code 2, nothing on stdout, and a sentence that says what to do."""

from __future__ import annotations

import gzip
import pickle
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from .conftest import BY_LIBRARY, Cli, Run, modules_in, needs_terminal, on_terminal


@pytest.fixture(scope="module")
def bad(tiny: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of files that people pass by mistake, without a run."""
    folder = tmp_path_factory.mktemp("bad")
    model = tiny.model.read_bytes()
    files = {
        "good.txt": b"a line of text\n" * 100,
        "empty.txt": b"",
        "one.txt": b"x",
        "latin1.txt": b"first\nsecond\ncaf\xe9 au lait\n",
        "utf16.txt": "\ufeffhello".encode("utf-16-le"),
        "russian.txt": "plain\nСъешь же ещё этих\n".encode("cp1251"),
        "cut.txt.gz": gzip.compress(bytes(range(256)) * 100)[:300],
        "bomb.txt.gz": gzip.compress(bytes(10**6)),
        "cut-text.txt": "caf\u00e9".encode()[:-1],
        "paper.pdf": b"%PDF-1.7\n%\xe2\xe3",
        "book.7z": b"7z\xbc\xaf\x27\x1c" + bytes(range(128, 200)),
        "too-many.txt": "".join(map(chr, range(0x20000, 0x20000 + 200_001))).encode(),
        "cut.safetensors": model[:3000],
        "cut-short.safetensors": model[:5],
        "zeros.safetensors": bytes(1000),
        "noise.safetensors": bytes(range(1, 200)) * 9,
        "turned.safetensors": model[:-9] + bytes([model[-9] ^ 1]) + model[-8:],
        "newer.safetensors": model.replace(rb"\"format\": 1", rb"\"format\": 7"),
        "lfs.safetensors": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n",
        "model.gguf": b"GGUF" + bytes(64),
        "pickled.safetensors": pickle.dumps({"weights": [1, 2]}),
        "unsure.toml": b"hidden-size = = 3\n",
        "deep.toml": b"hidden-size = " + b"[" * 100_000 + b"]" * 100_000,
        "long.toml": b"hidden-size = " + b"9" * 5000,
        "typo.toml": b"hiden-size = 3\n",
        "type.toml": b'hidden-size = "big"\n',
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    with zipfile.ZipFile(folder / "zipped.safetensors", "w") as archive:
        archive.writestr("data.pkl", "weights")
    (folder / "empty").mkdir()
    shutil.copytree(tiny.folder, folder / "model")
    shutil.copytree(tiny.folder, folder / "hurt")
    for path in (folder / "hurt" / "checkpoints").glob("*/tensors.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    shutil.copytree(tiny.folder, folder / "ended", ignore=shutil.ignore_patterns("checkpoints"))
    (folder / "linked").mkdir()
    (folder / "linked" / "checkpoints").symlink_to(folder / "model" / "checkpoints")
    shutil.copy(tiny.text, folder / "story.txt")
    return folder


SAMPLE = "sample -m model -n 5"
CASES = {
    # texts
    "train nothere.txt": ["nothere.txt", "does not exist"],
    "train empty.txt": ["empty.txt", "0 characters"],
    "train empty": ["empty", "folder", "name a text file"],
    "train latin1.txt --encoding utf-8": ["latin1.txt", "byte e9", "offset 16", "line 3", "cp1252"],
    "train utf16.txt --encoding utf-8": ["utf16.txt", "byte order mark", "leave --encoding out"],
    "train russian.txt": ["russian.txt", "--encoding in which", 'cp1251 ("Съешь же ещё этих")'],
    "corpora stats russian.txt": ["--encoding in which", 'cp1251 ("Съешь же ещё этих")'],
    "train cut.txt.gz": ["cut.txt.gz", "damaged"],
    "train bomb.txt.gz --max-unpacked 1000": ["bomb.txt.gz", "1,000", "--max-unpacked"],
    "train cut-text.txt": ["cut-text.txt", "offset 3", "ends inside a character"],
    "train paper.pdf": ["paper.pdf", "PDF", "plain text"],
    "train book.7z": ["book.7z", "7z archive", "unpack it first"],
    "train too-many.txt": ["200,001 different characters", "--min-count", "--tokenizer byte"],
    "train good.tx": ["good.tx does not exist", "did you mean good.txt?"],
    "train *.rst": ["*.rst", "matches no file"],
    "train good.txt --encoding utf9": ["--encoding 'utf9'", "did you mean utf-8?"],
    "train . --include *.rst": ["has no such files"],
    "train good.txt --tokenizer bytes": ["--tokenizer 'bytes'", "did you mean byte?"],
    "train good.txt --min-count 3 --tokenizer byte": ["--min-count", "--tokenizer char"],
    "train good.txt --vocab-size 500": ["--vocab-size", "--tokenizer sentencepiece"],
    "train good.txt --include *.txt": ["--include is for files of folders", "good.txt is none"],
    "train tunes --exclude *.c --dry-run": ["--exclude is for files of folders", "tunes"],
    "train good.txt --cell gru --zoneout-cell 0.1": ["gru has none", "--zoneout"],
    "inspect gradients -m model --hidden-size 9": ["--hidden-size is for untrained", "--cell"],
    "inspect memory -m model --steps 9 --seeds 2": ["--steps and --seeds", "add --task"],
    "inspect memory --task copy --symbols 9": ["no --symbols"],
    "train good.txt --split document": ["1 document", "--document-separator"],
    "train good.txt --reset-at-documents": ["one document", "--document-separator"],
    "train good.txt --reset-at-documents --state reset": [
        "--window-state reset",
        "give one of them",
    ],
    "train good.txt --valid-fraction 0.8 --test-fraction 0.2": ["leave less than a tenth"],
    "train good.txt --test nothere.txt": ["nothere.txt", "does not exist"],
    "prepare good.txt --out model": [
        "--out model",
        "already holds something else",
        "choose another folder",
    ],
    "train -": ["empty"],
    "train good.txt --valid nothere.txt": ["nothere.txt", "does not exist"],
    "train good.txt --valid russian.txt": ["russian.txt", "UTF-8", "line 2"],
    "train good.txt --batch-size 30 --seq-len 100 --steps 1": [
        "1,350 characters",
        "30 streams",
        "windows of 100",
        "--batch-size 13",
        "--seq-len 45",
    ],
    "train good.txt --newline crlf": ["--newline", "crlf", "choose from keep, lf"],
    "eval nothere.txt -m model": ["nothere.txt", "does not exist"],
    # models
    "sample": ["no model found", "runs", "charrnn train", "name a model or a run"],
    "sample -m nothere": ["nothere", "does not exist", "charrnn train"],
    "sample -m empty": ["empty", "does not exist", "charrnn train"],
    "sample -m cut.safetensors": ["cut.safetensors", "damaged", "3,000 bytes"],
    "sample -m cut-short.safetensors": ["cut-short.safetensors", "not a charrnn model", "5 bytes"],
    "greedy -m zeros.safetensors": ["zeros.safetensors", "damaged"],
    "beam -m noise.safetensors": ["noise.safetensors", "not a charrnn model"],
    "sample -m turned.safetensors": ["turned.safetensors", "damaged", "SHA-256"],
    "sample -m newer.safetensors": ["newer.safetensors", "format 7", "upgrade"],
    "sample -m lfs.safetensors": ["lfs.safetensors", "Git LFS pointer"],
    "sample -m model.gguf": ["model.gguf", "GGUF"],
    "info pickled.safetensors": ["pickled.safetensors", "pickle"],
    "eval -m zipped.safetensors": ["zipped.safetensors", "zip archive"],
    # generation
    f"{SAMPLE} --unknown error --prompt @Ж": ["'@' (U+0040)", "'Ж' (U+0416)", "charrnn info"],
    "beam -m model --stop @": ["'@' (U+0040)"],
    f"{SAMPLE} --unknown error --prompt \udcff": ["U+DCFF"],
    f"{SAMPLE} --unknown error --prompt \x1b": ["'␛' (U+001B)"],
    f"{SAMPLE} --device cuda": ["--device cuda: PyTorch sees no CUDA", "use --device cpu"],
    "greedy -m model --device cuda:1": ["--device cuda:1: PyTorch sees no CUDA"],
    f"{SAMPLE} --device auto": ["--device 'auto'", "use cpu, cuda or cuda:N"],
    f"{SAMPLE} --device cuda --weights int8": ["--weights int8 is for the CPU", "--device cuda"],
    "beam -m model --device cuda --threads 2": ["--threads 2 is for the CPU", "--device cuda"],
    f"{SAMPLE} --temperature -1": ["--temperature", "-1", "of at least 0"],
    f"{SAMPLE} --temperature nan": ["--temperature", "nan"],
    f"{SAMPLE} --temperature inf": ["--temperature", "inf"],
    f"{SAMPLE} --top-p 0": ["--top-p", "above 0"],
    f"{SAMPLE} --typical-p 1.5": ["--typical-p", "above 0 and at most 1"],
    f"{SAMPLE} --min-p nan": ["--min-p", "nan"],
    f"{SAMPLE} --repeat-penalty 0": ["--repeat-penalty", "above 0"],
    f"{SAMPLE} --presence-penalty nan": ["--presence-penalty", "nan"],
    f"{SAMPLE} --temperature 0 --top-k 3": ["--temperature 0", "--top-k", "leave the filters"],
    f"{SAMPLE} --repeat-last-n 9": ["--repeat-last-n 9", "--repeat-penalty"],
    f"{SAMPLE} --no-repeat-ngram-size -1": ["--no-repeat-ngram-size", "from 0", "-1"],
    f"{SAMPLE} --logit-bias x": ["--logit-bias 'x'", "TOKEN=NUMBER"],
    f"{SAMPLE} --logit-bias =3": ["--logit-bias '=3'", "TOKEN=NUMBER"],
    f"{SAMPLE} --logit-bias e=much": ["--logit-bias 'e=much'", "TOKEN=NUMBER"],
    f"{SAMPLE} --logit-bias e=nan": ["--logit-bias 'e'", "-100 to 100", "nan"],
    f"{SAMPLE} --logit-bias @=3": ["'@' (U+0040)"],
    f"{SAMPLE} --logit-bias the=3": ["--logit-bias 'the'", "3 tokens"],
    f"{SAMPLE} --logit-bias \\q=3": ["--logit-bias", "TOKEN=NUMBER"],
    f"{SAMPLE} --logit-bias e=1 --logit-bias e=2": ["--logit-bias", "twice"],
    "greedy -m model --repeat-penalty 101": ["--repeat-penalty", "101"],
    f"{SAMPLE} --stop=": ["--stop", "empty"],
    f"{SAMPLE} --regex (a{{1000}}){{1000}}": ["takes too long to compile", "simplify it"],
    f"{SAMPLE} --regex a{{99999999999999999999}}": ["repetition number is too large"],
    f"{SAMPLE} --regex {'(' * 2000}a{')' * 2000}": ["--regex '((((", "is not a valid pattern"],
    f"beam -m model --regex {'|'.join(f'e{n}' for n in range(10_000))}": ["never seen"],
    "sample -m model --length -1": ["--length", "-1"],
    "greedy -m model --length 99999999999999999999": ["--length", "99999999999999999999"],
    "beam -m model --width 0": ["--width", "from 1", "0"],
    "beam -m model --width 9999999999": ["--width", "9999999999"],
    "beam -m model --width 2 --num-return 3": ["--num-return 3", "--width 2"],
    "beam -m model --groups 2": ["--width 5", "2 equal --groups"],
    "beam -m model --groups 5": ["--groups", "--diversity"],
    "beam -m model --seed 3": ["--seed", "--stochastic", "charrnn sample"],
    "beam -m model --stochastic --temperature nan": ["--temperature", "nan"],
    "beam -m model --stochastic --length-penalty 0": ["--stochastic", "--length-penalty"],
    "beam -m model --min-length 3": ["--min-length", "--stop"],
    # options without effect beside the others
    f"{SAMPLE} --force": ["--force has no effect without --out: give both"],
    "greedy -m model --force": ["--force has no effect without --out"],
    "beam -m model --force": ["--force has no effect without --out"],
    f"{SAMPLE} --keep-stop": ["--keep-stop has no effect without --stop: give both"],
    "greedy -m model --keep-stop": ["--keep-stop has no effect without --stop"],
    "beam -m model --keep-stop": ["--keep-stop has no effect without --stop"],
    f"{SAMPLE} --num-samples 2 --separator x --json": ["--separator has no effect on --json"],
    "plot model --force": ["--force has no effect without --out"],
    "score good.txt -m model --force": ["--force has no effect without --html or --csv"],
    "inspect cells good.txt -m model --force": ["--force has no effect without --plot or --html"],
    "inspect gradients good.txt -m model --force": ["--force has no effect without --plot: give"],
    "inspect memory good.txt -m model --force": ["--force has no effect without --plot: give"],
    "inspect next -m model --force": ["--force has no effect without --plot: give both"],
    "train good.txt --force": ["--force has no effect without --out: give both"],
    "train good.txt --valid story.txt --valid-fraction 0.2": [
        "--valid and --valid-fraction both say what to hold out: give one of them"
    ],
    "train good.txt --test story.txt --test-fraction 0.2": ["--test and --test-fraction both say"],
    "train good.txt --valid story.txt --split hash": ["--split holds out a part", "--valid"],
    "prepare good.txt --out made --valid story.txt --valid-fraction 0.2": [
        "--valid and --valid-fraction both say"
    ],
    # training
    "train good.txt --cell lsmt": ["--cell", "'lsmt'", "did you mean lstm?"],
    "train good.txt --backend fusd": ["--backend", "did you mean fused?"],
    "train good.txt --steps 5 --minutes 1": ["--steps", "--minutes", "both set the budget"],
    "train good.txt --out one.txt": ["--out one.txt", "is a file"],
    "train good.txt --precision bf16": ["--precision 'bf16'", "bfloat16"],
    "train good.txt --device cuda": ["--device cuda", "use --device cpu"],
    "train good.txt --config nothere.toml": ["nothere.toml"],
    "train good.txt --config unsure.toml": ["unsure.toml", "TOML", "line 1"],
    "train good.txt --out model": ["--out model", "holds a run", "--resume", "--force"],
    "train good.txt --out model --resume": ["model cannot be resumed", "SHA-256"],
    "train good.txt --out ended --resume": [
        "ended holds a finished run without a checkpoint",
        "--force",
    ],
    "train story.txt --out model --resume --cell gru": ["--cell was lstm, now gru"],
    "train story.txt --out hurt --resume": ["hurt", "tensors.safetensors is damaged", "--force"],
    "train story.txt --out linked --resume": ["checkpoints is a link", "another folder"],
    "train good.txt --config deep.toml": ["deep.toml is not TOML"],
    "train good.txt --config long.toml": ["long.toml is not TOML", "4300 digits"],
    "train good.txt --config typo.toml": ["typo.toml", "'hiden_size'", "did you mean hidden_size?"],
    "train good.txt --config type.toml": ["--hidden-size", "big"],
}


def test_bad_input_gets_a_sentence(bad: Path) -> None:
    ended = Cli(bad).each([line.split(" ") for line in CASES], code=2)
    for done, (line, words) in zip(ended, CASES.items(), strict=True):
        assert [word for word in words if word not in done.sentence] == [], line
        assert done.out == "", line
    assert not (bad / "runs").exists()


LONG = "a line of text, and one more\n" * 500
GIVEN_A_TEXT = (
    *("train", "train good.txt --out", "train good.txt --config", "train good.txt --valid"),
    *("train good.txt --init-from", "train good.txt --cell", "train good.txt --steps"),
    *("train good.txt --encoding", "train good.txt --device", "prepare good.txt --out"),
    *("corpora stats", "corpora path", "eval -m", "eval -m model", "score -m model"),
    *("sample -m", "sample -m model --prompt-file", "sample -m model --load-state"),
    *("sample -m model --save-state", "sample -m model --logit-bias", "beam -m", "greedy -m"),
    *("sample -m model --regex (", "sample -m model --allow ]", "inspect cells -m model"),
    *("inspect cells -m", "inspect cells -m model --unit", "inspect memory -m model"),
    *("inspect gradients -m model --plot", "plot", "plot --plot", "info", "compress good.txt"),
    *("compress good.txt x -m", "decompress model", "cells --cell", ""),
)


def test_a_text_in_the_place_of_a_name_or_a_value_is_not_echoed(bad: Path) -> None:
    lines = []
    for line in GIVEN_A_TEXT:
        *words, last = line.split(" ")
        given = [last, LONG] if len(last) > 1 else [f"{last}{LONG}"]  # "(" makes the value invalid
        lines.append([*filter(None, words), *filter(None, given)])
    for line, done in zip(GIVEN_A_TEXT, Cli(bad).each(lines, code=2), strict=True):
        assert done.out == "", line
        assert len(done.err) < 1200, line  # a box with the usage included
        assert done.err.count("a line of text") < 8, line


# Odd but valid input: exit code 0, and these words on stdout or stderr.
TAKEN = {
    f"{SAMPLE} --prompt=": [],
    f"{SAMPLE} --length 0 --prompt the": ["the"],
    f"{SAMPLE} --top-k 99999": [],
    f"{SAMPLE} --temperature 1e-6": [],
    f"{SAMPLE} --temperature 0": [],
    f"{SAMPLE} --top-k 2 --top-p 1e-9 --min-p 1": [],
    "beam -m model --length 3 --width 300": [],
    "info model": ["tokens"],
}


def test_a_separator_that_only_counts_documents_is_said(bad: Path) -> None:
    line = ("train", "good.txt", "--dry-run", "--steps", 1, "--document-separator", r"\n")
    assert "--document-separator only counts documents here: add" in Cli(bad)(*line).err
    assert "only counts documents" not in Cli(bad)(*line, "--reset-at-documents").err
    assert "only counts documents" not in Cli(bad)(*line, "--split", "hash").err


def test_odd_but_valid_input_is_accepted(bad: Path) -> None:
    ended = Cli(bad).each(line.split(" ") for line in TAKEN)
    for done, (line, words) in zip(ended, TAKEN.items(), strict=True):
        assert done.out.strip(), line
        assert [word for word in words if word not in done.out + done.err] == [], line


def test_a_tiny_temperature_is_greedy(bad: Path) -> None:
    asked = ("-m", "model", "-n", 60)
    tiny = Cli(bad)("sample", *asked, "--temperature", 1e-6).out
    assert tiny == Cli(bad)("greedy", *asked).out


@pytest.mark.parametrize("words", [("info", "model"), ("sample", "-m", "model", "-n", 40)])
def test_a_limited_terminal_gets_plain_text(words: tuple[object, ...], bad: Path) -> None:
    poor = {"TERM": "dumb", "COLUMNS": "20", "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = Cli(bad)(*words, env=poor)
    assert done.out.strip()
    assert "\x1b" not in done.out + done.err


def changed(folder: Path, **modules: str) -> dict[str, str]:
    """Return an environment in which these modules hide others of the same names.

    Python imports ``sitecustomize`` by itself before our code.
    """
    (folder / "modules").mkdir(exist_ok=True)
    for name, text in modules.items():
        (folder / "modules" / f"{name}.py").write_text(text)
    return modules_in(folder / "modules")


@pytest.mark.parametrize("words", [("train", "text.zst"), ("eval", "text.zst", "-m", "model")])
def test_a_zstandard_text_without_the_package_names_the_extra(
    words: tuple[object, ...], bad: Path, tmp_path: Path
) -> None:
    (bad / "text.zst").write_bytes(b"\x28\xb5\x2f\xfd\x20\x02\x11\0\0hi")
    absent = changed(tmp_path, zstandard="raise ImportError")
    done = Cli(bad)(*words, code=2, env=absent)
    assert "text.zst needs zstandard" in done.sentence
    assert "run pip install '.[zstd]' in a clone of charrnn" in done.sentence
    assert done.out == ""


def test_bfloat16_on_a_cpu_without_it_is_refused(bad: Path, tmp_path: Path) -> None:
    without = changed(
        tmp_path,
        sitecustomize="from charrnn.compiler import processor\n"
        "processor.FEATURES = {}\n"
        "processor._tiles_allowed = lambda: False\n",
    )
    asked = ("train", "good.txt", "--steps", 1, "--out", "halved")
    done = Cli(bad)(*asked, "--precision", "bfloat16", code=2, env=without)
    assert "--precision bfloat16 needs a CPU that multiplies it itself" in done.sentence
    assert "use auto" in done.sentence
    assert done.out == ""
    assert not (bad / "halved").exists()
    assert "products in float32" in Cli(bad)(*asked, "--dry-run", env=without).err


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no file that nobody can read")
@pytest.mark.parametrize("words", ["train {}", "prepare {} --out made", "eval {} -m model"])
def test_a_file_that_cannot_be_read(words: str, bad: Path) -> None:
    """Even root cannot read address zero of a process."""
    done = Cli(bad)(*words.format("/proc/self/mem").split(), code=2)
    assert "/proc/self/mem cannot be read: " in done.sentence
    assert done.out == ""
    assert not (bad / "made").exists()


@pytest.mark.parametrize(
    "words", ["train secret.txt", "train good.txt --valid secret.txt", "sample -m secret.txt"]
)
def test_a_file_without_permission(words: str, bad: Path, tmp_path: Path) -> None:
    """Let opening fail, because root, who may run the tests, can open every file."""
    (bad / "secret.txt").write_text("nobody's business\n" * 100)
    refused = changed(
        tmp_path,
        sitecustomize="import builtins, io, os, sys\n"
        "def hook(event, args):\n"
        "    if event == 'open' and str(args[0]).endswith('secret.txt'):\n"
        "        raise PermissionError(13, os.strerror(13), args[0])\n"
        "sys.addaudithook(hook)\n",
    )
    done = Cli(bad)(*words.split(), code=2, env=refused)
    assert "secret.txt cannot be read: Permission denied" in done.sentence
    assert done.out == ""
    (bad / "secret.txt").unlink()


@needs_terminal
def test_reading_from_a_terminal_is_announced(tmp_path: Path) -> None:
    hint = "reading the text from the terminal: Ctrl-D ends it"
    shown = on_terminal(tmp_path, "train", "-", stop_at=hint)
    assert shown.code == 130
    assert list(tmp_path.iterdir()) == []


def test_fifty_thousand_characters_are_learned_and_their_cost_is_reported(cli: Cli) -> None:
    symbols = [*range(0x4E00, 0xA000), *range(0x20000, 0x20000 + 29_008)]
    (cli.folder / "cjk.txt").write_text("".join(map(chr, symbols)), "utf-8")
    words = (
        "--num-layers",
        1,
        "--hidden-size",
        2,
        "--embedding-size",
        2,
        "--batch-size",
        1,
        "--seq-len",
        2,
    )
    asked = ("train", "cjk.txt", "--min-count", 1, "--valid-fraction", 0, "--steps", 1)
    done = cli(*asked, *words, *BY_LIBRARY, "--json")
    assert "cjk: vocabulary of 50,000 tokens" in done.err
    assert "the output layer has 150,000 parameters" in done.err
    several = cli(*asked, *words, "--ensemble", 2, "--dry-run")  # of one unit each
    assert "the output layer has 200,000 parameters" in several.err
    assert "--min-count 100 or --tokenizer sentencepiece" in done.err
    assert "tokens     50000: " in cli("info", done.json["model"]).out
    written = cli("sample", "-m", done.json["model"], "-n", 20, "--prompt", chr(symbols[-1])).out
    assert len(written.rstrip("\n")) in (20, 21)


@pytest.mark.skipif(sys.platform == "win32", reason="no such folders")
@pytest.mark.parametrize("place", ["/proc/run", "/dev/null/run"])
def test_a_folder_that_cannot_be_written_is_reported(place: str, bad: Path) -> None:
    done = Cli(bad)("train", "good.txt", "--steps", 1, "--out", place, code=1)
    assert f"{place} cannot be written" in done.sentence
    asked = ("prepare", "good.txt", "--out", place)
    assert f"{place} could not be written" in Cli(bad)(*asked, code=1).sentence


# Errors that the parser reports, in a box.
USAGE = {
    "train good.txt --hiden-size 5": ["--hiden-size", "--hidden-size"],
    "sample -m model --temperature abc": ["--temperature", "number"],
    "smaple": ["smaple", "sample"],
    "train": ["name a text", "charrnn train FILE", "--config RUN"],
}


def test_wrong_use_is_explained(bad: Path) -> None:
    ended = Cli(bad).each([line.split(" ") for line in USAGE], code=2)
    for done, (line, words) in zip(ended, USAGE.items(), strict=True):
        assert [word for word in words if word not in done.err] == [], line
        assert done.out == "", line


def test_an_empty_name_is_not_the_working_folder(cli: Cli) -> None:
    """A shell passes an empty name for an unset variable."""
    (cli.folder / "private.txt").write_text("not meant to be learned\n" * 100)
    done = cli("train", "", "--steps", 1, code=2)
    assert done.sentence
    assert not (cli.folder / "runs").exists()


def test_the_error_says_where_a_file_was_searched(bad: Path) -> None:
    assert str(bad) in Cli(bad)("train", "nothere.txt", code=2).sentence
    assert str(bad / "runs") in Cli(bad)("sample", code=2).sentence


def test_many_unknown_characters_are_counted_not_listed(bad: Path) -> None:
    prompt = "".join(map(chr, range(0x4E00, 0x4F00)))
    sentence = Cli(bad)(
        "sample", "-m", "model", "--unknown", "error", "-p", prompt, code=2
    ).sentence
    assert "(U+4E00)" in sentence
    assert "and 248 more" in sentence


def test_a_file_name_cannot_control_the_terminal(bad: Path) -> None:
    err = Cli(bad)("train", "\x1b]0;owned\x07[bold]", code=2).err
    assert "␛]0;owned␇[bold] does not exist" in err
    assert "\x1b" not in err


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of memory")
def test_running_out_of_memory_fails_with_a_sentence(bad: Path) -> None:
    huge = "--hidden-size 32768 --steps 1 --out huge"
    done = Cli(bad).shell(f"ulimit -v 10000000; charrnn train good.txt {huge}")
    assert done.code == 1
    assert "out of memory" in done.sentence


def test_divergence_is_reported_with_advice(bad: Path) -> None:
    """This decay multiplies every weight by -10,000 at each step."""
    wild = ("--learning-rate", 1000, "--weight-decay", 10, "--steps", 100)
    done = Cli(bad)(
        "train",
        "good.txt",
        *wild,
        "--out",
        "wild",
        "--cell",
        "lstm",
        "--backend",
        "library",
        code=1,
    )
    assert "diverged at step" in done.sentence
    assert "--learning-rate" in done.sentence
