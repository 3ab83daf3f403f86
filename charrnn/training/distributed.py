"""Several processes that train one network together: who they are, and what they exchange.

``torchrun`` starts the processes and says in the environment which of them each is. `join` makes a
`World` of that; nothing else knows of ranks. A process alone is a world of size 1, whose methods
return what they are given: no part of torch is imported for it.

    streams     each process reads its share of the B streams, always the same ones
    gradients   each process takes the gradient of its share of the mean loss; their sum, in one
                flat all-reduce, is the gradient of one process that reads all streams
    dropout     every process draws the masks of all B streams and uses those of its own, so that
                the random numbers of a stream are the same wherever it is read
    decisions   what follows from summed numbers (clipping, roll-back, divergence) is the same
                everywhere; what follows from a clock, a file or a signal is decided by the first
                process, or as soon as one process wants it, and exchanged before the next step
    files       the first process writes; the carried state of all streams goes to it for a
                checkpoint, so that any number of processes can go on from there

A process that ends closes its connections: the others then fail in their next exchange, and the
first that notices says so.

What a step costs with N processes, for P parameters, B streams of T steps, and layers of H units:

    compute      B * T / (N * s)             s: tokens per second of one process
    the same     P * a                       a: clipping and optimizer, which each does for all
    exchange     8 * P * (N - 1) / (N * w)   w: bytes per second of the slowest connection (ring)
                 + 2 * N * l                 l: its latency, also of the two small exchanges
    masks        B * H * d * layers          d: to draw one; times T if dropout is not locked
    imbalance    the slowest process, and the last stream where N does not divide B

`tests/benchmarks/processes.py` measures s, a, w and l on a machine, compares the formula with the
steps of several processes (what is left is imbalance), and evaluates it for 8 GPUs, 64 machines and
a terabyte of text. GPUs and networks were never measured: there it assumes 3e13 useful operations
per second, 1e11 bytes per second between the GPUs of a machine, 1e10 between machines.

With those, a step of 1e8 parameters and 256 streams of 64 for each of 8 GPUs computes for 330 ms,
exchanges for 7 ms and draws masks for 1 ms. Of 64 such machines it exchanges for 100 ms and draws
masks for 80 ms, and 64 % of the time is useful: these two break first. The exchange is one flat sum
after the whole gradient. Cut into a bucket for each layer, all but the last could be sent while
layers below compute; on CPUs that gains nothing, as the sum runs on the same cores, and inside a
machine of GPUs it is 2 % of a step, so it waits until there is a cluster to measure it on. Masks
could be drawn for a process's own streams if each stream had a generator of its own. A terabyte is
mapped, and each process reads its own streams; but every machine hashes all of it first, which
takes nine minutes at 2 GB per second.

``--processes auto`` starts one for each GPU, or for every eight cores. Of these, only that two
cores are left to the threads of one process was measured: two processes reach 0.92 of its speed at
3x512 (RESULTS). From how many cores on threads wait for each other longer than processes do is a
guess. To measure it, a training would have to start and join its processes before it plans, which
takes longer than the second that planning measures for.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from charrnn.errors import CharRNNError, OptionError, RunError, counted, excerpt
from charrnn.storage import machine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

T = TypeVar("T")
PATIENCE = timedelta(minutes=10)  # to wait for a process that neither answers nor ends
LOST = (
    "another process of this training has ended: start the same command with --resume, and it goes "
    "on from the newest checkpoint"
)
_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_joins = itertools.count()  # each needs names of its own in the store


@dataclass(frozen=True)
class World:
    """The processes of a training, seen from one of them.

    Attributes:
        rank: which process this is, from 0.
        size: how many there are.
        local_rank: which of those on this machine this is.
        local_size: how many are on this machine.
        store: torch's store, in which the processes note what was said; None for one alone.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    store: Any = field(default=None, compare=False, repr=False)

    @property
    def is_first(self) -> bool:
        """Whether this process prints and writes."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Return which of `count` streams are this process's; the first ones may have one more."""
        bounds = (-(-rank * count // self.size) for rank in (self.rank, self.rank + 1))
        return slice(*bounds)

    def check_streams(self, count: int) -> None:
        """Refuse to deal out streams of which some process would get none.

        Raises:
            OptionError: there are fewer streams than processes.
        """
        if count < self.size:
            raise OptionError(
                f"{counted(count, 'stream')} cannot be dealt out to {self.size:,} processes: give "
                f"--batch-size {self.size} or more, or start fewer processes"
            )

    def check_one_run(self, seeds: int | None) -> None:
        """Refuse to train several runs at once.

        Raises:
            OptionError: there are several processes, and `seeds` asks for several runs.
        """
        if seeds is not None and self.size > 1:
            raise OptionError(
                "--seeds trains one run after another, and several processes train one run "
                "together: leave out --seeds, or start one training for each --seed"
            )

    def check_names(self, names: Iterable[object]) -> None:
        """Refuse texts that only one process can read.

        Raises:
            OptionError: there are several processes, and one of the names is ``-``.
        """
        if self.size > 1 and "-" in map(str, names):
            raise OptionError(
                "several processes cannot read the text from stdin (-): write it to a file"
            )

    def threads(self, asked: int | None, notify: Callable[[str], object]) -> int | None:
        """Return how many threads to use: those asked for, or this process's part of the cores."""
        if asked is None and self.size > 1:
            return max(1, machine.cores() // self.local_size)
        return machine.usable_threads(asked, notify)

    def device(self, name: str) -> str:
        """Return the name of this process's device: each has a GPU of its own."""
        if self.size == 1 or name not in ("auto", "cuda"):
            return name
        import torch

        own = f"cuda:{self.local_rank}"  # only on CUDA
        return own if name == "cuda" or torch.cuda.is_available() else name

    def sum(self, values: Tensor) -> Tensor:
        """Replace a tensor by the sum of those of all processes; return it."""
        if self.size > 1:
            import torch.distributed as dist

            with _peers():
                dist.all_reduce(values)
        return values

    def joined(self, rows: NDArray[Any], count: int) -> NDArray[Any]:
        """Return all `count` rows, given this process's share of them."""
        if self.size == 1:
            return rows
        import torch

        whole = torch.zeros((count, *rows.shape[1:]), dtype=torch.from_numpy(rows).dtype)
        whole[self.share(count)] = torch.from_numpy(rows)
        return self.sum(whole).numpy()

    def scored(
        self,
        score: Callable[[NDArray[np.int64], NDArray[np.int64], Any], tuple[NDArray[Any], Any]],
        kinds: int,
        inputs: NDArray[np.int64],
        targets: NDArray[np.int64],
        state: Any,
    ) -> tuple[NDArray[Any], Any]:
        """Return the nats (K, T, B) of a window that is dealt out, and the state after it.

        Args:
            score: scores some columns of a window.
            kinds: K, how many nats of each target it returns.
            inputs: (T, B).
            targets: (T, B).
            state: the state before it, each part (B, H); only this process's rows are kept.
        """
        if self.size == 1:
            return score(inputs, targets, state)
        import torch

        own = self.share(inputs.shape[1])
        like = state[0][0]
        nats = torch.zeros((kinds, *inputs.shape), dtype=like.dtype)
        if own.start < own.stop:
            before = tuple(tuple(part[own] for part in layer) for layer in state)
            found, after = score(inputs[:, own], targets[:, own], before)
            nats[..., own] = torch.from_numpy(found)
            state = tuple(tuple(part.clone() for part in layer) for layer in state)
            for whole, some in zip(state, after, strict=True):
                for part, new in zip(whole, some, strict=True):
                    part[own] = new
        return self.sum(nats).numpy(), state

    def agreed(self, number: float) -> float:
        """Return the first process's number."""
        if self.size == 1:
            return number
        import torch
        import torch.distributed as dist

        given = torch.tensor([number], dtype=torch.float64)
        with _peers():
            dist.broadcast(given, 0)
        return float(given)

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process."""
        if self.size == 1:
            return flag
        import torch

        return bool(self.sum(torch.tensor([float(flag)])) > 0)

    def first(self, do: Callable[[], T]) -> T:
        """Let the first process do something; return its result, or raise its error, in all."""
        if self.size == 1:
            return do()
        import torch.distributed as dist

        done = [_tried(do) if self.is_first else (None, None)]
        with _peers():
            dist.broadcast_object_list(done, 0)
        return cast("T", _result(done[0]))

    def all(self, do: Callable[[], T]) -> list[T]:
        """Do something in each process; return all results, or raise the first error, in all."""
        if self.size == 1:
            return [do()]
        import torch.distributed as dist

        done: list[Any] = [None] * self.size
        with _peers():
            dist.all_gather_object(done, _tried(do))
        return [_result(each) for each in done]

    def in_turn(self, do: Callable[[], T]) -> T:
        """Do something in the first process of each machine, and after that in the others.

        What the first one leaves in a cache is then there for the others. An error of one is raised
        in all.
        """
        if self.size == 1:
            return do()
        done: list[T] = []
        for turn in (True, False):
            mine = turn == (self.local_rank == 0)
            self.all(lambda: done.append(do()) if mine else None)  # noqa: B023
        return done[0]

    def check_alike(self, what: Callable[[], Mapping[str, object]]) -> None:
        """Compare facts, by name, that must be the same in all processes.

        Raises:
            OptionError: says which one differs, where, and how.
        """
        if self.size == 1:
            return
        facts = {name: str(value) for name, value in what().items()}
        given = self.all(lambda: (platform.node(), facts))
        host, wanted = given[0]
        for rank, (other, found) in enumerate(given):
            for name in wanted:
                if found.get(name) == wanted[name]:
                    continue
                raise OptionError(
                    f"the processes of this training must be started alike: {name} is "
                    f"{excerpt(wanted[name])} in process 0 on {host}, and "
                    f"{excerpt(found.get(name))} in process {rank} on {other}"
                )

    def says(self) -> bool:
        """Return whether this process is the first to say why the training ends."""
        if self.store is None:
            return self.is_first
        try:
            return bool(self.store.add("said", 1) == 1)
        except RuntimeError:  # whoever kept the store has ended, too
            return True


ALONE = World()


@contextlib.contextmanager
def _peers() -> Iterator[None]:
    """Raise an error of torch's about another process as a sentence.

    Raises:
        RunError: another process has ended.
    """
    try:
        yield
    except RuntimeError as error:
        raise RunError(LOST) from error


def _tried(do: Callable[[], T]) -> tuple[T | None, CharRNNError | None]:
    try:
        return do(), None
    except CharRNNError as error:
        return None, error


def _result(done: tuple[Any, CharRNNError | None]) -> Any:
    value, error = done
    if error:
        raise error
    return value


@contextlib.contextmanager
def join() -> Iterator[World]:
    """Join the processes that ``torchrun`` has started, if there are several.

    All but the first print nothing meanwhile. An error is marked as `said` in all processes but the
    one that is to say it.

    Raises:
        OptionError: the processes have different versions of charrnn.
        RunError: they do not find each other, or one has ended.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or not all(map(os.environ.get, _VARIABLES)):
        yield ALONE
        return
    with _connected() as world:
        try:
            with _silence(world):
                world.check_alike(lambda: {"charrnn": machine.versions()["charrnn"]})
                yield world
        except CharRNNError as error:
            error.said = not world.says()
            raise


@contextlib.contextmanager
def _connected() -> Iterator[World]:
    """Connect with the other processes until this is left, unless they are connected already."""
    import torch
    import torch.distributed as dist
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]
    from torch.distributed.rendezvous import rendezvous

    if dist.is_initialized():  # by the program that trains
        yield _world(dist.get_rank(), dist.get_world_size(), None)
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        store, rank, size = next(iter(rendezvous("env://", timeout=PATIENCE)))
        # Those that were killed have left their addresses under the names of their attempt.
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = PrefixStore(f"charrnn/{attempt}/{next(_joins)}", store)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise RunError(f"the processes of this training do not find each other: {error}") from error
    try:
        yield _world(rank, size, store)
    finally:
        dist.destroy_process_group()


def _world(rank: int, size: int, store: Any) -> World:
    """Return the world of a process; without more said, all processes are on one machine."""
    local_rank = int(os.environ.get("LOCAL_RANK", rank))
    return World(rank, size, local_rank, int(os.environ.get("LOCAL_WORLD_SIZE", size)), store)


@contextlib.contextmanager
def _silence(world: World) -> Iterator[None]:
    """Let all processes but the first print nothing."""
    if world.is_first:
        yield
        return
    with (
        Path(os.devnull).open("w", encoding="utf-8") as null,
        contextlib.redirect_stdout(null),
        contextlib.redirect_stderr(null),
    ):
        yield
