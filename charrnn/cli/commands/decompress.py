"""``charrnn decompress``: what ``charrnn compress`` read."""

from __future__ import annotations

from typing import Annotated

from charrnn.cli import byte_streams
from charrnn.cli.byte_streams import InArgument, OutArgument, ReplaceOption
from charrnn.cli.display.progress import ProgressBar
from charrnn.cli.learning import recalled
from charrnn.cli.options import Only, configured
from charrnn.cli.shared import CellOption, ModelOption, guarded, load_model
from charrnn.config import EngineOptions, Reading
from charrnn.errors import ArchiveError


@guarded
@configured
def decompress(
    source: InArgument,
    out: OutArgument,
    engine: Annotated[EngineOptions, Only("threads")],
    reading: Annotated[Reading, Only("max_unpacked")],
    model: ModelOption = None,
    cell: CellOption = None,
    force: ReplaceOption = False,
) -> None:
    """Restore a file that 'charrnn compress' compressed, byte for byte.

    A damaged archive, another model or another kind of machine is refused before the work begins;
    the result is compared with its SHA-256 before it is written.
    """
    from charrnn import compression

    byte_streams.check_out(out, force)
    archive = byte_streams.read(source, ArchiveError)
    generator = load_model(model, engine, cell)
    try:
        with ProgressBar() as bar:
            data = compression.decompress(
                generator,
                archive,
                lambda done, total: bar("decompressing", done, total),
                max_unpacked=reading.max_unpacked,
                recall=lambda: recalled(model, generator),
            )
    except ArchiveError as error:
        raise ArchiveError(f"{source}: {error.message}") from None
    byte_streams.write(out, data)
