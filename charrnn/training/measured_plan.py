"""Plan for a text and this machine, whose speed is measured where the budget is minutes.

The speed of a few sizes is measured, that of the others lies between them. The sizes around the
planned one are measured in turns for a second, in windows, and the plan follows: a machine that is
busy for a moment slows down some windows, and the best ones count.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar, cast

import numpy as np
import torch

from charrnn.config import ModelConfig, TrainConfig, TrainOptions
from charrnn.config.training import FASTER_CELL
from charrnn.errors import CorpusError, OptionError
from charrnn.model import parameters
from charrnn.network.ensemble import network_of
from charrnn.network.layers import Kernel
from charrnn.network.module import CharRNN
from charrnn.network.pair_ensemble import pair_network
from charrnn.network.pair_module import PairRNN
from charrnn.storage import machine
from charrnn.text import streams
from charrnn.text.dataset import Dataset
from charrnn.text.gaps import GapText
from charrnn.text.pairs import PairPart
from charrnn.text.streams import Documents
from charrnn.text.tokenizer import EndingTokenizer
from charrnn.training import pair_plan, plan, timing
from charrnn.training.batches import Batches
from charrnn.training.budget import Pauses
from charrnn.training.distributed import ALONE, World
from charrnn.training.pair_batches import PairBatches
from charrnn.training.plan import HIDDEN_SIZES, Plan, Speed
from charrnn.training.setup import Setup, choose_kernel, pairs_of, updater_of
from charrnn.training.stream_batches import StreamBatches
from charrnn.training.timing import Samples
from charrnn.training.training_step import Updater

SECONDS = 1.0  # of measuring, at least, ...
SHARE = 0.05  # ... but at most this part of a short training, ...
SHARE_ANEW = 0.015  # ... or this one of a training that is planned anew.
ROUNDS = 3  # in which each size around the planned one is measured, at least
LONGEST = 3  # times as long as that; from then on one round is enough
MOST_ROUNDS = 30  # in case that steps take so different times that the plan never stays
FIRST_SIZE = 128  # whose speed is measured first
CLEARLY_FASTER = 1.25  # at equal sizes; then another cell learns more in the time
MEASURED_SIZES = tuple(size for size in HIDDEN_SIZES if size & (size - 1) == 0)
MEASURED_WINDOW = 256  # steps at most of a window whose speed is measured
SHORTEST_WINDOW = 8  # that is planned for documents
MAX_PADDING = 1.1  # length of padded documents, relative to the window that pads them least

N = TypeVar("N", bound=CharRNN)
Timer = Callable[[], float]  # measures the seconds per character for a moment


@dataclass(frozen=True)
class Speeds:
    """How fast networks of a few sizes are trained.

    Attributes:
        samples: seconds per character and network, by how many are trained side by side (1 or 2:
            more take as much longer as they are more) and the hidden size of each.
    """

    samples: Mapping[tuple[int, int], Samples] = field(default_factory=dict)

    def __call__(self, model: ModelConfig, train: TrainConfig) -> float:
        """Return the characters per second of a network of any size.

        Between two measured sizes time grows as a power of the size; above the largest one with the
        number of weights. A network smaller than the smallest one is at least as fast as that.
        """
        networks, size = _key(model)
        # A size that was not measured with as many networks takes about as long with others.
        own_last = sorted(self.samples, key=lambda key: key[0] == networks)
        best = {each: self.samples[number, each].best for number, each in own_last}
        measured = sorted(best)
        seconds = [best[each] for each in measured]
        exact = np.interp(math.log(size), np.log(measured), np.log(seconds))
        above = max(0.0, 2 * math.log(size / measured[-1]))
        return math.exp(-float(exact) - above) / model.ensemble

    @property
    def spread(self) -> float:
        """The largest spread of a size's times: 1 on a quiet machine."""
        return max((each.spread for each in self.samples.values()), default=1.0)

    def count(self, model: ModelConfig) -> int:
        """Return how many samples there are of such a network."""
        key = _key(model)
        return len(self.samples[key].seconds) if key in self.samples else 0

    def add(self, model: ModelConfig, seconds: float) -> Speeds:
        """Return the same with one more sample of such a network."""
        key = _key(model)
        before = self.samples[key].seconds if key in self.samples else ()
        return Speeds({**self.samples, key: Samples((*before, seconds))})


def _key(model: ModelConfig) -> tuple[int, int]:
    """Return how many networks are measured to tell the speed of this one, and their size."""
    return min(2, model.ensemble), model.member.hidden_size


