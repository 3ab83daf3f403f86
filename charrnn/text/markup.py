"""Turn the markup of documents into lines as it is parsed: WordprocessingML, OpenDocument, HTML.

The parser calls a target for every tag and every piece of text; the target collects the lines. No
tree is built, so the memory needed does not grow with the document.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

MAX_SPACES = 10**7  # of a document that states them as numbers: few bytes could stand for many
_BLANKS = re.compile(r"[ \t\r\n]+")
Attributes = Mapping[str, str]


def lines(target: Target, chunks: Iterable[bytes]) -> Iterator[str]:
    """Yield the lines of markup, with their ends.

    Args:
        target: for the kind of markup.
        chunks: the markup; that of HTML is UTF-8.

    Raises:
        ValueError: the markup is damaged.
    """
    from lxml import etree

    # Entities are not expanded, and nothing is loaded from elsewhere.
    if isinstance(target, HtmlTarget):
        parser: Any = etree.HTMLParser(target=target, encoding="utf-8", no_network=True)
    else:
        parser = etree.XMLParser(
            target=target, resolve_entities=False, no_network=True, load_dtd=False
        )
    any_markup = False
    try:
        for chunk in chunks:
            if chunk:
                parser.feed(chunk)
                any_markup = True
                yield target.take()
        if any_markup:  # the parser takes nothing for an error
            parser.close()
    except etree.LxmlError as error:
        raise ValueError(str(error)) from None
    yield target.take()


class Target:
    """Collects the lines of a document.

    Attributes:
        skipped: elements that are left out with all that they contain.
    """

    skipped: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._depth = 0  # of elements inside a skipped one

    def start(self, tag: str, attributes: Attributes) -> None:
        """Take the start of an element."""
        name = self._name(tag)
        if self._depth or name in self.skipped:
            self._depth += 1
        else:
            self._begin(name, attributes)

    def end(self, tag: str) -> None:
        """Take the end of an element."""
        if self._depth:
            self._depth -= 1
        else:
            self._finish(self._name(tag))

    def data(self, text: str) -> None:
        """Take text."""
        if not self._depth:
            self._add(text)

    def close(self) -> None:
        """Take the end of the document."""

    def take(self) -> str:
        """Return the lines so far, with their ends, and forget them."""
        text = "".join(f"{line}\n" for line in self._lines)
        self._lines.clear()
        return text

    def _name(self, tag: str) -> str:
        """Return an element's name without its namespace."""
        return tag.rpartition("}")[2]

    def _begin(self, name: str, attributes: Attributes) -> None:
        """Begin an element that is not skipped."""
        raise NotImplementedError

    def _finish(self, name: str) -> None:
        """Finish an element that is not skipped."""
        raise NotImplementedError

    def _add(self, text: str) -> None:
        """Add text that is not skipped."""
        raise NotImplementedError


class _Paragraphs(Target):
    """Lines of a document that marks its paragraphs, and the rows and cells of its tables.

    Attributes:
        paragraphs: elements that are one line.
        row: the element that is a row of a table.
        cell: the element that is a cell of it.
        signs: elements that stand for a character.
    """

    paragraphs: frozenset[str]
    row: str
    cell: str
    signs: Mapping[str, str]

    def __init__(self) -> None:
        super().__init__()
        self._open: list[list[str]] = []  # paragraphs: a text box lies in another one
        self._into = [self._lines]  # where finished lines go: the text, rows, cells

    def _begin(self, name: str, attributes: Attributes) -> None:
        if name in self.paragraphs:
            self._open.append([])
        elif name in (self.row, self.cell):
            self._into.append([])
        elif self._open and name in self.signs:
            self._open[-1].append(self.signs[name])

    def _finish(self, name: str) -> None:
        if name in self.paragraphs and self._open:
            self._into[-1].append("".join(self._open.pop()))
        elif name in (self.row, self.cell) and len(self._into) > 1:
            parts = self._into.pop()
            line = "\t".join(parts) if name == self.row else " ".join(filter(None, parts))
            self._into[-1].append(line)

    def _add(self, text: str) -> None:
        if self._open:
            self._open[-1].append(text)


