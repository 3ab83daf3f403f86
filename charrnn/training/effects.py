"""Refuse options of a training that would change nothing: whoever gives one expects an effect."""

from __future__ import annotations

from collections.abc import Iterator

from charrnn.cells import Cell
from charrnn.config import ModelConfig, TrainOptions
from charrnn.errors import OptionError
from charrnn.model import parameters


def check(options: TrainOptions, *, from_model: bool = False) -> None:
    """Refuse options without effect.

    Options of an old run are not checked: it is resumed with what it was started with.

    Args:
        options: what the user asked for.
        from_model: the training starts from the weights of a model.

    Raises:
        OptionError: says why an option has no effect.
    """
    reason = next(_reasons(options, from_model), None)
    if reason:
        raise OptionError(reason)


def _reasons(options: TrainOptions, from_model: bool) -> Iterator[str]:
    name = options.planned_cell
    cell = parameters.layer_of(ModelConfig(1, cell=name)).cell
    yield from _of_own_cell(options, cell)
    if options.zoneout_cell and len(cell.states) == 1 and not from_model:
        yield (
            f"--zoneout-cell is for cells with a second state besides their output, and {name} "
            "has none: use --zoneout"
        )
    if options.forget_bias is not None and "f" not in cell.blocks:
        yield f"--forget-bias is for cells with a forget gate, and {name} has none: leave it out"
    if from_model:
        for flag, given in (
            ("--forget-bias", options.forget_bias is not None),
            ("--init", options.init != TrainOptions.init),
        ):
            if given:
                yield f"{flag} is for new weights, and --init-from has its own: leave {flag} out"
    layers = 1 if cell.feeds_back else options.num_layers
    if options.skip_connections and layers == 1 and not from_model:
        yield "--skip-connections joins several layers: leave it out, or raise --num-layers"
    if options.locked_dropout and options.dropout == 0:
        yield "--locked-dropout is a kind of dropout, and --dropout is 0: leave one of them out"
    if options.slowness_penalty and 1 in (options.update_every, options.seq_len):
        yield (
            "--slowness-penalty compares the steps of an update, and each has one: raise "
            "--update-every or --seq-len"
        )
    if options.omega and options.seq_len == 1 and options.state == "reset":
        yield (
            "--omega compares a step with the one before, and --window-state reset with "
            "--seq-len 1 leaves none: raise --seq-len, or carry the state"
        )


def _of_own_cell(options: TrainOptions, cell: Cell) -> Iterator[str]:
    """Yield why a cell has no use for an option; those of charrnn's cells were checked before."""
    if cell.feeds_back and (options.num_layers or 1) > 1:
        yield (
            f"the cell {cell.name} feeds the network's output back and has no state below it: use "
            "--num-layers 1, and --input-depth for more matrices"
        )
    for flag, given in {
        "--recurrent-depth": options.recurrent_depth > 1,
        "--weight-drop": options.weight_drop > 0,
    }.items():
        if given and not cell.stages:
            yield f"{flag} is about the recurrent matrix, and {cell.name} has none: leave it out"
    if options.omega and not (len(cell.states) == len(cell.recurrent_blocks) == 1):
        yield (
            "--omega is for cells in which a gradient passes one matrix from step to step: leave "
            f"it out for {cell.name}"
        )
