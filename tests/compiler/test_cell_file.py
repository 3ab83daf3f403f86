"""A cell of the user's own: from a file, a package or an object; and what is wrong with it."""

from __future__ import annotations

import hashlib
import sys
import textwrap
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_cells import HERE, MINGRU

from charrnn.cells import CELLS, Cell, Layer, find, own
from charrnn.compiler import cell_file
from charrnn.compiler.autodiff import trace
from charrnn.compiler.cell_file import use
from charrnn.errors import OptionError

GOOD = """\
from charrnn.cells import Cell


def equations(sigmoid, tanh):
    def unit(x, W, state):
        (h,) = state
        f_h, n_h = W(h)
        f = sigmoid(x[0] + f_h)
        return (f * h + (1 - f) * tanh(x[1] + n_h),)

    return unit


CELL = Cell(
    name="mine",
    title="cell of a student",
    equation="h_t = ...",
    stages=(("f", "n"),),
    states=("h",),
    equations=equations,
)
"""


def refused(folder: Path, source: str) -> str:
    path = folder / "my_cell.py"
    path.write_text(source, "utf-8")
    with pytest.raises(OptionError) as error:
        use(path)
    return error.value.message.replace(str(path), "my_cell.py")


def test_a_file_is_run_once_and_known_by_the_hash_of_its_text(tmp_path: Path) -> None:
    path, copy = tmp_path / "my_cell.py", tmp_path / "copy.py"
    for each in (path, copy):
        each.write_text(f"print('run')\n{GOOD}")
    name = use(path)
    assert name == f"mine@{hashlib.sha256(path.read_bytes()).hexdigest()}"
    assert find(name).title == "cell of a student"
    assert use(name) == name
    assert use(str(copy)) == name
    assert find(use(path)) is find(name)  # code that was compiled for it stays valid
    used = own.used(name)
    assert used
    assert (used.source, used.origin) == (path.read_bytes(), str(path))
    assert own.named("mine")[-1].name == name


def test_the_file_of_a_known_text_is_not_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "loud.py"
    path.write_text(f"print('running')\n{GOOD}")
    use(path)
    use(path)
    assert capsys.readouterr().out == "running\n"


def test_names_of_charrnn_s_cells_and_unknown_names_stay_as_they_are() -> None:
    assert use("lstm") == "lstm"
    assert use(CELLS["gru"]) == "gru"
    assert use("gruu") == "gruu"  # which the check of options refuses