def measured(
    make: Callable[[Speed], Plan],
    timer_for: Callable[[ModelConfig, TrainConfig], Timer],
    first_size: int,
    pauses: Pauses,
    share: float = SHARE,
) -> Plan:
    """Return the plan for the speed of this machine.

    Args:
        make: plans for a speed.
        timer_for: prepares to measure a network, whose first step it makes.
        first_size: the hidden size to measure first, that of each network of an ensemble; a smaller
            one if the text supports no such.
        pauses: looks on between two measurements.
        share: of the training's time that may be spent at most, about.
    """
    made = make(lambda model, train: math.inf)  # as large as the text supports
    largest, speeds = made.model.member.hidden_size, Speeds()
    wanted: Sequence[int] = [min(first_size, largest)]
    timers: dict[ModelConfig, Timer] = {}
    passed, limit = 0.0, min(SECONDS, share * 60 * (made.train.minutes or 0))
    for _ in range(MOST_ROUNDS):
        sizes = [_of_size(made.model, size) for size in wanted]
        timers = {each: timers.get(each) or timer_for(each, made.train) for each in sizes}
        pauses.look()
        began = time.perf_counter()
        for model, timer in timers.items():
            speeds = speeds.add(model, timer())
            pauses.look()
        passed += time.perf_counter() - began
        made = make(speeds)
        wanted = _around(made.model.member.hidden_size, largest)
        fewest = min(speeds.count(_of_size(made.model, size)) for size in wanted)
        if passed >= limit and fewest >= (ROUNDS if passed < LONGEST * limit else 1):
            break
    return replace(made, spread=speeds.spread)


def _of_size(model: ModelConfig, size: int) -> ModelConfig:
    """Return the model with networks of this hidden size, of an ensemble two, to be measured."""
    networks, _ = _key(model)
    embedding = networks * model.member.embedding_size
    total = networks * size
    return replace(model, ensemble=networks, hidden_size=total, embedding_size=embedding)


def _around(size: int, largest: int) -> list[int]:
    """Return the sizes to measure for a plan of this size: up to it, and above it."""
    sizes = [each for each in MEASURED_SIZES if each < largest] + [largest]
    above = next((n for n, each in enumerate(sizes) if each > size), len(sizes))
    return sizes[max(0, above - 1) : above + 1]


def choose_cell(
    options: TrainOptions, data: Dataset, device: torch.device
) -> tuple[TrainOptions, Kernel]:
    """Return the options with the cell to train, and what runs it.

    If no cell is given and time counts, it is the one for which torch has a kernel, where that is
    clearly faster than what is compiled here: on CUDA, and on some CPUs that are not x86.
    """
    usual = replace(options, cell=options.planned_cell)
    kernel = choose_kernel(usual, device)
    if options.cell is not None or not plan.by_clock(options) or kernel.bf16:
        return usual, kernel
    other = replace(options, cell=FASTER_CELL)
    library = choose_kernel(other, device)
    if library.backend != "library":
        return usual, kernel
    timers = []
    for chosen, runs in ((usual, kernel), (other, library)):
        made = _planner(chosen, data, device)(lambda model, train: math.inf)
        size = made.model.member.hidden_size
        model = _of_size(made.model, size if options.hidden_size else min(FIRST_SIZE, size))
        timers.append(_timer(model, made.train, data=data, device=device, kernel=runs))
    rounds = [[timer() for timer in timers] for _ in range(ROUNDS)]
    here, in_library = (min(seconds) for seconds in zip(*rounds, strict=True))
    return (other, library) if here > CLEARLY_FASTER * in_library else (usual, kernel)


def make_plan(
    options: TrainOptions,
    data: Dataset,
    device: torch.device,
    kernel: Kernel,
    known: int | None = None,
    pauses: Pauses | None = None,
    share: float = SHARE,
    turned: bool = False,
    world: World = ALONE,
) -> Plan:
    """Plan for this text and machine.

    Args:
        options: what the user asked for.
        data: the text.
        device: where the training will run.
        kernel: what will run the layers.
        known: the length of the texts that the network has learned from.
        pauses: notes the time in which the process is stopped meanwhile.
        share: of the training's time that measuring may take at most, about.
        turned: the network has learned pairs in the other direction.
        world: the processes that train together; this one measures its share of a batch.

    Raises:
        CorpusError: the text does not fill a window of every stream; it is a single document, and
            documents are to be kept apart.
        OptionError: a window does not fit into the memory.
    """
    make = _planner(options, data, device, known, turned)
    if not plan.by_clock(options):
        made = make(_unknown)
    else:
        timer_for = partial(_timer, data=data, device=device, kernel=kernel, world=world)
        first_size = (options.hidden_size or 0) // (options.ensemble or 1) or FIRST_SIZE
        made = measured(make, timer_for, first_size, pauses or Pauses(), share)
    _check_memory(made)
    return made


def anew(setup: Setup, minutes: float) -> Plan | None:
    """Plan a training anew for the minutes left; return None if its network stays the same."""
    options, before = replace(setup.options, minutes=minutes), setup.plan
    data, device, kernel = setup.data, setup.device, setup.kernel
    try:
        made = make_plan(
            options, data, device, kernel, before.known, share=SHARE_ANEW, world=setup.world
        )
    except OptionError:  # a larger network does not fit into the memory
        return None
    if made.model == before.model:
        return None
    train = replace(made.train, minutes=before.train.minutes)  # counted from the first start
    return replace(made, train=train)


def _unknown(model: ModelConfig, train: TrainConfig) -> float:
    raise AssertionError("steps and epochs are planned without a clock")


