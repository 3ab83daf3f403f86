"""Every option of charrnn: frozen dataclasses that check their fields when they are made.

`fields` says how an option is declared; the other files declare them. What few commands need is
imported from its own file: `bench`, `exporting`, `inspection`, `serving`.
Nothing here imports numpy or torch, so that a wrong flag is refused at once.
"""

from charrnn.config.decoding import (
    GREEDY_FIELDS,
    BeamConfig,
    EngineOptions,
    SampleConfig,
    UnknownOption,
    WeightsName,
    seeded,
)
from charrnn.config.dynamic import DynamicOptions
from charrnn.config.escapes import escape, unescape
from charrnn.config.fields import (
    MAX_LENGTH,
    MAX_SEED,
    check_device,
    flag,
    from_json,
    given_flags,
    new_seed,
    to_json,
)
from charrnn.config.filling import FillConfig
from charrnn.config.limits import Limits
from charrnn.config.model import FORM, CellName, Form, ModelConfig, cell_name, is_own_cell
from charrnn.config.run import HeldOutOptions, RunOptions
from charrnn.config.text import AUTO, END, ITEM_ENDS, ModelReading, Reading, TextOptions
from charrnn.config.training import (
    BUDGETS,
    OptimizerName,
    Regularizers,
    TrainConfig,
    TrainOptions,
    load_options,
)

__all__ = [
    "AUTO",
    "BUDGETS",
    "END",
    "FORM",
    "GREEDY_FIELDS",
    "ITEM_ENDS",
    "MAX_LENGTH",
    "MAX_SEED",
    "BeamConfig",
    "CellName",
    "DynamicOptions",
    "EngineOptions",
    "FillConfig",
    "Form",
    "HeldOutOptions",
    "Limits",
    "ModelConfig",
    "ModelReading",
    "OptimizerName",
    "Reading",
    "Regularizers",
    "RunOptions",
    "SampleConfig",
    "TextOptions",
    "TrainConfig",
    "TrainOptions",
    "UnknownOption",
    "WeightsName",
    "cell_name",
    "check_device",
    "escape",
    "flag",
    "from_json",
    "given_flags",
    "is_own_cell",
    "load_options",
    "new_seed",
    "seeded",
    "to_json",
    "unescape",
]