@pytest.mark.parametrize(
    ("old", "new", "line", "sentence"),
    [
        ("tanh(x[1]", "tanhh(x[1]", 9, "'tanhh' is not defined: did you mean tanh?"),
        ("(sigmoid, tanh)", "(sigmoid)", 9, "'tanh' is not defined: name it as an argument of"),
        ("tanh(x[1]", "softmax(x[1]", 9, "'softmax' is not defined: import or define it"),
        (
            "(sigmoid, tanh)",
            "(sigmoid, softmax)",
            14,
            "equations asks for 'softmax': its arguments",
        ),
        ("(f * h", "(h if f > 0 else (f * h", 9, "my_cell.py, line 9: '(' was never closed"),
        ("(f * h + ", "(h if f > 0 else ", 9, "an equation cannot compare values"),
        ("f * h", "max(f, h)", 9, "an equation cannot compare values"),
        ("tanh(x[1]", "__import__('math').exp(x[1]", 9, "cannot call math, numpy or torch"),
        ("tanh(x[1]", "__import__('numpy').exp(x[1]", 9, "cannot call math, numpy or torch"),
        ("f * h", "f ** h", 9, "an equation has + - * / and the functions sigmoid"),
        ("n_h),)", "n_h), h)", 5, "the unit returns 2 values: it must return a tuple with"),
        ("n_h),)", "n_h))", 5, "the unit returns no tuple: it must return a tuple with"),
        ("f_h, n_h =", "f_h, n_h, o_h =", 7, "expected 3, got 2); x has 2 values (f, n), state 1"),
        ("x[1]", "x[2]", 9, "out of range; x has 2 values (f, n), state 1 (h), W returns f, n"),
        ("= W(h)", "= W(x[0])", 5, "the first product must be of the old state (h) alone"),
        ("= W(h)", "= x", 5, "the equation of mine makes 0 products, but its stages declare 1"),
        ("= W(h)", "= W(h, h)", 7, "takes 1 positional argument but 2 were given"),
        ('("f", "n")', '("f", "f")', 14, "two blocks are called 'f': give each a name of its own"),
        ('(("f", "n"),)', '("f", "n")', 14, "stages[0] is 'f': it must be a tuple of names"),
        ('("h",)', '("h")', 14, "states is 'h': it must be a tuple of names in small letters"),
        ('states=("h",)', "states=()", 14, "the cell has no states: name at least one"),
        ('name="mine"', 'name="../mine"', 14, "the cell's name is '../mine': use letters"),
        ("states=", "state=", 14, "got an unexpected keyword argument 'state'"),
        ("    states=", "    bias={'o': 1.0}, states=", 14, "bias has 'o': the blocks are f, n"),
        ("from charrnn.cells", "from charrnn.cell", 1, "No module named 'charrnn.cell'"),
        ("equations=equations", "equations=1", 14, "equations must be a function"),
    ],
)
def test_a_mistake_gives_file_line_and_a_sentence(
    tmp_path: Path, old: str, new: str, line: int, sentence: str
) -> None:
    assert old in GOOD
    message = refused(tmp_path, GOOD.replace(old, new, 1))
    assert message.startswith(f"my_cell.py, line {line}: ")
    assert sentence in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (GOOD.replace("CELL = ", "cell = "), "my_cell.py defines no CELL: end it with CELL ="),
        ("CELL = {}\n", "my_cell.py has a CELL that is a dict: end it with CELL = Cell("),
        ("", "my_cell.py defines no CELL"),
        (GOOD.replace('"mine"', '"gru"'), "charrnn has a cell called gru already: give yours"),
        ("raise RuntimeError\n", "my_cell.py, line 1: RuntimeError"),
        ("x = 1\n\0", "null bytes"),
        ("#" * (cell_file.MAX_BYTES + 1), "has more than 1,048,576 bytes: it is not a cell"),
    ],
)
def test_a_file_without_a_cell_of_its_own_is_refused(
    tmp_path: Path, source: str, sentence: str
) -> None:
    assert sentence in refused(tmp_path, source)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        OptionError,
        match=r"none\.py does not exist: give the file's path; .* a copy, model\.cell\.py",
    ):
        use(tmp_path / "none.py")
    with pytest.raises(OptionError, match=r"Is a directory|Permission denied"):
        use(tmp_path)


def test_a_name_without_its_ending_is_answered_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_cell.py").write_text(GOOD)
    with pytest.raises(OptionError, match=r"did you mean --cell \./my_cell\.py\?|`cell`"):
        use("my_cell")


def test_a_program_s_own_cell_is_written_into_a_file_that_defines_it() -> None:
    def equations(sigmoid: Any) -> Any:
        def unit(x: Any, product: Any, state: Any) -> Any:
            (h,) = state
            return (sigmoid(x[0]) * h + x[1],)

        return unit

    cell = Cell("in-place", "made here", "h = ...", (), ("h",), equations, input_blocks=("f", "n"))
    name = use(cell)
    used = own.used(name)
    assert used
    assert use(cell) == name
    assert find(name).input_blocks == ("f", "n")
    names: dict[str, Any] = {}
    exec(used.source, names)
    unit = names["CELL"].unit({"sigmoid": lambda x: 10 * x})
    assert unit((2.0, 3.0), None, (0.5,)) == (20.0 * 0.5 + 3.0,)
    traces = [trace(Layer(each), False).graph.nodes for each in (cell, names["CELL"])]
    assert traces[0] == traces[1]


