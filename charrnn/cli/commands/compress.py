"""``charrnn compress``: a text in as many bits as the model needs for it."""

from __future__ import annotations

from typing import Annotated

from charrnn import __version__
from charrnn.cli import byte_streams
from charrnn.cli.byte_streams import InArgument, OutArgument, ReplaceOption
from charrnn.cli.display.progress import ProgressBar
from charrnn.cli.learning import recalled
from charrnn.cli.options import Only, configured
from charrnn.cli.shared import (
    CellOption,
    JsonOption,
    ModelOption,
    guarded,
    load_model,
    note,
    print_json,
)
from charrnn.config import DynamicOptions, EngineOptions
from charrnn.errors import CorpusError, counted


@guarded
@configured
def compress(
    source: InArgument,
    out: OutArgument,
    engine: Annotated[EngineOptions, Only("threads")],
    learning: DynamicOptions,
    model: ModelOption = None,
    cell: CellOption = None,
    force: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compress a file losslessly with a model, to about the size 'charrnn score' predicts.

    Any file comes back byte for byte; characters that the model has never seen take extra space.
    To decompress, you need the same model, the same version and the same kind of machine. With
    --dynamic the archive is smaller, and it takes longer to make and to read.
    """
    from charrnn import compression
    from charrnn.text.sources import unpacked_limit

    byte_streams.check_out(out, force, as_json)
    generator = load_model(model, engine, cell)
    data = byte_streams.read(source, CorpusError)
    with ProgressBar() as bar:
        archive = compression.compress(
            generator,
            data,
            f"charrnn {__version__}",
            lambda done, total: bar("compressing", done, total),
            dynamic=learning.dynamic,
            counted=recalled(model, generator) if learning.recall else None,
        )
    byte_streams.write(out, archive.data)
    if as_json:
        fields = {
            "bytes": len(data),
            "compressed_bytes": len(archive.data),
            "symbols": archive.tokens,
            "literal_bytes": archive.literals,
            "bits_per_byte": 8 * len(archive.data) / len(data) if data else None,
        }
        print_json(fields)
        return
    share = f", {len(archive.data) / len(data):.2%}" if data else ""
    note(f"{counted(len(data), 'byte')} in {len(archive.data):,}{share}")
    if len(data) > unpacked_limit(len(archive.data), None):
        note(f"to restore it: 'charrnn decompress IN OUT --max-unpacked {len(data)}'")
    if not archive.helped:
        note("the model does not help with these bytes: they are packed without it")
    elif archive.literals:
        are = "byte is" if archive.literals == 1 else "bytes are"
        note(f"{archive.literals:,} {are} not in the model's alphabet: stored separately")