class WordTarget(_Paragraphs):
    """Lines of a Word document; deleted text is left out, inserted text is not."""

    # Properties, deleted and moved text, readings above characters, and the second copy of a text
    # box for old programs.
    skipped = frozenset({"pPr", "rPr", "tblPr", "sectPr", "del", "moveFrom", "rt", "Fallback"})
    paragraphs = frozenset({"p"})
    row, cell = "tr", "tc"
    signs = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self._in_text = False

    def _name(self, tag: str) -> str:
        namespace, _, name = tag.rpartition("}")
        return name if "wordprocessingml" in namespace or name == "Fallback" else ""

    def _begin(self, name: str, attributes: Attributes) -> None:
        self._in_text = name == "t"
        super()._begin(name, attributes)

    def _finish(self, name: str) -> None:
        self._in_text = False
        super()._finish(name)

    def _add(self, text: str) -> None:
        if self._in_text:
            super()._add(text)


class OpenDocumentTarget(_Paragraphs):
    """Lines of an OpenDocument text, without deleted text, notes and tables of contents."""

    skipped = frozenset({"tracked-changes", "note", "annotation", "ruby-text", "table-of-content"})
    paragraphs = frozenset({"p", "h"})
    row, cell = "table-row", "table-cell"
    signs = {"tab": "\t", "line-break": "\n"}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self._spaces = 0  # that are stated as numbers, so far

    def _begin(self, name: str, attributes: Attributes) -> None:
        if name == "s" and self._open:  # several spaces
            given = next((value for key, value in attributes.items() if key.endswith("}c")), "1")
            count = min(int(given), 1000)
            self._spaces += count
            if self._spaces > MAX_SPACES:
                raise ValueError(f"it states more than {MAX_SPACES:,} spaces")
            self._open[-1].append(" " * count)
        super()._begin(name, attributes)

    def _add(self, text: str) -> None:
        super()._add(_BLANKS.sub(" ", text))


class HtmlTarget(Target):
    """Lines of HTML as a browser would show them, without gaps between paragraphs."""

    skipped = frozenset(
        (
            *("head", "script", "style", "template", "noscript", "svg", "math", "iframe"),
            *("object", "select", "textarea", "rt", "rp"),
        )
    )
    _BLOCKS = frozenset(
        (
            *("address", "article", "aside", "blockquote", "body", "caption", "center", "dd"),
            *("details", "dialog", "div", "dl", "dt", "fieldset", "figcaption", "figure"),
            *("footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li"),
            *("main", "nav", "ol", "p", "pre", "section", "summary", "table", "tbody"),
            *("tfoot", "thead", "tr", "ul"),
        )
    )

    def __init__(self) -> None:
        super().__init__()
        self._text: list[str] = []
        self._any_word = False  # in this line
        self._preformatted = 0

    def _begin(self, name: str, attributes: Attributes) -> None:
        if name in self._BLOCKS:
            self._end_line()
        elif name == "br":
            self._text.append("\n")
        elif name in ("td", "th") and self._any_word:
            self._text.append("\t")
        self._preformatted += name == "pre"

    def _finish(self, name: str) -> None:
        if name in self._BLOCKS:
            self._end_line()
        self._preformatted -= name == "pre" and self._preformatted > 0

    def close(self) -> None:
        """End the last line."""
        self._end_line()

    def _add(self, text: str) -> None:
        self._text.append(text if self._preformatted else _BLANKS.sub(" ", text))
        self._any_word = self._any_word or bool(text.strip())

    def _end_line(self) -> None:
        text = "".join(self._text)
        self._text.clear()
        self._any_word = False
        if not text.strip():
            return
        if self._preformatted:
            self._lines += text.strip("\n").split("\n")
        else:
            self._lines += [re.sub(" +", " ", line).strip(" ") for line in text.split("\n")]
