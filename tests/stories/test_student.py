"""A student tries a cell of their own: mistakes, a training, a comparison, a file that moves."""

from __future__ import annotations

import re
from pathlib import Path

from cli.conftest import Cli
from own_cells import HERE

TEXT = "The student wrote an equation, and the machine found its derivative.\n" * 50
GOOD = (HERE / "mgu.py").read_text("utf-8")
SMALL = ("--steps", 10, "--hidden-size", 16, "--num-layers", 1, "--seed", 1)


def test_a_student_trains_and_compares_a_cell_of_their_own(cli: Cli) -> None:
    cell, text = cli.folder / "my_cell.py", cli.folder / "text.txt"
    text.write_text(TEXT)
    train = ("train", "text.txt", *SMALL, "--backend", "reference")

    # The first attempts have mistakes; each is answered by file, line and a sentence.
    cell.write_text(GOOD.replace("tanh(x[1]", "tanhh(x[1]"), "utf-8")
    sentence = cli(*train, "--cell", "./my_cell.py", code=2).sentence
    assert sentence == "charrnn: my_cell.py, line 9: 'tanhh' is not defined: did you mean tanh?"
    cell.write_text(GOOD.replace("f_h, n_h = W(h)", "f_h, n_h, o_h = W(h)"), "utf-8")
    sentence = cli(*train, "--cell", "./my_cell.py", code=2).sentence
    assert sentence.startswith("charrnn: my_cell.py, line 7: not enough values to unpack")
    assert sentence.endswith("x has 2 values (f, n), state 1 (h), W returns f, n")
    cell.write_text(GOOD.replace("f = sigmoid(x[0] + f_h)", "f = f_h if f_h > 0 else 0"), "utf-8")
    sentence = cli(*train, "--cell", "./my_cell.py", code=2).sentence
    assert sentence.startswith("charrnn: my_cell.py, line 8: an equation cannot compare values")
    assert not (cli.folder / "runs").exists()

    # It is right now: its equation and its size, then a training.
    cell.write_text(GOOD, "utf-8")
    assert cli("cells", "./my_cell.py").out.startswith("mgu: minimal gated unit, ")
    trained = cli(*train, "--cell", "./my_cell.py")
    assert "network  mgu, 1 x 16" in trained.err

    # The last line of the training is the command that samples from it.
    (line,) = re.findall(r"^next     charrnn (.*)$", trained.err, re.MULTILINE)
    assert line == "sample --model runs/text-1 --cell my_cell.py"
    written = cli(*line.split(), "--length", 50, "--seed", 1)
    assert len(written.out.rstrip("\n")) >= 49

    # Is it better than a cell of charrnn of the same size, and how fast is it?
    cli(*train, "--cell", "gru")
    mine = cli("eval", "text.txt", "-m", "runs/text-1", "--cell", "./my_cell.py", "--json").json
    theirs = cli("eval", "text.txt", "-m", "runs/text-2", "--json").json
    assert {mine["characters"], theirs["characters"]} == {len(TEXT)}
    assert mine["nats"] != theirs["nats"]
    shape = ("--hidden-size", 8, "--batch-size", 2, "--seq-len", 4, "--rounds", 1, "--threads", 1)
    plain = ("--backend", "reference", "--precision", "float32", "--json")
    rows = cli("bench", "train", "--cell", "./my_cell.py", *shape, *plain).json["rows"]
    assert [row["cell"] for row in rows] == ["mgu"]

    # The file moves. The model says what it needs and where a copy is; the moved file works, too.
    moved = cell.rename(cli.folder / "mgu_2.py")
    sentence = cli("sample", "-m", "runs/text-1", "--cell", "./my_cell.py", code=2).sentence
    assert sentence.startswith("charrnn: --cell my_cell.py does not exist: give the file's path; ")
    assert sentence.endswith("the folder of a run has a copy, model.cell.py")
    sentence = cli("sample", "-m", "runs/text-1", code=2).sentence
    (copy,) = re.findall(r"use --cell (\S+), a copy from the training", sentence)
    assert Path(cli.folder, copy).read_text("utf-8") == GOOD
    for file in (copy, moved.name):
        again = cli("sample", "-m", "runs/text-1", "--cell", file, "--length", 50, "--seed", 1)
        assert again.out == written.out

    # A version with another equation is another cell.
    moved.write_text(GOOD.replace("(1 - f) * h", "(1 - f * f) * h"), "utf-8")
    sentence = cli("sample", "-m", "runs/text-1", "--cell", "./mgu_2.py", code=2).sentence
    assert "was trained with another version of mgu than mgu_2.py" in sentence