def test_the_cell_of_a_module_is_that_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "student_cell.py").write_text(GOOD)
    monkeypatch.syspath_prepend(str(tmp_path))
    import student_cell  # type: ignore[import-not-found]

    assert use(student_cell.CELL) == use(tmp_path / "student_cell.py")
    del sys.modules["student_cell"]


SCALE = 2.0


def test_a_program_s_cell_that_needs_more_than_its_equations_is_refused() -> None:
    def equations(tanh: Any) -> Any:
        return lambda x, product, state: (SCALE * tanh(x[0] + product(state[0])[0]),)

    cell = Cell("scaled", "", "", (("h",),), ("h",), equations)
    with pytest.raises(OptionError, match="'SCALE' is not defined"):
        use(cell)
    short = Cell("short", "", "", (("h",),), ("h",), lambda tanh: equations(tanh))
    with pytest.raises(OptionError, match="put the cell into a file and name that"):
        use(short)


def installed(folder: Path, source: str) -> None:
    """Install a package with a cell into a folder on Python's path."""
    (folder / "cells_of_others.py").write_text(source)
    info = folder / "cells_of_others-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cells-of-others\nVersion: 1.0\n")
    entry = f"[{cell_file.ENTRY_POINTS}]\nmine = cells_of_others:CELL\n"
    (info / "entry_points.txt").write_text(entry)


def test_an_installed_package_may_have_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, GOOD)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "mine" in {entry.name for entry in metadata.entry_points(group="charrnn.cells")}
    name = use("mine")
    assert name == f"mine@{hashlib.sha256(GOOD.encode()).hexdigest()}"
    used = own.used(name)
    assert used
    assert used.origin == "mine"
    del sys.modules["cells_of_others"]


def test_a_mistake_in_an_installed_cell_names_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, GOOD.replace("tanh(x[1]", "tanhh(x[1]"))
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(OptionError) as error:
        use("mine")
    assert "cells_of_others.py, line 9: 'tanhh' is not defined" in error.value.message
    sys.modules.pop("cells_of_others", None)


def test_the_first_value_of_every_function_is_computed_alike() -> None:
    """One equation gives the same in numpy, in torch and on plain numbers."""
    import math

    import torch

    from charrnn.inference.numpy_engine import FUNCTIONS as NUMPY
    from charrnn.network.functions import FUNCTIONS as TORCH

    plain = {
        "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
        "tanh": math.tanh,
        "exp": math.exp,
        "relu": lambda x: max(x, 0.0),
        "abs": abs,
        "max": max,
        "min": min,
    }
    rng = np.random.default_rng(0)
    for path in HERE.glob("[a-z]*.py"):
        cell = find(use(path))
        x = rng.standard_normal(len(cell.blocks))
        r = [rng.standard_normal(len(stage)) for stage in cell.stages]
        state = rng.standard_normal(len(cell.states))

        def run(functions: Any, kind: Any, cell: Any = cell, given: Any = (x, r, state)) -> Any:
            x, r, state = given
            left = iter(r)
            unit = cell.unit(functions)
            return unit(kind(x), lambda operand: tuple(kind(next(left))), tuple(kind(state)))

        wanted = run(plain, lambda values: [float(value) for value in values])
        assert run(NUMPY, lambda values: np.array(values)) == pytest.approx(wanted, abs=1e-12)
        found = run(TORCH, lambda values: torch.tensor(values))
        assert [float(part) for part in found] == pytest.approx(wanted, abs=1e-12)


def test_the_cells_of_the_tests_use_every_function() -> None:
    asked = {name for path in HERE.glob("[a-z]*.py") for name in find(use(path)).functions}
    assert asked | {"abs"} == {"sigmoid", "tanh", "relu", "exp", "abs", "max", "min"}
    assert find(MINGRU).stages == ()
    assert textwrap.dedent(GOOD) == GOOD
