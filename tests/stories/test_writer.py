"""A writer with a folder of mixed files: chapters from Word, old texts of Windows, notes, pictures.

The folder is what people really have; nothing in it was prepared for charrnn.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from cli.conftest import Cli, Done

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
RELS = """<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">
<Relationship Id="rId1" Target="word/document.xml"
 Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"/>
</Relationships>"""
SENTENCES = (
    "The ferry was late again, and Ruth counted the lamps on the quay.",
    "“You said nothing,” he answered, “so I thought you knew.”",
    "Nobody in the café looked up when the rain came in.",
    "She had written three letters, and burnt two of them.",
)


BLOG = """<html><head><title>Ruth</title><style>p { color: red }</style></head>
<body><p>Ruth&rsquo;s harbour is <b>real</b>, I was told.</p></body></html>
"""
DIARY = r"{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0 Times;}}\f0 Wrote at the caf\'e9 again.\par}"


def word_document(paragraphs: list[str]) -> bytes:
    """Return a .docx file, as Word writes it."""
    runs = "".join(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>" for text in paragraphs)
    document = f'<w:document xmlns:w="{W}"><w:body>{runs}</w:body></w:document>'
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("_rels/.rels", RELS)
        archive.writestr("word/document.xml", document)
        archive.writestr("word/media/image1.png", b"\x89PNG\r\n")
    return packed.getvalue()


@pytest.fixture
def novel(cli: Cli) -> Path:
    """Return the writer's folder."""
    folder = cli.folder / "novel"
    (folder / "old").mkdir(parents=True)
    for number in (1, 2, 10):
        chapter = word_document([f"CHAPTER {number}", *SENTENCES * 8])
        (folder / f"ch{number}.docx").write_bytes(chapter)
    (folder / "~$ch1.docx").write_bytes(b"\x04Ruth".ljust(162, b"\0"))  # Word has it open
    old = "It’s late, she said. The naïve señor went to the café…\n" * 30
    (folder / "old" / "draft.txt").write_bytes(old.encode("cp1252"))
    (folder / "blog.html").write_text(BLOG * 8, "utf-8")
    (folder / "diary.rtf").write_text(DIARY, "ascii")
    (folder / "notes.md").write_text("# Notes\n\nRuth – who is “Élise”?\n" * 20, "utf-8")
    (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (folder / "cover.jpg").write_bytes(b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(range(256)))
    return folder


SMALL = ("--steps", 30, "--hidden-size", 16, "--num-layers", 1, "--cell", "lstm")


def test_a_folder_of_a_writer_just_works(novel: Path, cli: Cli) -> None:
    # What does the folder hold?
    stats = cli("corpora", "stats", "novel")
    _check_what_is_said(stats)
    assert stats.out.startswith("novel: ")

    # Train on it. The command says what it read, what it left out, and what to expect.
    trained = cli("train", "novel", *SMALL, "--backend", "library")
    _check_what_is_said(trained)
    assert "expect words that do not exist, or copies of the text" in trained.err

    # The text is what the writer wrote, in order and without markup or wrong letters.
    cli("prepare", "novel", "--out", "data", "--valid-fraction", 0)
    text = _text_of(cli, "data")
    chapters = [text.index(f"CHAPTER {number}\n{SENTENCES[0]}\n") for number in (1, 2, 10)]
    assert chapters == sorted(chapters)
    assert text.endswith("It’s late, she said. The naïve señor went to the café…\n")
    assert "Ruth – who is “Élise”?" in text
    assert "Ruth’s harbour is real, I was told.\n" in text
    assert "Wrote at the café again.\n" in text
    assert not {"<", "{", "\\", "\0", "Ã", "\ufffd"} & set(text)

    # The newest model writes, also after quotation marks that people type.
    sampled = cli("sample", "--prompt", "“It was", "-n", 60, "--seed", 1)
    assert sampled.out.startswith("“It was")

    # Training goes on where it stopped, and the model is scored on the chapters held out.
    more = ("--steps", 40, "--resume")
    assert "resumed  at step 30" in cli("train", "novel", *more).err
    assert "bits per character" in cli("eval").out

    # What was made from the folder is no text of the folder.
    again = cli("corpora", "stats", ".")
    assert "novel-1 (made by charrnn)" in again.err
    assert "data (made by charrnn)" in again.err


def test_what_is_no_text_is_refused_when_it_is_named(novel: Path, cli: Cli) -> None:
    assert "cover.jpg is a picture" in cli("train", "novel/cover.jpg", code=2).sentence
    (novel / "letter.txt").write_bytes("Съешь же ещё этих булок.\n".encode("cp1251") * 9)
    sentence = cli("train", "novel", code=2).sentence
    assert "letter.txt is not UTF-8" in sentence
    assert 'cp1251 ("Съешь же ещё этих булок.")' in sentence
    done = cli("train", "novel", "--encoding", "cp1251", "--exclude", "draft.txt", "--dry-run")
    assert "notes.md is read as UTF-8, not as cp1251" in done.err


def _check_what_is_said(done: Done) -> None:
    said = done.err.splitlines()
    assert (
        "5 documents are read as text, a line for each paragraph: blog.html, ch1.docx, ch2.docx, "
        "ch10.docx and 1 more" in said
    )
    assert (
        "skipped 3 files that are not text: cover.jpg (a picture), .DS_Store (settings of macOS), "
        "~$ch1.docx (a lock file)" in said
    )
    assert (
        'draft.txt is not UTF-8 and is read as cp1252, such as "It’s late, she said. The naïve '
        'señor went to the café…" (if that is wrong, name the encoding with --encoding)' in said
    )


def _text_of(cli: Cli, name: str) -> str:
    from charrnn.text import dataset

    data = dataset.load(cli.folder / name)
    return data.tokenizer.decode(data.train)
