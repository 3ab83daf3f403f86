"""The text of documents, which are made here by hand as the programs write them."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from text_files import refused, write_file

from charrnn.config import Reading
from charrnn.errors import CorpusError
from charrnn.text import corpus, extract, sources

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
ODF = "urn:oasis:names:tc:opendocument:xmlns"


def zipped(members: dict[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in members.items():
            stored = zipfile.ZIP_STORED if name == "mimetype" else None
            archive.writestr(name, content, stored)
    return packed.getvalue()


def docx(body: str, name: str = "word/document.xml", prolog: str = "") -> bytes:
    rels = f'<r xmlns="x"><Relationship Type="{OFFICE}" Target="/{name}"/></r>'
    head = "xmlns:mc='http://schemas.openxmlformats.org/markup-compatibility/2006'"
    document = f"{prolog}<w:document {W} {head}><w:body>{body}</w:body></w:document>"
    return zipped({"[Content_Types].xml": "<a/>", "_rels/.rels": rels, name: document})


def odt(body: str, manifest: str = "<m/>") -> bytes:
    names = " ".join(f'xmlns:{each}="{ODF}:{each}:1.0"' for each in ("office", "text", "table"))
    content = f"<office:document-content {names}><office:body><office:text>{body}"
    content += "</office:text></office:body></office:document-content>"
    mimetype = "application/vnd.oasis.opendocument.text"
    members = {"mimetype": mimetype, "content.xml": content, "META-INF/manifest.xml": manifest}
    return zipped(dict(members))


def epub(**more: str) -> bytes:
    item = '<item id="{0}" href="{0}.xhtml" properties="{1}" media-type="a/b"/>'
    package = f"""<package xmlns="http://www.idpf.org/2007/opf"><manifest>
        {item.format("two", "")}{item.format("nav", "nav")}
        <item id="one" href="ch%201.xhtml" media-type="a/b"/></manifest><spine>
        <itemref idref="nav"/><itemref idref="one"/><itemref idref="two"/></spine></package>"""
    container = '<c xmlns="x"><rootfiles><rootfile full-path="OEBPS/p.opf"/></rootfiles></c>'
    page = '<?xml version="1.0"?><!DOCTYPE html><html xmlns="x"><head><title/></head><body>'
    return zipped(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": container,
            "OEBPS/p.opf": package,
            "OEBPS/nav.xhtml": f"{page}<p>Contents</p></body></html>",
            "OEBPS/ch 1.xhtml": f"{page}<a id='x'/><h1>One</h1><p>It&nbsp;was <i>la</i>te.</p>",
            "OEBPS/two.xhtml": f"{page}<h1>Two</h1><p>Caf&eacute;.</p></body></html>",
            **{name.replace("__", "/"): content for name, content in more.items()},
        }
    )


def text_of(folder: Path, content: bytes, name: str, reading: Reading | None = None) -> str:
    read = corpus.read([write_file(folder, content, name)], reading)
    assert read.text == read.text  # it can be read again
    return read.text


def run(text: str) -> str:
    return f'<w:r><w:rPr><w:b/></w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'


def paragraph(*runs: str) -> str:
    return f'<w:p><w:pPr><w:tabs><w:tab w:pos="1"/></w:tabs></w:pPr>{"".join(runs)}</w:p>'


def test_a_word_document_has_a_line_for_each_paragraph(tmp_path: Path) -> None:
    body = paragraph(run("It was "), run("late &amp; dark’s.")) + paragraph()
    body += paragraph("<w:r><w:t>one</w:t><w:tab/><w:t>two</w:t><w:br/><w:t>three</w:t></w:r>")
    assert text_of(tmp_path, docx(body), "a.docx") == "It was late & dark’s.\n\none\ttwo\nthree\n"
    assert text_of(tmp_path, docx(body, "word/document2.xml"), "b").startswith("It was late")
    notices = corpus.read([tmp_path]).notices
    assert notices == ("2 documents are read as text, a line for each paragraph: a.docx, b",)


def test_inserted_text_counts_and_deleted_text_does_not(tmp_path: Path) -> None:
    changes = f"<w:ins>{run('in')}</w:ins><w:del><w:r><w:delText>out</w:delText></w:r></w:del>"
    moved = f"<w:moveFrom>{run('from')}</w:moveFrom><w:moveTo>{run('to')}</w:moveTo>"
    link = f"<w:hyperlink>{run(' link')}</w:hyperlink><w:r><w:instrText>PAGE</w:instrText></w:r>"
    body = docx(paragraph(changes, moved, link))
    assert text_of(tmp_path, body, "a.docx") == "into link\n"


def test_rows_of_tables_are_lines_with_tabs(tmp_path: Path) -> None:
    cell = "<w:tc><w:tcPr/>{}</w:tc>".format
    two = cell(paragraph(run("b")) + paragraph(run("c")) + paragraph())
    table = f"<w:tbl><w:tr>{cell(paragraph(run('a')))}{two}</w:tr></w:tbl>"
    body = docx(table + paragraph(run("after")))
    assert text_of(tmp_path, body, "a.docx") == "a\tb c\nafter\n"


def test_a_text_box_is_read_once(tmp_path: Path) -> None:
    box = f"<w:txbxContent>{paragraph(run('box'))}</w:txbxContent>"
    both = f"<mc:AlternateContent><mc:Choice>{box}</mc:Choice><mc:Fallback>{box}</mc:Fallback>"
    body = docx(paragraph(run("a "), both + "</mc:AlternateContent>", run("b")))
    assert text_of(tmp_path, body, "a.docx") == "box\na b\n"


def test_an_open_document_has_a_line_for_each_paragraph(tmp_path: Path) -> None:
    body = "<text:tracked-changes><text:p>deleted</text:p></text:tracked-changes>"
    body += (
        "<text:h>Title</text:h><text:p>It  was<text:s text:c='2'/>\n <text:span>la</text:span>te"
    )
    body += (
        "<text:note><text:p>a note</text:p></text:note>.<text:line-break/>x<text:tab/>y</text:p>"
    )
    cell = "<table:table-cell><text:p>{}</text:p></table:table-cell>".format
    row = f"<table:table-row>{cell('a')}{cell('b')}</table:table-row>"
    body += f"<table:table>{row}</table:table><text:p/>"
    expected = "Title\nIt was   late.\nx\ty\na\tb\n\n"
    assert text_of(tmp_path, odt(body), "a.odt") == expected


def test_the_chapters_of_a_book_are_read_in_order(tmp_path: Path) -> None:
    assert text_of(tmp_path, epub(), "book.epub") == "One\nIt\xa0was late.\nTwo\nCafé.\n"


PAGE = """<!DOCTYPE html><html><head><title>T</title><style>p {}</style></head>
<body><script>var x;</script><h1>A  title</h1>
<p>It was <b>la</b>te,
she&nbsp;said.<br>Yes &amp; no.</p><ul><li>one<li>two</ul><pre>
  a
 b
