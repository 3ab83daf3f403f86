"""A cell of the user's own: read from a file, an installed package or a Python object, and checked.

Its code runs only here, and only for what the user named. Whatever is wrong with it is reported as
one sentence with file and line.
"""

from __future__ import annotations

import hashlib
import os
import sys
import traceback
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from charrnn.cells import CELLS, Cell, Layer, own
from charrnn.cells.base import FUNCTIONS
from charrnn.cells.own import OwnCell
from charrnn.compiler.autodiff import EquationError, trace
from charrnn.errors import OptionError, file_name

ENTRY_POINTS = "charrnn.cells"  # the group under which an installed package names its cells
MAX_BYTES = 2**20  # of a file; an equation has a few hundred


def use(given: str | os.PathLike[str] | Cell) -> str:
    """Return what configs call a cell, after running its code if it is not one of charrnn's.

    Args:
        given: the name of a cell of charrnn or of an installed package; a file; or a `Cell`. A name
            that is none of these is returned as it is, for the check of options to refuse.

    Raises:
        OptionError: the cell has a mistake; says in which file and line.
    """
    if isinstance(given, Cell):
        return given.name if CELLS.get(given.name) is given else own.add(_of_object(given))
    name = file_name(given, "--cell")
    if name in CELLS or own.used(name):
        return name
    if not isinstance(given, str) or name.endswith(".py") or "/" in name or os.sep in name:
        return own.add(_of_file(Path(name)))
    if Path(file_name(f"{name}.py", "--cell")).is_file():
        raise OptionError(f"--cell '{name}' is not known: did you mean --cell ./{name}.py?")
    installed = _of_package(name)
    return own.add(installed) if installed else name


def _of_file(path: Path) -> OwnCell:
    """Run a file and return the cell that it defines."""
    try:
        with path.open("rb") as file:
            source = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise OptionError(
            f"--cell {path} does not exist: give the file's path; the folder of a run has a copy, "
            + own.CELL_NAME
        ) from None
    except OSError as error:
        raise OptionError(f"--cell {path}: {error.strerror}") from None
    if len(source) > MAX_BYTES:
        raise OptionError(f"--cell {path} has more than {MAX_BYTES:,} bytes: it is not a cell")
    known = own.of_source(source)
    if known:
        return OwnCell(known.cell, source, str(path))
    return OwnCell(_checked(str(path), lambda: _run(path, source)), source, str(path))


