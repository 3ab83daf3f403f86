"""Every option changes what is trained, with every cell, or is refused with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import charrnn
from charrnn.cells import CELLS
from charrnn.config import FORM, ModelConfig, TrainConfig, TrainOptions
from charrnn.errors import OptionError
from charrnn.model import parameters
from charrnn.network.module import CharRNN
from charrnn.text import streams
from charrnn.training import effects
from charrnn.training.stream_batches import StreamBatches
from charrnn.training.training_step import Updater

ASKED: dict[str, dict[str, Any]] = {
    **{
        name: {name: True}
        for name in ("skip_connections", "tied_output", "learned_start", "layer_norm")
    },
    **{name: {name: 2} for name in ("input_depth", "recurrent_depth", "output_depth")},
    **{name: {name: 0.5} for name in ("zoneout", "zoneout_cell")},
    "forget_bias": {"forget_bias": 3.0},
    "init": {"init": "he"},
    "dropout": {"dropout": 0.5},
    "locked_dropout": {"dropout": 0.5, "locked_dropout": True},
    "weight_drop": {"weight_drop": 0.5},
    "activation_penalty": {"activation_penalty": 2.0},
    "slowness_penalty": {"slowness_penalty": 2.0},
    "weight_decay": {"weight_decay": 5.0},
    "clip_norm": {"clip_norm": 0.01},
    "optimizer": {"optimizer": "sgd"},
    "state": {"state": "reset"},
    "seed": {"seed": 2},
}
REFUSED = {
    "zoneout_cell": {"elman", "irnn", "preactivation", "jordan", "gru", "gru-reset-after"},
    "forget_bias": {"elman", "irnn", "preactivation", "jordan", "gru", "gru-reset-after"},
    "skip_connections": {"jordan"},
}


def trained(options: TrainOptions) -> bytes:
    """Return the weights after three updates of what these options describe."""
    form = {name: getattr(options, name) for name in FORM}
    layers = 1 if options.cell == "jordan" else 2
    model = ModelConfig(4, options.cell, layers, 6, 3, **form)
    decided = {
        name: getattr(options, name)
        for name in TrainConfig.__dataclass_fields__.keys() - {"last_rate", "kept_back"}
        if getattr(options, name) is not None
    }
    train = TrainConfig(**{"learning_rate": 0.05, **decided, "seq_len": 4, "update_every": 4})
    values = parameters.initial(model, train.seed, train.init, train.forget_bias)
    network = CharRNN(model, values, regularizers=train)
    ids = np.random.default_rng(5).integers(0, 4, 60).astype(np.uint8)
    made = streams.make(ids, 2, 4, model.start_token, None)
    updater = Updater(StreamBatches(network, made, train))
    torch.manual_seed(train.seed)
    network.train()
    for _ in range(3):
        updater.update(0.05)
    return b"".join(value.tobytes() for value in network.values().values())


@pytest.mark.parametrize("cell", CELLS)
def test_every_option_has_an_effect_with_every_cell_or_is_refused(cell: str) -> None:
    small = {"cell": cell, "batch_size": 2, "dropout": 0.0}
    plain = trained(TrainOptions(**small))
    before = {"locked_dropout": trained(TrainOptions(**{**small, "dropout": 0.5}))}
    for name, asked in ASKED.items():
        options = TrainOptions(**{**small, **asked})
        if cell in REFUSED.get(name, ()):
            with pytest.raises(OptionError, match=name):
                effects.check(options)
        else:
            effects.check(options)
            assert trained(options) != before.get(name, plain), name


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"zoneout_cell": 0.1, "cell": "gru"}, r"second state .* gru has none: use `zoneout`"),
        ({"forget_bias": 1.0, "cell": "elman"}, "forget gate, and elman has none"),
        ({"skip_connections": True, "num_layers": 1}, "joins several layers"),
        ({"locked_dropout": True, "dropout": 0.0}, "`dropout` is 0"),
        ({"slowness_penalty": 1.0, "seq_len": 1}, "each has one"),
        ({"slowness_penalty": 1.0, "seq_len": 9, "update_every": 1}, "each has one"),
        ({"omega": 1.0, "cell": "elman", "seq_len": 1, "state": "reset"}, "leaves none"),
    ],
)
def test_why_an_option_has_no_effect(asked: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=reason):
        charrnn.train(text="abc\n" * 99, out=tmp_path / "run", steps=1, **asked)
    assert not (tmp_path / "run").exists()


def test_options_that_are_planned_or_carried_are_not_refused() -> None:
    effects.check(TrainOptions(locked_dropout=True))  # the plan may choose dropout
    effects.check(TrainOptions(skip_connections=True))
    effects.check(TrainOptions(omega=1.0, cell="elman", seq_len=1))  # from the carried state


@pytest.mark.parametrize("asked", [{"init": "he"}, {"forget_bias": 2.0}])
def test_weights_of_a_model_have_no_initial_rule(asked: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="is for new weights, and `init_from` has its own"):
        effects.check(TrainOptions(cell="lstm", **asked), from_model=True)
    # What its network is comes from the model: an old one may have a zoneout without effect.
    effects.check(TrainOptions(cell="gru", zoneout_cell=0.1), from_model=True)