</pre><table><tr><td>x</td><td>y</td></tr></table>last<!-- no --></body></html>
"""
READ = "A title\nIt was late, she\xa0said.\nYes & no.\none\ntwo\n  a\n b\nx\ty\nlast\n"


@pytest.mark.parametrize("name", ["a.html", "a.htm", "A.HTML", "a.xhtml"])
def test_a_page_is_read_as_a_browser_shows_it(tmp_path: Path, name: str) -> None:
    assert text_of(tmp_path, PAGE.encode(), name) == READ


@pytest.mark.parametrize("chunk", [1, 5, 64])
def test_a_page_may_be_cut_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(sources, "CHUNK", chunk)
    page = PAGE.replace("she", "shé")
    assert text_of(tmp_path, page.encode(), "a.html") == READ.replace("she", "shé")


def test_the_encoding_of_a_page_is_what_it_declares(tmp_path: Path) -> None:
    page = "<html><head><meta charset='{}'></head><body>Съешь “же”</body></html>"
    cyrillic = page.format("windows-1251").encode("cp1251")
    assert text_of(tmp_path, cyrillic, "a.html") == "Съешь “же”\n"
    western = "<meta charset='ISO-8859-1'><p>It’s déjà vu"  # as browsers understand it
    assert text_of(tmp_path, western.encode("cp1252"), "b.html") == "It’s déjà vu\n"
    silent = "<p>It’s déjà vu".encode("cp1252")
    assert text_of(tmp_path, silent, "c.html") == "It’s déjà vu\n"
    (_, notice) = corpus.read([tmp_path / "c.html"]).notices
    assert "c.html is not UTF-8 and is read as cp1252" in notice


@pytest.mark.parametrize("page", ["", " ", "<html></html>", "<!-- -->"])
def test_a_page_may_be_empty(tmp_path: Path, page: str) -> None:
    write_file(tmp_path, b"text", "b.txt")
    write_file(tmp_path, page.encode(), "a.html")
    assert corpus.read([tmp_path]).text == "text"


RTF = rb"""{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0 Helvetica;}}{\info{\title T}}
{\header A header\par}\f0\fs24 It\'92s \b la\b0 te, \u8222 ?she said.\par
\par A caf\'e9\tab and\line a line.\par}
"""


def test_rich_text_has_a_line_for_each_paragraph(tmp_path: Path) -> None:
    expected = "It’s late, „she said.\n\nA café\tand\na line.\n"
    assert text_of(tmp_path, RTF, "a.rtf") == expected
    russian = rb"{\rtf1\ansi\ansicpg1251 \'d1\'fa\'e5\'f8\'fc\par}"
    assert text_of(tmp_path, russian, "b.rtf") == "Съешь\n"
    assert text_of(tmp_path, b"plain text", "c.rtf") == "plain text"


def test_a_notebook_is_its_cells(tmp_path: Path) -> None:
    cells: list[dict[str, Any]] = [
        {"cell_type": "markdown", "source": ["# A title\n", "and text"]},
        {"cell_type": "code", "source": "x = 1\n", "outputs": [{"text": ["no"]}]},
        {"cell_type": "code", "source": []},
    ]
    notebook = json.dumps({"cells": cells, "nbformat": 4}).encode()
    assert text_of(tmp_path, notebook, "a.ipynb") == "# A title\nand text\n\nx = 1\n"
    old = json.dumps({"worksheets": [{"cells": [{"input": ["y = 2"]}]}]}).encode()
    assert text_of(tmp_path, old, "b.ipynb") == "y = 2\n"


def test_documents_in_a_folder_follow_each_other(tmp_path: Path) -> None:
    files = {"ch2.docx": docx(paragraph(run("two"))), "ch10.html": b"<p>ten", "ch1.txt": b"one\n"}
    for name, content in files.items():
        write_file(tmp_path, content, name)
    read = corpus.read([tmp_path])
    assert read.text == "one\ntwo\nten\n"
    assert read.document_lengths.tolist() == [4, 4, 4]
    assert [text for _, text in read.documents()] == [b"one\n", b"two\n", b"ten\n"]
    assert corpus.read(read.files).sha256 == read.sha256


def test_a_document_comes_through_a_pipe_and_packed(tmp_path: Path) -> None:
    import gzip

    source = sources.copied("standard input", io.BytesIO(docx(paragraph(run("piped")))))
    assert source.path
    assert corpus.read([source.path]).text == "piped\n"
    assert text_of(tmp_path, gzip.compress(PAGE.encode()), "a.html.gz") == READ
    assert text_of(tmp_path, gzip.compress(RTF), "a.rtf.gz").startswith("It’s late")


BOMB = "".join(f'<!ENTITY x{n + 1} "{f"&x{n};" * 10}">' for n in range(9))
BOMB = f'<!DOCTYPE d [<!ENTITY x0 "boom">{BOMB}]>'
FILE = '<!DOCTYPE d [<!ENTITY x9 SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize("prolog", [BOMB, FILE])
def test_entities_are_not_expanded(tmp_path: Path, prolog: str) -> None:
    content = docx(paragraph(run("a"), run("&x9;")), prolog=prolog)
    path = write_file(tmp_path, content, "a.docx")
    text = "a\n"
    with contextlib.suppress(CorpusError):  # the parser may call it an attack
        text = corpus.read([path]).text
    assert text == "a\n"


def test_a_document_that_unpacks_to_a_huge_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MIN_UNPACKED", 10**5)
    path = write_file(tmp_path, docx(paragraph(run("a" * 10**6))), "bomb.docx")
    assert "unpacks to more than" in refused(path)
    assert corpus.read([path], Reading(max_unpacked=2 * 10**6)).characters == 10**6 + 1


def test_small_parts_of_a_document_that_unpack_to_huge_trees_are_refused(tmp_path: Path) -> None:
    """Their trees would take many times the memory of the text."""
    parts = {"_rels/.rels": f"<r>{'<a/>' * 3_000_000}</r>", "word/document.xml": "<a/>"}
    packed = zipped(parts)
    assert len(packed) < 100_000
    assert "_rels/.rels has more than 8,388,608 bytes" in refused(
        write_file(tmp_path, packed, "tree.docx")
    )


def test_spaces_that_are_stated_as_numbers_are_counted(tmp_path: Path) -> None:
    many = "<text:s text:c='1000'/>" * 10_001
    message = refused(write_file(tmp_path, odt(f"<text:p>{many}</text:p>"), "spaces.odt"))
    assert "more than 10,000,000 spaces" in message


NAMES = ("/etc/hostname", "../../../etc/hostname", "word/../../etc/hostname", "C:\\hosts", "a\0b")


@pytest.mark.parametrize("name", NAMES)
def test_names_in_a_document_never_name_files_outside(name: str, tmp_path: Path) -> None:
    rels = f'<r xmlns="x"><Relationship Type="{OFFICE}" Target="{name}"/></r>'.replace("\0", "")
    text = docx(paragraph(run("inside")))
    parts: dict[str, str | bytes] = {name: "outside", "word/document.xml": text}
    message = refused(write_file(tmp_path, zipped(parts | {"_rels/.rels": rels}), "a.docx"))
    assert "cannot be extracted" in message


def lying(field: int, value: int) -> bytes:
    """Return a document whose directory states another number at `field` of each entry."""
    data = bytearray(docx(paragraph(run("text"))))
    at = data.find(b"PK\x01\x02")
    while at >= 0:
        data[at + field : at + field + 4] = value.to_bytes(4, "little")
        at = data.find(b"PK\x01\x02", at + 1)
    return bytes(data)


@pytest.mark.parametrize("value", [0, 1, 2**31, 2**32 - 2, 2**32 - 1])
@pytest.mark.parametrize("field", [16, 20, 24, 42], ids=["crc", "packed", "unpacked", "offset"])
def test_an_archive_that_lies_about_its_parts_gives_its_text_or_a_sentence(
    field: int, value: int, tmp_path: Path
) -> None:
    path = write_file(tmp_path, lying(field, value), "a.docx")
    if field in (20, 24) and value >= 2**31:  # sizes are not believed
        assert corpus.read([path]).text == "text\n"
    else:
        assert "a.docx" in refused(path)


def test_of_two_parts_with_one_name_the_last_counts(tmp_path: Path) -> None:
    packed = io.BytesIO(docx(paragraph(run("first"))))
    body = zipfile.ZipFile(io.BytesIO(docx(paragraph(run("last"))))).read("word/document.xml")
    with zipfile.ZipFile(packed, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("word/document.xml", body)
    assert text_of(tmp_path, packed.getvalue(), "a.docx") == "last\n"


DAMAGED = {
    "cut.docx": docx(paragraph(run("text")))[:-30],
    "markup.docx": docx("<w:p><w:r>"),
    "newer.docx": docx("").replace(b"PK\x01\x02\x14\x03\x14", b"PK\x01\x02\x14\x03\xff"),
    "empty.docx": zipped({"word/other.xml": ""}),
    "main.docx": zipped({"word/other.xml": "", "_rels/.rels": "<r/>"}),
    "rels.docx": zipped({"word/document.xml": "", "_rels/.rels": "<"}),
    "text.odt": zipped({"mimetype": "application/vnd.oasis.opendocument.text", "a": "b"}),
    "spine.epub": epub(**{"OEBPS__p.opf": "<a/>", "META-INF__container.xml": "<b/>"}),
    "chapter.epub": epub(**{"OEBPS__p.opf": "<a><spine><itemref idref='x'/></spine></a>"}),
    "lzma.docx": zipped({"word/document.xml": "text " * 99}, zipfile.ZIP_LZMA).replace(
        b"\x09\x04\x05\0", b"\x09\x04\x05\0\xff"
    ),
    "character.rtf": rb"{\rtf1 \u9999999999 ?}",
    "skip.rtf": rb"{\rtf1 \uc ?}",
    "list.ipynb": b"[1, 2]",
    "number.ipynb": b'{"cells": [{"source": 3}]}',
    "cut.ipynb": b'{"cells": [',
    "deep.ipynb": b"[" * 100_000,
}


@pytest.mark.parametrize(("name", "content"), DAMAGED.items(), ids=DAMAGED)
def test_a_damaged_document_is_refused_with_a_sentence(
    tmp_path: Path, name: str, content: bytes
) -> None:
    message = refused(write_file(tmp_path, content, name))
    assert name in message
    assert any(words in message for words in ("cannot be extracted", "archive", "0 characters"))


def test_encrypted_documents_are_refused(tmp_path: Path) -> None:
    manifest = "<m><file-entry><encryption-data/></file-entry></m>"
    locked = write_file(tmp_path, odt("x", manifest), "a.odt")
    assert "a.odt is encrypted" in refused(locked)
    drm = '<e><EncryptedData><CipherReference URI="OEBPS/two.xhtml"/></EncryptedData></e>'
    book = write_file(tmp_path, epub(**{"META-INF__encryption.xml": drm}), "a.epub")
    assert "a.epub is encrypted" in refused(book)
    fonts = drm.replace("two.xhtml", "font.otf")
    assert text_of(tmp_path, epub(**{"META-INF__encryption.xml": fonts}), "b.epub")


def test_a_huge_document_that_must_be_read_as_a_whole_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract, "MAX_WHOLE", 20)
    assert "has more than 20 bytes" in refused(write_file(tmp_path, RTF, "a.rtf"))


@pytest.mark.parametrize(
    ("name", "package", "content"),
    [("a.docx", "lxml", docx("")), ("a.html", "lxml", b"<p>"), ("a.rtf", "striprtf", RTF)],
)
def test_without_the_package_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str, content: bytes
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    write_file(tmp_path, b"text", "b.txt")
    write_file(tmp_path, content, name)
    for path in (tmp_path, tmp_path / name):
        message = refused(path)
        assert f"reading {tmp_path / name} needs {package}: run pip install" in message
        assert "[documents]" in message
        assert f"or leave such files out with `exclude` '*.{name[2:]}'" in message
    assert corpus.read([tmp_path], Reading(exclude=f"*.{name[2:]}")).text == "text"


MUTATED = {"a.docx": docx(paragraph(run("one")) * 5), "a.odt": odt("<text:p>x</text:p>")}
MUTATED |= {"lzma.docx": zipped({"word/document.xml": f"<w:d {W}/>"}, zipfile.ZIP_LZMA)}
MUTATED |= {"a.epub": epub(), "a.html": PAGE.encode(), "a.rtf": RTF}
MUTATED |= {"a.ipynb": b'{"cells": [{"source": ["x"]}, {"source": "y"}]}'}


@given(
    st.sampled_from(sorted(MUTATED)),
    st.lists(
        st.tuples(st.integers(0, 5000), st.integers(0, 30), st.binary(max_size=3)), max_size=4
    ),
)
def test_any_damage_gives_a_text_or_a_sentence(
    name: str, changes: list[tuple[int, int, bytes]]
) -> None:
    content = bytearray(MUTATED[name])
    for place, length, new in changes:
        start = place % len(MUTATED[name])
        content[start : start + length] = new
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(CorpusError):
        assert corpus.read([write_file(Path(folder), bytes(content), name)]).text
