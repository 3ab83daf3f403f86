"""Write what is exported: a file or a folder, whole or not at all."""

from __future__ import annotations

from charrnn.config.exporting import ExportOptions
from charrnn.errors import ModelError, OptionError, RunError, excerpt, missing_package
from charrnn.export import transformers_folder
from charrnn.model.model_file import Model
from charrnn.storage import folders
from charrnn.storage.files import is_special, write, write_atomically

_ONNX = ("onnx", "google", "google.protobuf", "ml_dtypes")  # the package, and what it needs


def export(model: Model, options: ExportOptions) -> None:
    """Write a network of texts for other programs.

    Raises:
        ModelError: the model is one of pairs.
        OptionError: there is something else at `options.out`, or a package is missing.
        RunError: the disk is full, read-only or gone.
    """
    if model.config.encoder:
        raise ModelError(
            "a model of pairs cannot be exported: it reads a whole source before it writes, and "
            "both formats are for a network that goes on with a text, token by token"
        )
    _check_out(options)
    if options.to == "onnx":
        write_atomically(options.out, _onnx(model))
    else:
        _write_folder(options, transformers_folder.files(model))


def _onnx(model: Model) -> bytes:
    try:
        from charrnn.export import onnx_graph
    except ModuleNotFoundError as error:
        if error.name not in _ONNX:
            raise
        raise OptionError(missing_package("--to onnx", error.name, "onnx")) from None
    return onnx_graph.model_bytes(model)


def _check_out(options: ExportOptions) -> None:
    """Refuse a place where something would be lost."""
    out = options.out
    if str(out) == "-":
        raise OptionError("--out - names no file: give a name, or /dev/stdout")
    if not out.absolute().parent.is_dir():
        raise OptionError(f"{out.parent} is not a folder: create it, or choose another")
    if options.to == "onnx":
        if out.is_dir():
            raise OptionError(f"--out {out} is a folder: name a file")
        if out.exists() and not is_special(out) and not options.force:
            raise OptionError(f"{out} exists: choose another name, or use --force to overwrite it")
        return
    if out.exists() and not out.is_dir():
        raise OptionError(f"--out {out} is a file: name a folder")
    there = sorted(path.name for path in out.iterdir()) if out.exists() else []
    if not there:
        return
    if others := sorted({*there} - {*transformers_folder.NAMES}):
        raise OptionError(
            f"--out {out} already holds other files: choose another folder "
            f"({excerpt(', '.join(others))})"
        )
    if not options.force:
        raise OptionError(f"--out {out} was exported before: use --force to replace it")


def _write_folder(options: ExportOptions, files: dict[str, bytes]) -> None:
    folder = options.out.resolve()
    try:
        with folders.temporary_folder(folder) as temporary:
            for name, content in files.items():
                write(temporary / name, content)
            if folder.exists() and not options.force:  # it is empty
                folder.rmdir()
            folders.exchange(temporary, folder)
    except OSError as error:
        raise RunError(f"{folder} could not be written: {error.strerror or error}") from error
