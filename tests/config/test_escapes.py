from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import escape, unescape


@given(st.text())
def test_an_escaped_text_comes_back_on_one_line(text: str) -> None:
    assert unescape(escape(text)) == text
    assert "\n" not in escape(text)


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (r"\n\r\t\\", "\n\r\t\\"),
        (r"a\x41\u00e9\U0001f642", "aA\u00e9\U0001f642"),
        (r"\section{", r"\section{"),  # not an escape
        (r"\Uffffffff\u12\x4", r"\Uffffffff\u12\x4"),
        ("\\", "\\"),
    ],
)
def test_escapes_are_replaced_and_nothing_else(written: str, text: str) -> None:
    assert unescape(written) == text
