from __future__ import annotations

import contextlib
import hashlib
import runpy
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import CorpusError
from charrnn.text.named import registry
from charrnn.text.named.registry import Entry
from cli.conftest import Cli

REGISTRY = registry.entries()
CARRIED = [entry for entry in REGISTRY.values() if entry.file]
TEXT = b"a text that is known by its hash\n"
KNOWN = Entry(
    name="known",
    title="Known",
    description="A text.",
    licence="none",
    bytes=len(TEXT),
    sha256=hashlib.sha256(TEXT).hexdigest(),
    url="https://example.org/known.txt",
)


def test_list_shows_every_corpus_with_size_licence_and_source(cli: Cli) -> None:
    out = cli("corpora", "list").out
    for entry in REGISTRY.values():
        size = f"{entry.bytes:,} bytes" if entry.bytes else "size unknown"
        size = size if entry.sha256 or not entry.bytes else f"up to {size}"
        assert f"{entry.name}: {entry.title}, {size}, {entry.licence}\n" in out
        assert entry.source in out


def test_list_in_json_has_the_same_names(cli: Cli) -> None:
    listed = cli("corpora", "list", "--json").json["corpora"]
    assert [entry["name"] for entry in listed] == list(REGISTRY)
    assert {entry["name"]: entry["sha256"] for entry in listed} == {
        entry.name: entry.sha256 for entry in REGISTRY.values()
    }


def test_path_prints_a_file_that_can_be_read(cli: Cli) -> None:
    (path,) = cli("corpora", "path", "hello").out.splitlines()
    assert Path(path).read_text("utf-8").startswith("hellohello")


def test_path_of_an_unknown_name_suggests_the_nearest(cli: Cli) -> None:
    done = cli("corpora", "path", "helo", code=2)
    assert "'helo'" in done.sentence
    assert "did you mean hello?" in done.sentence


def test_path_of_a_missing_corpus_names_its_source(cli: Cli) -> None:
    done = cli("corpora", "path", "names", code=2)
    assert REGISTRY["names"].url in done.sentence
    assert "CHARRNN_CORPORA" in done.sentence
    assert done.out == ""


def test_training_on_a_missing_corpus_names_its_source(cli: Cli) -> None:
    assert REGISTRY["names"].url in cli("train", "names", code=2).sentence


@pytest.mark.parametrize("entry", REGISTRY.values(), ids=REGISTRY)
def test_registry_entries_are_complete(entry: Entry) -> None:
    assert entry.title
    assert entry.licence
    assert entry.description.endswith(".")
    assert sum(source is not None for source in (entry.file, entry.url, entry.machine)) == 1
    assert entry.unpack in ("none", "gzip", "zip", "tar.gz", "tar.xz")
    if entry.url:
        assert entry.url.startswith("https://")
        assert entry.sha256 or entry.archive_sha256
        assert entry.bytes
        assert entry.archive_bytes or entry.unpack == "none"
    for digits in (entry.sha256, entry.archive_sha256):
        assert digits is None or len(bytes.fromhex(digits)) == 32
    assert bool(entry.select) == entry.unpack.startswith("tar")


LINES = 'title = "a"\ndescription = "b"\nlicence = "c"\n'


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("[[", "not a registry"),
        ("[a", "not a registry"),
        ("a = 3", "not a registry"),
        ("[a]\nfile = 'a'", "missing"),
        (f"[a]\n{LINES}color = 3", "color"),
        (f"[a]\n{LINES}", "the source of 'a' is invalid"),
        (f"[a]\n{LINES}file = '../a'", "the file of 'a' is invalid"),
        (f"['../a']\n{LINES}file = 'a'", "the name of '../a' is invalid"),
        (f"[a]\n{LINES}url = 3", "the text of 'a' is invalid"),
        (f"[a]\n{LINES}url = 'https://a'\nbytes = -1", "the size of 'a' is invalid"),
        (f"[a]\n{LINES}url = 'https://a'\nsha256 = '../../b'", "the hash of 'a' is invalid"),
        (f"[a]\n{LINES}url = 'https://a'\nunpack = 'rar'", "the unpack of 'a' is invalid"),
        (f"[a]\n{LINES}url = 'https://a'\nselect = [3]", "the select of 'a' is invalid"),
        (f"[a]\n{LINES}url = 'https://a'\nselect = 'x'", "the select of 'a' is invalid"),
        (f"[a]\n{LINES}machine = 'moon'", "the machine of 'a' is invalid"),
        (f"[a]\n{LINES}file = 'a'\nmachine = 'c-headers'", "the source of 'a' is invalid"),
    ],
)
def test_an_invalid_registry_is_refused(toml: str, words: str) -> None:
    with pytest.raises(CorpusError, match="it is damaged") as caught:
        registry.parse(toml.encode(), "it")
    assert words in str(caught.value)


