"""Decide everything before the first step of a training, and build the trainer from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from charrnn.cells import Layer
from charrnn.config import FORM, ModelConfig, TrainOptions
from charrnn.model import parameters
from charrnn.network.ensemble import Ensemble, network_of
from charrnn.network.layers import Kernel, select
from charrnn.network.module import CharRNN
from charrnn.network.pair_ensemble import pair_network
from charrnn.network.pair_module import PairRNN
from charrnn.run_dir import RunDir
from charrnn.text import dataset, streams
from charrnn.text.dataset import Dataset
from charrnn.text.gaps import GapText, Pairs
from charrnn.text.open import Texts
from charrnn.text.reader import ReadingProgress, silent
from charrnn.text.streams import Streams
from charrnn.training.batches import Batches
from charrnn.training.distributed import ALONE, World
from charrnn.training.events import Values
from charrnn.training.pair_batches import PairBatches
from charrnn.training.pair_validation import AnyValidation, PairValidation
from charrnn.training.plan import Plan
from charrnn.training.stream_batches import StreamBatches
from charrnn.training.trainer import Trainer
from charrnn.training.training_step import Updater
from charrnn.training.validation import Validation


@dataclass(frozen=True)
class Setup:
    """Everything about a training that does not change while it runs.

    Attributes:
        run_dir: the run's folder.
        data: the text.
        options: what the user asked for.
        plan: the network and its training.
        device: where it runs.
        kernel: what runs the layers.
        origin: the model whose weights the training started from; empty for new weights.
        world: the processes that train together.
    """

    run_dir: RunDir
    data: Dataset
    options: TrainOptions
    plan: Plan
    device: torch.device
    kernel: Kernel
    origin: Mapping[str, Any]
    world: World = ALONE

    def documents(self, part: str) -> NDArray[np.uint64] | None:
        """Return where a part's documents start, if each is read as a text of its own."""
        return self.data.documents[part] if self.plan.train.reset_at_documents else None

    @property
    def validation(self) -> AnyValidation:
        """The validation text."""
        if self.plan.model.encoder:
            pairs = pairs_of(self.data, "valid")
            part = pairs.held_out() if isinstance(pairs, GapText) else pairs
            return PairValidation(part, self.data.tokenizer, self.world)
        documents = self.documents("valid")
        return Validation(self.data.valid, self.data.tokenizer, documents, self.world)


def pairs_of(data: Dataset, part: str) -> Pairs:
    """Return the pairs of a part; of a text these are gaps, and what is missing in them."""
    if data.reading.pairs:
        return data.pairs(part)
    return GapText(getattr(data, part), data.documents[part], data.tokenizer)


def make_dataset(
    texts: Texts, options: TrainOptions, progress: ReadingProgress = silent
) -> Dataset:
    """Return the dataset of texts, or the one that was prepared before."""
    if isinstance(texts.corpus, Dataset):
        return texts.corpus
    return dataset.make(texts.corpus, options, texts.valid, texts.test, progress=progress)


def choose_kernel(options: TrainOptions, device: torch.device) -> Kernel:
    """Choose what runs the layers."""
    backend = "reference" if options.omega else options.backend
    zoneout = bool(options.zone_rates(1))
    return select(layer_of(options), device, options.precision, backend, zoneout=zoneout)


def layer_of(options: TrainOptions) -> Layer:
    """Return the recurrence of the layers that these options ask for."""
    form = {name: getattr(options, name) for name in FORM}
    return parameters.layer_of(ModelConfig(1, cell=options.planned_cell, **form))


def exact_kernel(model: ModelConfig, device: torch.device) -> Kernel:
    """Choose what scores: as the model is saved, in float32, whatever it is trained in."""
    zoneout = bool(model.zone_rates(1))
    return select(parameters.layer_of(model), device, "float32", zoneout=zoneout)


def initial_values(plan: Plan) -> Values:
    """Return the parameters of a new network."""
    train = plan.train
    return parameters.initial(plan.model, train.seed, train.init, train.forget_bias)


def make_trainer(setup: Setup, values: Values) -> Trainer:
    """Return a trainer of a network with these parameters, before its first step."""
    model, train = setup.plan.model, setup.plan.train
    kind = pair_network if model.encoder else network_of
    network = kind(
        model,
        values,
        regularizers=train,
        sequence=setup.kernel.run,
        scoring=exact_kernel(model, setup.device).run,
        bf16=setup.kernel.bf16,
    ).to(setup.device)
    return Trainer(updater_of(network, _batches(setup)), setup.validation)


def updater_of(network: CharRNN, batches: Callable[[CharRNN], Batches]) -> Updater:
    """Return what updates a network, or each one of an ensemble, on `batches` of it."""
    ensemble = network if isinstance(network, Ensemble) else None
    return Updater(*map(batches, network.members), ensemble=ensemble)


def _batches(setup: Setup) -> Callable[[CharRNN], Batches]:
    """Return what makes the batches that a network reads in training, from their beginning."""
    model, train, data = setup.plan.model, setup.plan.train, setup.data
    if model.encoder:
        pairs = pairs_of(data, "train")
        given = (pairs, data.tokenizer, train, setup.world)
        return lambda network: PairBatches(cast(PairRNN, network), *given)
    made = text_streams(setup)
    characters = data.characters_per_token
    return lambda network: StreamBatches(network, made, train, characters, setup.world)


def text_streams(setup: Setup) -> Streams:
    """Return the streams of a training text."""
    model, train, data = setup.plan.model, setup.plan.train, setup.data
    return streams.make(
        data.train,
        train.batch_size,
        train.seq_len,
        model.start_token,
        data.tokenizer.line_ends,
        train.update_every,
        setup.documents("train"),
        train.seed if setup.options.items else None,
        begins_anew=model.learned_start and train.state == "carry",
        kept_back=train.kept_back,
    )
