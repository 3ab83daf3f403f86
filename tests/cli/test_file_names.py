"""Files whose names, or links, are odd."""

from __future__ import annotations

import csv
import io
import os
import shutil
import sys

import pytest

from .conftest import BY_LIBRARY, Cli, Run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
ODD = os.fsdecode(b"caf\xe9 [red]a\nb")  # not UTF-8, markup, two lines


def test_any_name_is_read_written_and_listed(tiny: Run, cli: Cli) -> None:
    text = tiny.text.read_text("utf-8")[:3000]
    (cli.folder / ODD).write_text(text, "utf-8", newline="")
    shutil.copytree(tiny.folder, cli.folder / "runs" / ODD)
    model = ("-m", cli.folder / "runs" / ODD)
    shown = cli.each(
        [
            ("train", ODD, "--steps", 1, "--hidden-size", 8, *BY_LIBRARY, "--out", f"{ODD}-new"),
            ("train", ODD, "--out", f"{ODD}-new", "--resume", "--steps", 2),
            ("score", ODD, *model, "--csv", f"{ODD}.csv"),
            ("score", ODD, *model, "--csv", "-"),
            ("score", ODD, *model, "--html", f"{ODD}.html"),
            ("plot", cli.folder / "runs" / ODD, "--out", "plot.csv"),
            ("compress", ODD, f"{ODD}.packed", *model),
            ("decompress", f"{ODD}.packed", f"{ODD}.again", *model),
            ("sample", *model, "-n", 3, "--out", f"{ODD}.sample"),
            ("corpora", "stats", ODD, "--json"),
            ("runs", "--csv"),
        ]
    )
    assert (cli.folder / f"{ODD}.again").read_bytes() == text.encode()
    rows = list(csv.DictReader(io.StringIO(shown[-1].out)))
    assert [row["name"] for row in rows] == ["caf\\udce9 [red]a\nb"]
    table = (cli.folder / f"{ODD}.csv").read_text("utf-8")
    assert table == shown[3].out
    assert (cli.folder / "plot.csv").read_text("utf-8").startswith("run,")
    assert (cli.folder / f"{ODD}.html").read_text("utf-8")
    assert all("\nb'" not in each.err for each in shown[:2])  # names are shown on one line


def test_a_hard_link_keeps_what_it_had(tiny: Run, cli: Cli) -> None:
    """A file is replaced under its name, not written into."""
    for name in ("text", "other"):
        os.link(tiny.text, cli.folder / name)
    before = tiny.text.read_bytes()
    lines = [
        ("eval", "text", "-m", tiny.folder, "--json"),
        ("eval", tiny.text, "-m", tiny.folder, "--json"),
        ("sample", "-m", tiny.folder, "-n", 3, "--out", "other", "--force"),
    ]
    linked, original, _ = cli.each(lines)
    assert linked.json["nats"] == original.json["nats"]
    assert len((cli.folder / "other").read_text("utf-8")) == 3
    assert tiny.text.read_bytes() == (cli.folder / "text").read_bytes() == before
