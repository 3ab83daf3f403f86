from __future__ import annotations

import pytest

from charrnn.config import SampleConfig
from charrnn.config.decoding import parse_bias
from charrnn.errors import OptionError


@pytest.mark.parametrize(
    ("text", "symbol", "value"),
    [
        ("x=-2", "x", -2),
        ("==1.5", "=", 1.5),
        ("\n=3", "\n", 3),
        (r"\n=3", "\n", 3),
        (r"\t=3", "\t", 3),
        ("\\=3", "\\", 3),
        (r"\\=3", "\\", 3),
        (r"\u00e9=1e1", "é", 10),
        (r"\x3d=1", "=", 1),
        (r"\U0001f642=1", "🙂", 1),
        ("🙂=1", "🙂", 1),
        (" = 1", " ", 1),
        ("ab=1", "ab", 1),  # which may be one token of a model
    ],
)
def test_a_bias_is_a_token_and_a_number(text: str, symbol: str, value: float) -> None:
    assert parse_bias(text) == (symbol, value)


@pytest.mark.parametrize(
    "text", ["", "x", "=", "=1", "x=", "x=y", "x=1=", r"\q=1", r"\u12=1", r"\é=1", r"\Uffffffff=1"]
)
def test_a_malformed_bias_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match=r"must be TOKEN=NUMBER, such as x=-2 or \\n=1\.5"):
        parse_bias(text)


def test_the_default_has_no_bias() -> None:
    assert SampleConfig().logit_bias == ()
