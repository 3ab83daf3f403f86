"""RTF as TextEdit and Word write it, and as somebody writes it who wants to waste time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from text_files import write_file
from waiting import HANGS

import charrnn
from charrnn.text import corpus
from charrnn.text.rich_text import plain


def test_an_emoji_is_one_character() -> None:
    assert plain(r"{\rtf1\ansi \uc0\u55357 \u56832 , \uc1\u-10179 ?\u-8704 ?.\par}", "strict") == (
        "😀, 😀.\n"
    )
    assert plain(r"{\rtf1 half \u55357 ?one}", "strict") == "half \ufffdone"


@pytest.mark.parametrize(
    "link",
    [
        r'{\field{\*\fldinst{HYPERLINK "https://example.org/a"}}{\fldrslt the page}}',
        r'{\field{\*\fldinst {HYPERLINK "https://example.org/a" }}{\fldrslt {\ul the page}}}',
        r'{\Field{\*\fldinst{HYPERLINK "a"}}{\fldrslt the }}{\field{\*\fldinst{PAGE}}{page}}',
    ],
)
def test_a_link_is_the_words_that_are_shown(link: str) -> None:
    assert plain(rf"{{\rtf1 See {link}.\par}}", "strict") == "See the page.\n"


def test_each_font_has_its_own_characters(tmp_path: Path) -> None:
    fonts = (
        r"{\fonttbl{\f0\froman\fprq2 Times;}{\f1\fnil\fcharset204 Times;}" + "\n"
        r"{\f2{\*\panose 02}\fcharset161{\*\falt Arial}Greek;}}"
    )
    text = rf"{{\rtf1\ansi{fonts}\f1 \'e4\'e0, \f2 \'ed\'e1\'e9, \f0 \'e9t\'e9\par}}"
    assert plain(text, "strict") == "да, ναι, été\n"
    write_file(tmp_path, text.encode(), "a.rtf")
    assert corpus.read([tmp_path / "a.rtf"]).text == "да, ναι, été\n"


def test_pictures_and_other_bytes_are_left_out() -> None:
    bits = "}{\\x}" * 3
    picture = rf"{{\pict\wmetafile8\bin{len(bits)} {bits}}}"
    text = rf"{{\rtf1 a{picture}b{{\object\bin3 }}}}}}}}c\binfsxn4 d \\bin3 e\par}}"
    assert plain(text, "strict") == r"abcd \bin3 e" + "\n"
    assert plain(r"{\rtf1 a{\pict\bin999999999 }", "strict") == "a"


HOSTILE = [
    (r"{\rtf1 ", r"{\field{\*\fldinst{a}}"),
    (r"{\rtf1{\fonttbl", r"\f1 "),
    (r"{\rtf1{\fonttbl\f", "1"),
    (r"{\rtf1{\pict", r"\bin"),
]


def test_time_grows_with_the_length_only() -> None:
    """A search of quadratic time would take hours for most of these."""
    script = (
        "import contextlib\n"
        "from charrnn.text.rich_text import plain\n"
        f"for start, more in {HOSTILE!r}:\n"
        "    with contextlib.suppress(ValueError):\n"
        "        plain(start + more * 200_000, 'replace')\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(charrnn.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", script], env=environment, timeout=HANGS, check=True)