@given(st.data())
def test_a_random_registry_is_read_or_refused(data: st.DataObject) -> None:
    text = (registry.folder() / "registry.toml").read_bytes()
    at, length = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 30))
    put = data.draw(st.binary(max_size=9) | st.sampled_from([b"[", b'"', b"= -1", b"\n"]))
    with contextlib.suppress(CorpusError):
        registry.parse(text[:at] + put + text[at + length :], "it")


@pytest.mark.parametrize("entry", CARRIED, ids=lambda entry: entry.name)
def test_included_texts_match_the_registry(entry: Entry) -> None:
    (path,) = registry.paths(entry)
    data = path.read_bytes()
    assert len(data) == entry.bytes
    assert hashlib.sha256(data).hexdigest() == entry.sha256
    assert b"\r" not in data
    assert data.isascii()


def test_hello_repeats_one_word() -> None:
    assert registry.paths(REGISTRY["hello"])[0].read_text() == "hello" * 2000


def test_the_tunes_match_their_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tunes = registry.paths(REGISTRY["tunes"])[0]
    written = tmp_path / "tunes.abc"
    arguments = ["make_tunes.py", "--tunes", "30", "--output", str(written)]
    monkeypatch.setattr(sys, "argv", arguments)
    runpy.run_path(str(tunes.with_name("make_tunes.py")), run_name="__main__")
    assert tunes.read_bytes().startswith(written.read_bytes())
    assert written.read_text().count("X:") == 30


def test_all_tunes_are_different() -> None:
    tunes = registry.paths(REGISTRY["tunes"])[0].read_text().split("\n\n")
    titles = {tune.splitlines()[1] for tune in tunes}
    music = {tune.partition("\nK:")[2] for tune in tunes}
    assert len(tunes) == len(titles) == len(music) == 1800


def test_a_local_copy_is_found_by_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARRNN_CORPORA", str(tmp_path))
    (tmp_path / "a.txt").write_bytes(TEXT.upper())
    with pytest.raises(CorpusError, match="not on this machine"):
        registry.paths(KNOWN)
    (tmp_path / "any name.txt").write_bytes(TEXT)
    assert registry.paths(KNOWN) == [tmp_path / "any name.txt"]


def test_a_missing_folder_of_copies_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARRNN_CORPORA", "no such folder")
    with pytest.raises(CorpusError, match="not on this machine"):
        registry.paths(KNOWN)


def test_the_standard_library_is_python_source_in_utf8() -> None:
    paths = registry.paths(REGISTRY["python-stdlib"])
    assert "argparse.py" in {path.name for path in paths}
    assert {path.suffix for path in paths} == {".py"}
    assert "site-packages" not in {part for path in paths for part in path.parts}
    assert paths == sorted(paths)


def test_headers_are_the_utf8_files_of_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "C_HEADERS", str(tmp_path))
    with pytest.raises(CorpusError, match="c-headers"):
        registry.paths(REGISTRY["c-headers"])
    (tmp_path / "sys").mkdir()
    for name, data in {"sys/z.h": b"int z;", "a.h": b"int a;", "old.h": b"caf\xe9"}.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "a.c").write_bytes(b"int main;")
    found = registry.paths(REGISTRY["c-headers"])
    assert found == [tmp_path / "a.h", tmp_path / "sys" / "z.h"]


def test_an_unknown_name_without_a_near_match_lists_all() -> None:
    with pytest.raises(CorpusError, match="choose from hello, harbour"):
        registry.find("qqqq")


def test_stats_of_a_text(cli: Cli) -> None:
    (cli.folder / "a.txt").write_bytes("café\r\nÃ© \x1b[31m\n".encode() * 50)
    done = cli("corpora", "stats", "a.txt")
    assert done.out.startswith("a: 750 characters, 900 bytes, 100 lines")
    assert "U+001B   ␛  ESCAPE" in done.out
    assert "lines end in different ways: 50 LF, 50 CR LF" in done.out
    assert "'Ã©' for 'é' (U+00E9)" in done.out
    assert "\x1b" not in done.out
    assert "would\n  train for" in done.out
    assert "CR LF" not in done.err  # nothing is said twice