def _run(path: Path, source: bytes) -> Any:
    """Run a file and return its ``CELL``."""
    module = ModuleType(f"charrnn_cell_{hashlib.sha256(source).hexdigest()[:16]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses and pickles look it up
    exec(compile(source, str(path), "exec"), module.__dict__)
    return module.__dict__.get("CELL")


def _of_package(name: str) -> OwnCell | None:
    """Return the cell that an installed package calls `name`, if there is one."""
    from importlib import metadata

    found = next(iter(metadata.entry_points(group=ENTRY_POINTS, name=name)), None)
    if found is None:
        return None
    file = ""

    def load() -> Any:
        nonlocal file
        cell = found.load()
        file = str(getattr(sys.modules.get(found.module), "__file__", None) or "")
        return cell

    cell = _checked(f"{name} ({found.value})", load)
    if not Path(file).is_file():
        raise OptionError(f"--cell {name}: {found.module} has no file, so its text is not known")
    return OwnCell(cell, Path(file).read_bytes(), name)


def _of_object(cell: Cell) -> OwnCell:
    """Return a cell that a program made, with the text that defines it.

    That is its module's file if the file's ``CELL`` is this cell. Otherwise a file is made of the
    source of its equations, which may then use nothing else.
    """
    module = sys.modules.get(cell.equations.__module__)
    file = getattr(module, "__file__", None)
    _checked(cell.name, lambda: cell)
    whole = module is not None and module.__name__ != "__main__"
    if whole and file and getattr(module, "CELL", None) is cell:
        return OwnCell(cell, Path(file).read_bytes(), file)
    source = _written(cell).encode()
    again = _checked(f"the cell {cell.name}", lambda: _run(Path(f"{cell.name}.py"), source))
    return OwnCell(again, source, "")


def _written(cell: Cell) -> str:
    """Return the text of a file that defines a cell, from the source of its equations."""
    import dataclasses
    import inspect
    import textwrap

    function = cell.equations
    try:
        text = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        text = ""
    if not text.startswith("def "):
        raise OptionError(
            f"--cell {cell.name}: its equations are not a function whose source can be read: put "
            "the cell into a file and name that"
        )
    fields = {item.name: getattr(cell, item.name) for item in dataclasses.fields(cell) if item.init}
    fields["bias"] = dict(cell.bias)
    lines = [
        f"    {name}={function.__name__ if name == 'equations' else repr(value)},"
        for name, value in fields.items()
    ]
    head = "from __future__ import annotations\n\nfrom charrnn.cells import Cell\n"
    return "\n".join([head, "", text, "", "CELL = Cell(", *lines, ")", ""])


def _checked(where: str, load: Callable[[], Any]) -> Cell:
    """Return the cell that `load` makes, after tracing its equation.

    Raises:
        OptionError: running or tracing it failed, or it is not a cell.
    """
    cell = None
    try:
        cell = load()
        if isinstance(cell, Cell):
            trace(Layer(cell), zoneout=False)
    except Exception as error:  # whatever the code of a user raises
        raise OptionError(_sentence(where, error, cell)) from error
    if not isinstance(cell, Cell):
        found = "defines no CELL" if cell is None else f"has a CELL that is a {type(cell).__name__}"
        raise OptionError(f"{where} {found}: end it with CELL = Cell(name=..., ...)")
    if cell.name in CELLS:
        raise OptionError(
            f"{where}: charrnn has a cell called {cell.name} already: give yours another name"
        )
    return cell


def _sentence(where: str, error: Exception, cell: Any) -> str:
    """Return what is wrong, with the line of the user's code."""
    if isinstance(error, SyntaxError):
        return f"{where}, line {error.lineno}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if frame.filename == where]
    place = where
    if not theirs:  # an installed package: `where` is its name
        ours = (Path(__file__).parents[1], Path(traceback.__file__).parent)
        theirs = [f for f in frames if not {*ours} & {*Path(f.filename).parents}]
        theirs = [frame for frame in theirs if Path(frame.filename).is_file()]
        place = f"{where}, {theirs[-1].filename}" if theirs else where
    line = theirs[-1].lineno if theirs else _line_of_unit(cell)
    reason = _reason(error, cell)
    return f"{place}, line {line}: {reason}" if line else f"{where}: {reason}"


def _line_of_unit(cell: Any) -> int | None:
    """Return the line where the unit begins, for mistakes that show only after it has run."""
    if not isinstance(cell, Cell):
        return None
    unit = cell.unit(dict.fromkeys(FUNCTIONS))  # type: ignore[arg-type]
    code = getattr(unit, "__code__", None)
    return code.co_firstlineno if code else None


def _reason(error: Exception, cell: Any) -> str:
    """Return an exception as a sentence that says what to do."""
    if isinstance(error, EquationError):
        return str(error)
    if isinstance(error, NameError):
        close = get_close_matches(str(error.name), FUNCTIONS, n=1, cutoff=0.7)
        advice = f"did you mean {close[0]}?" if close else "import or define it"
        if error.name in FUNCTIONS:
            advice = "name it as an argument of equations"
        return f"'{error.name}' is not defined: {advice}"
    counted = isinstance(error, IndexError) or "to unpack" in str(error)
    if counted and isinstance(cell, Cell):
        calls = [f"W({', '.join(stage)})" for stage in cell.stages]
        parts = [f"x has {len(cell.blocks)} values ({', '.join(cell.blocks)})"]
        parts += [f"state {len(cell.states)} ({', '.join(cell.states)})"]
        parts += [f"W returns {' and then '.join(', '.join(s) for s in cell.stages)}"] * bool(calls)
        return f"{error}; {', '.join(parts)}"
    if isinstance(error, ImportError):
        return f"{error}: a cell is one file, which imports installed packages only"
    return str(error).replace("Cell.__init__()", "Cell()") or type(error).__name__