def _planner(
    options: TrainOptions,
    data: Dataset,
    device: torch.device,
    known: int | None = None,
    turned: bool = False,
) -> Callable[[Speed], Plan]:
    """Return what plans for a speed."""
    vocab_size = data.tokenizer.vocab_size
    if options.fill or data.reading.pairs:
        pairs = pairs_of(data, "train")
        return lambda speed: pair_plan.make(options, pairs, vocab_size, speed, known, turned=turned)
    votes = device.type == "cpu" and known is None  # side by side was measured on CPUs alone
    counted = 1.0  # share of the tokens of a window: not those that pad the ends of documents
    if options.reset_at_documents:
        if len(data.documents["train"]) < 2:
            raise CorpusError(
                f"{data.name} is one document, and --reset-at-documents would do nothing: name "
                "several files or a --document-separator"
            )
        options = replace(options, seq_len=options.seq_len or _document_window(data))
        windows = Documents.of(data.documents["train"], len(data.train), int(options.seq_len or 1))
        counted = len(data.train) / (windows.count * windows.seq_len)

    def make(speed: Speed) -> Plan:
        given = (options, len(data.train), vocab_size, speed)
        made = plan.make(*given, counted=counted, known=known, votes=votes)
        length = len(data.train) - made.train.kept_back
        streams.check_fit(length, made.train.batch_size, made.train.seq_len, data.name)
        return made

    return make


def _document_window(data: Dataset) -> int:
    """Return a window that reads most documents whole, but pads them little."""
    starts = data.documents["train"].astype(np.int64)
    lengths, counts = np.unique(np.diff(starts, append=len(data.train)), return_counts=True)
    sizes = np.arange(SHORTEST_WINDOW, TrainConfig.seq_len + 1)
    padded = [int(size * (-(-lengths // size) * counts).sum()) for size in sizes]
    return int(sizes[np.array(padded) <= MAX_PADDING * min(padded)][-1])


def _timer(
    model: ModelConfig,
    train: TrainConfig,
    *,
    data: Dataset,
    device: torch.device,
    kernel: Kernel,
    world: World = ALONE,
) -> Timer:
    """Return what measures the training of a network, after its first step.

    Of several processes one measures, on its share of the batch. The others wait for it, and the
    exchange of gradients is left out: if that slows down the training, it is planned anew.
    """
    batch_size = max(1, world.share(train.batch_size).stop)
    own, dealt = replace(train, batch_size=batch_size), train.batch_size / batch_size
    if model.encoder:
        updater, characters = _pair_updater(model, own, data, device, kernel)
    else:
        network = _new(network_of, model, own, device, kernel)
        steps = min(train.seq_len, MEASURED_WINDOW)
        ids = data.train[: batch_size * steps]
        short = streams.make(ids, batch_size, steps, model.start_token, None)
        updater = updater_of(network, lambda each: StreamBatches(each, short, own))
        characters = batch_size * steps * train.update_every / train.seq_len

    def step() -> object:
        return updater.update(1e-3)

    step()
    return lambda: timing.sample(step) / (characters * dealt * model.ensemble)


def _new(
    kind: Callable[..., N],
    model: ModelConfig,
    train: TrainConfig,
    device: torch.device,
    kernel: Kernel,
) -> N:
    """Return a network whose speed is measured."""
    network = kind(
        model,
        parameters.initial(model, 0),
        regularizers=train,
        sequence=kernel.run,
        bf16=kernel.bf16,
    )
    return network.to(device)


def _pair_updater(
    model: ModelConfig, train: TrainConfig, data: Dataset, device: torch.device, kernel: Kernel
) -> tuple[Updater, float]:
    """Return what trains on pairs of usual lengths, and the characters of an update."""
    part = pairs_of(data, "train")
    if isinstance(part, GapText):
        part = part.usual(train.batch_size)
    order = np.lexsort((part.target_lengths, part.source_lengths))
    first = max(0, len(order) - train.batch_size) // 2
    usual = order[first : first + train.batch_size]
    read = PairPart.of([(part.source(n), part.target(n)) for n in map(int, usual)])
    network = _new(pair_network, model, train, device, kernel)
    tokenizer = EndingTokenizer(data.tokenizer)  # in gaps its end is the mark

    def batches(each: CharRNN) -> Batches:
        return PairBatches(cast(PairRNN, each), read, tokenizer, train)

    return updater_of(network, batches), len(read.ids)


def _check_memory(made: Plan) -> None:
    """Refuse a window that does not fit into the machine's memory, if its size is known.

    Raises:
        OptionError: says how much memory it would take.
    """
    needed, installed = plan.window_bytes(made.model, made.train), machine.installed()
    if installed is not None and needed > installed:
        if made.model.encoder:
            raise OptionError(
                f"a batch of pairs would take about {needed / 1e9:.0f} GB until its gradient is "
                f"known, and the machine has {installed / 1e9:.0f}: lower --batch-size or "
                "--hidden-size, or leave out the longest pairs"
            )
        raise OptionError(
            f"a window of {made.train.seq_len:,} steps would take about {needed / 1e9:.0f} GB "
            f"until its gradient is known, and the machine has {installed / 1e9:.0f}: lower "
            "--seq-len, --batch-size or --hidden-size"
        )