def test_stats_in_json(cli: Cli) -> None:
    found = cli("corpora", "stats", "harbour", "--json").json
    assert found["name"] == "harbour"
    assert found["characters"] == found["bytes"] == REGISTRY["harbour"].bytes
    assert sum(row["count"] for row in found["symbols"]) == found["characters"]
    assert {"newlines", "signs", "repetition"} <= found.keys()
    assert len(found["counting"]["nats"]) == len(found["counting"]["bpc"]) == 6
    assert found["largest_plan"]["model"]["vocab_size"] == len(found["symbols"])


def test_stats_of_one_character_from_standard_input(cli: Cli) -> None:
    done = cli("corpora", "stats", "-", "--symbols", 0, stdin=b"a")
    assert "1 different character, 1 of them fewer than 10 times" in done.out
    assert "refuse this text" in done.out
    assert cli("corpora", "stats", "-", "--json", stdin=b"a").json["largest_plan"] is None


def test_stats_of_empty_and_undecodable_input(cli: Cli) -> None:
    assert "empty" in cli("corpora", "stats", "-", code=2).sentence
    (cli.folder / "latin.txt").write_bytes(b"caf\xe9")
    assert "not UTF-8" in cli("corpora", "stats", "latin.txt", code=2).sentence


ODD = {
    "CR": ("The dog sleeps.\r" * 400, "400 lines end in CR alone (--newline lf"),
    "U+2028": ("The dog sleeps.\u2028" * 400, "400 lines end in U+2028 (--newline lf"),
    "mixed": ("one\r\n" * 100 + "one\n" * 100, "different ways: 100 LF, 100 CR LF"),
    "mojibake": ("CafÃ© Ã\u00a0 la carte.\n" * 200, "400 places look like UTF-8 read as another"),
    "page breaks": ("a page of text\n\f" * 200, "200 form feeds, which are page breaks"),
    "accents": ("cafe\u0301 au lait\n" * 200, "200 accents apart from their letters"),
    "giant line": ("word " * 30_000, "has 150,000 characters"),
    "markup": (r"{\rtf1\ansi caf\'e9\par" + "\n}" * 200, "is RTF, and the markup would be learned"),
}


@pytest.mark.parametrize(("text", "words"), ODD.values(), ids=ODD)
def test_train_says_what_stats_says(text: str, words: str, cli: Cli) -> None:
    (cli.folder / "odd.txt").write_bytes(text.encode())
    stats = cli("corpora", "stats", "odd.txt", "--json").json
    assert any(words in sign["text"] for sign in stats["signs"])
    # prepare reads and tells as train does, without a network
    assert words in cli("prepare", "odd.txt", "--out", "data").err


def test_lines_end_in_cr_alone_for_every_command(cli: Cli) -> None:
    (cli.folder / "cr.txt").write_bytes(b"The dog sleeps.\r" * 400)
    shown = cli("corpora", "stats", "cr.txt").out
    assert shown.startswith("cr: 6,400 characters, 6,400 bytes, 400 lines, the longest of 15")
    made = cli("corpora", "stats", "cr.txt", "--newline", "lf", "--json").json
    assert made["newlines"] == {"lf": 400, "crlf": 0, "cr": 0, "nel": 0, "ls": 0, "ps": 0}
    done = cli("train", "cr.txt", "--newline", "lf", "--dry-run", "--steps", 5)
    assert "cr.txt: line ends were converted to LF: 400 CR alone" in done.err


def test_stats_describe_pairs(cli: Cli) -> None:
    lines = ["one\t1", "two\t2", "two\tii", "three\t1", "two\t2"]
    (cli.folder / "p.tsv").write_text("\n".join(lines))
    found = cli("corpora", "stats", "p.tsv", "--pairs", "--json").json
    assert (found["pairs"], found["sources"], found["targets"]) == (5, 3, 3)
    assert (found["repeated"], found["several"]) == (1, 1)
    assert found["most"] == ["two", ["2", "ii"]]
    assert found["frequent_targets"] == {"1": 2, "2": 2, "ii": 1}
    assert found["source_lengths"] == {"shortest": 3, "median": 3.0, "mean": 3.4, "longest": 5}
    assert found["target_lengths"] == {"shortest": 1, "median": 1.0, "mean": 1.2, "longest": 2}
    assert "\t" not in found["symbols"]
    out = cli("corpora", "stats", "p.tsv", "--pairs", "--symbols", "1").out
    assert out.startswith("p: 5 pairs of 3 different sources and 3 different targets\n")
    assert "most: two has 2: 2, ii" in out
    assert "and 2 more" in out
