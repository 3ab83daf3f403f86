from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from charrnn.cli.app import program
from charrnn.text import sources
from cli.conftest import TINY, Cli, Run, modules_in, needs_terminal, on_terminal, story


@pytest.fixture(scope="module")
def text(tiny: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the beginning of the model's text: to code all of it takes half a second."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(tiny.text.read_text("utf-8")[:2500], "utf-8", newline="")
    return path


@pytest.fixture(scope="module")
def archive(tiny: Run, text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    Cli(folder)("compress", "-m", tiny.folder, text, "text.crnn")
    return folder / "text.crnn"


def test_a_text_comes_back_byte_for_byte(tiny: Run, text: Path, cli: Cli, archive: Path) -> None:
    cli("decompress", "-m", tiny.folder, archive, "text.txt")
    assert (cli.folder / "text.txt").read_bytes() == text.read_bytes()


def test_the_size_matches_the_score(tiny: Run, text: Path, cli: Cli) -> None:
    told = cli("compress", "-m", tiny.folder, text, "a", "--json").json
    scored = cli("score", "-m", tiny.folder, text, "--by", "document", "--json").json
    size = (cli.folder / "a").stat().st_size
    promised = scored["bits_per_byte"] * scored["bytes"] / 8
    (cli.folder / "nothing.txt").touch()
    cli("compress", "-m", tiny.folder, "nothing.txt", "header")
    coded = size - (cli.folder / "header").stat().st_size
    assert promised < coded < 1.005 * promised + 4  # in words of four bytes
    assert told == {
        "bytes": scored["bytes"],
        "compressed_bytes": size,
        "symbols": scored["characters"],
        "literal_bytes": 0,
        "bits_per_byte": 8 * size / scored["bytes"],
    }


def test_size_and_unknown_bytes_are_reported(tiny: Run, text: Path, cli: Cli) -> None:
    (cli.folder / "odd.txt").write_bytes(text.read_bytes().replace(b"\n", b"\r\n"))
    done = cli("compress", "-m", tiny.folder, "odd.txt", "odd.crnn")
    assert done.out == ""
    read, size = ((cli.folder / name).stat().st_size for name in ("odd.txt", "odd.crnn"))
    assert f"{read:,} bytes in {size:,}, {size / read:.2%}\n" in done.err
    ends = text.read_bytes().count(b"\n")
    assert f"{ends} bytes are not in the model's alphabet" in done.err


def test_bytes_on_which_the_model_does_not_help_are_said_to_be(tiny: Run, cli: Cli) -> None:
    (cli.folder / "known.txt").write_text("the sea" * 300)
    (cli.folder / "other.txt").write_text("xyz" * 300)
    for name in ("known.txt", "other.txt"):
        done = cli(
            "compress",
            "-m",
            tiny.folder,
            name,
            "out.crnn",
            "--force" if name[0] == "o" else "--threads=1",
        )
        assert "the model does not help with these bytes: they are packed without it" in done.err
        assert "alphabet" not in done.err


def test_a_small_archive_of_a_huge_file_needs_leave(
    tiny: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, where a million bytes are as many as 100 million are elsewhere."""
    monkeypatch.setattr(sources, "MIN_UNPACKED", 10**6)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zeros").write_bytes(bytes(1_010_000))

    def run(*words: object) -> Result:
        line = [*map(str, words), "-m", str(tiny.folder)]
        return CliRunner().invoke(program(line[0]), line)

    done = run("compress", "zeros", "zeros.crnn")
    assert done.exit_code == 0
    assert "'charrnn decompress IN OUT --max-unpacked 1010000'" in done.stderr
    refused = run("decompress", "zeros.crnn", "out")
    assert refused.exit_code == 2
    said = "says that it unpacks to 1,010,000: if that is right, raise --max-unpacked"
    assert said in refused.stderr
    assert run("decompress", "zeros.crnn", "out", "--max-unpacked", 1_010_000).exit_code == 0
    assert (tmp_path / "out").stat().st_size == 1_010_000


def test_pipes(tiny: Run, text: Path, cli: Cli) -> None:
    line = 'charrnn compress -m "$1" - - < "$2" | charrnn decompress -m "$1" - - | cmp - "$2"'
    done = cli.shell(line, tiny.folder, text)
    assert done.code == 0, done.err


def test_two_runs_give_the_same_archive(tiny: Run, text: Path, cli: Cli, archive: Path) -> None:
    cli("compress", "-m", tiny.folder, text, "again", "--threads", 2)
    assert (cli.folder / "again").read_bytes() == archive.read_bytes()


@pytest.mark.parametrize("command", ["compress", "decompress"])
def test_existing_files_are_not_overwritten(
    command: str, tiny: Run, cli: Cli, archive: Path
) -> None:
    (cli.folder / "out").write_text("precious")
    words = (command, "-m", tiny.folder, archive, "out")
    assert "out exists" in cli(*words, code=2).sentence
    assert (cli.folder / "out").read_text() == "precious"
    cli(*words, "--force")
    assert (cli.folder / "out").read_bytes() != b"precious"


def test_damaged_archives_are_refused(tiny: Run, cli: Cli, archive: Path) -> None:
    def refused(data: bytes) -> str:
        (cli.folder / "bad").write_bytes(data)
        sentence = cli("decompress", "-m", tiny.folder, "bad", "out", code=2).sentence
        assert sentence.startswith("charrnn: bad: it ")
        assert not (cli.folder / "out").exists()
        return sentence

    data = archive.read_bytes()
    assert "its checksum does not match" in refused(data[:-9] + b"?" + data[-8:])
    assert "its checksum does not match" in refused(data[:200])
    assert "not an archive" in refused(tiny.text.read_bytes())
    assert "not an archive" in refused(b"")


def test_the_archive_of_another_model_is_refused(tiny: Run, cli: Cli, archive: Path) -> None:
    cli("train", tiny.text, "--steps", 1, "--hidden-size", 8, "--out", "other")
    sentence = cli("decompress", "-m", "other", archive, "out", code=2).sentence
    assert "made with another model" in sentence


def test_invalid_paths_are_refused(tiny: Run, cli: Cli) -> None:
    model = ("-m", tiny.folder)
    assert "missing.txt" in cli("compress", *model, "missing.txt", "out", code=2).sentence
    assert "is not a folder" in cli("compress", *model, tiny.text, "none/out", code=2).sentence
    assert "--json" in cli("compress", *model, tiny.text, "-", "--json", code=2).sentence


def test_a_missing_package_names_the_extra(tiny: Run, cli: Cli) -> None:
    (cli.folder / "constriction.py").write_text("raise ImportError")
    words = ("compress", "-m", tiny.folder, tiny.text, "out")
    done = cli(*words, code=2, env=modules_in(cli.folder))
    assert "run pip install '.[compress]' in a clone of charrnn" in done.sentence


@needs_terminal
def test_binary_output_to_a_terminal_is_refused(tiny: Run, tmp_path: Path) -> None:
    done = on_terminal(tmp_path, "compress", "-m", tiny.folder, tiny.text, "-")
    assert done.code == 2
    assert "name a file, or pipe the output" in done.screen


@needs_terminal
def test_ctrl_c_leaves_no_partial_file(tiny: Run, tmp_path: Path) -> None:
    long = tmp_path / "long.txt"
    long.write_bytes(tiny.text.read_bytes() * 100)
    done = on_terminal(tmp_path, "compress", "-m", tiny.folder, long, "out", stop_at="compressing")
    assert done.code == 130
    assert [path.name for path in tmp_path.iterdir()] == ["long.txt"]


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Return a model, a text and its archive by that model, which learns while it reads."""
    folder = tmp_path_factory.mktemp("learnt")
    text = folder / "text.txt"
    text.write_text(story(2200) + "so sad a shore\n" * 20, "utf-8", newline="")
    (folder / "story.txt").write_text(story(2400), "utf-8", newline="")
    Cli(folder)("train", "story.txt", *TINY, "--out", "run")
    Cli(folder)("compress", "-m", "run", text, "d.crnn", "--dynamic")
    return folder / "run", text, folder / "d.crnn"


def test_a_model_that_learns_while_reading_packs_better(
    cli: Cli, learnt: tuple[Path, Path, Path]
) -> None:
    model, text, packed = learnt
    plain = cli("compress", "-m", model, text, "plain.crnn", "--json").json
    promised = cli("eval", "-m", model, text, "--dynamic", "--json").json
    assert packed.stat().st_size < plain["compressed_bytes"]
    size = promised["bits_per_byte"] * promised["bytes"] / 8
    assert size < packed.stat().st_size < 1.005 * size + 120
    cli("decompress", "-m", model, packed, "out.txt", "--threads", 2)
    assert (cli.folder / "out.txt").read_bytes() == text.read_bytes()


def test_the_training_text_can_be_counted_first(cli: Cli, learnt: tuple[Path, Path, Path]) -> None:
    model, text, without = learnt
    given = ("compress", "-m", model, text, "r.crnn")
    assert "--recall is for --dynamic" in cli(*given, "--recall", code=2).sentence
    packed = cli(*given, "--dynamic", "--recall", "--json").json["compressed_bytes"]
    assert packed == (cli.folder / "r.crnn").stat().st_size < 0.5 * without.stat().st_size
    cli("decompress", "-m", model, "r.crnn", "out.txt")
    assert (cli.folder / "out.txt").read_bytes() == text.read_bytes()
