"""Selects the engine of a model: compiled, on a CUDA device, or numpy where nothing compiles."""

from __future__ import annotations

import contextlib
import functools
import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from charrnn.compiler import background
from charrnn.compiler.cache import CFunction
from charrnn.config import EngineOptions, ModelConfig
from charrnn.counts.table import CountTable
from charrnn.errors import OptionError
from charrnn.inference.engine import Chooser, Engine
from charrnn.inference.interim_engine import InterimEngine
from charrnn.inference.network_arrays import OLDER_PRODUCT
from charrnn.inference.numpy_engine import NumpyEngine
from charrnn.inference.numpy_pair_engine import NumpyPairEngine
from charrnn.model.parameters import Parameters
from charrnn.model.saved_state import Prompted
from charrnn.storage import machine

if TYPE_CHECKING:
    from charrnn.inference.compiled_engine import CompiledEngine

COMPILING = "compiling for this machine: this takes some seconds, once"


class EngineSelector:
    """Makes the engine of a network, and replaces it where it does not run on this machine.

    Attributes:
        config: the architecture.
        engine: runs the network; made when it is first needed, which may take seconds.
        threads: how many run it on the CPU; None: as many as are worthwhile.
        device: cpu, cuda or cuda:N.
    """

    def __init__(
        self,
        config: ModelConfig,
        values: Parameters,
        options: EngineOptions,
        notify: Callable[[str], object],
        counts: CountTable | None = None,
    ) -> None:
        """Keep what the choice depends on.

        Args:
            config: the architecture.
            values: parameters by name.
            options: type of the weights, CPU threads and device.
            notify: gets a sentence where code is compiled, once, and where that fails.
            counts: of the training text, which are mixed with the network's predictions.
        """
        self._counts = counts
        self.config, self._values, self._options = config, values, options
        self._notify = notify
        self.device = options.device
        self.threads = machine.usable_threads(options.threads, notify)
        self._notify_compiling = functools.cache(lambda: notify(COMPILING))
        self._interim: InterimEngine | None = None

    def compiling(self) -> AbstractContextManager[None]:
        """Return a context in which it is said, once, that code is compiled."""
        from charrnn.compiler import cache

        return cache.notify_compiling(self._notify_compiling)

    @cached_property
    def engine(self) -> Engine:
        """Make the engine.

        Raises:
            OptionError: there is no such device, or the weights need an engine that fails here.
        """
        if self.config.encoder and self.device != "cpu":
            raise OptionError(
                f"--device {self.device} is for text models: pairs are written on the cpu"
            )
        if self._interim is not None:
            self._interim.wait()
        try:
            if self.device != "cpu":
                return self._cuda_engine()
            return self._compiled_engine()
        except compile_errors() as error:
            return self._numpy_engine(error)

    @property
    def writing(self) -> Engine:
        """What reads prompts and writes: at once, and the same as `engine`, which it may replace.

        Its states may be its own: `exact` returns those of `engine`.
        """
        if self._interim is None and "engine" not in vars(self):
            self._interim = self._begun()
        return self._interim or self.engine

    def exact(self, read: Prompted) -> Prompted:
        """Return what was read by `writing` as `engine` reads it; waits until that is compiled."""
        if self._interim is None:
            return read
        logits, state = self._interim.settled(read.logits, read.state)
        return replace(read, logits=logits, state=state)

    def older_engine(self) -> Engine:
        """Return a compiled engine that rounds as archives of before 30 November 2026 need it."""
        engine = self._compiled_engine()
        engine.load(self._values, OLDER_PRODUCT)
        return engine

    def replace_engine(self, engine: Engine) -> None:
        """Write with this engine from now on."""
        self.engine, self._interim = engine, None

    def prepare(self, chooser: Chooser, batch_size: int) -> None:
        """Compile or capture a choice of tokens, or let it be compiled while `writing` writes.

        Raises:
            OptionError: the device or the weights need an engine that fails here.
        """
        if self._interim is None and self.writing is not self._interim:
            with contextlib.suppress(OSError):
                if self._can_begin and self.engine.reproducible and not chooser.function.load():
                    self._interim = self._begin(self.engine, [])
        if self._interim is None:
            self._prepared(chooser, batch_size)
        else:
            self._interim.prepare(chooser, batch_size)

    def prepare_exactly(self, chooser: Chooser, batch_size: int) -> None:
        """Do what `prepare` does, and wait until all is compiled."""
        self.prepare(chooser, batch_size)
        if self._interim is not None:
            self._interim.finish(chooser, batch_size)

    @property
    def _can_begin(self) -> bool:
        return self.device == "cpu" and not self.config.encoder and background.usable()

    def _begun(self) -> InterimEngine | None:
        """Return an engine that writes while `engine` is compiled; None if nothing is missing."""
        if self._options.weights != "float32" or not self._can_begin:
            return None
        try:
            if self._counts:
                import charrnn.inference.counting  # noqa: F401 - declares what it needs
            from charrnn.inference.compiled_engine import compiled_functions

            functions = compiled_functions(self.config, self._options.weights)
            if all(function.load() for function in functions):
                return None
            network = NumpyEngine(self.config, self._values)
            return self._begin(self._counting(network), functions)
        except compile_errors():
            return None

    def _begin(self, early: Engine, functions: list[CFunction]) -> InterimEngine:
        self._notify_compiling()
        given = (early, len(self.config.state_sizes), functions)
        return InterimEngine(*given, lambda: self.engine, self._prepared)

    def _prepared(self, chooser: Chooser, batch_size: int) -> Engine:
        """Return the engine, ready to write: numpy from now on, if preparing it fails."""
        if not self.engine.reproducible and self.device == "cpu":
            return self.engine  # numpy's, which compiles nothing
        try:
            with self.compiling():
                self.engine.prepare(chooser, batch_size)
        except compile_errors() as error:
            self.engine = self._numpy_engine(error)
        return self.engine

    def _cuda_engine(self) -> Engine:
        from charrnn.inference.cuda_engine import CudaEngine
        from charrnn.network.module import choose_device

        device = choose_device(self.device)
        return self._counting(CudaEngine(self.config, self._values, device))

    def _compiled_engine(self) -> CompiledEngine:
        given = (self.config, self._values)
        weights, threads = self._options.weights, self.threads
        with self.compiling():
            if self.config.encoder:
                from charrnn.inference.compiled_pair_engine import CompiledPairEngine

                return CompiledPairEngine(*given, weights=weights, threads=threads)
            if self._counts:
                from charrnn.inference.counting import CompiledCountingEngine

                counts = self._counts
                return CompiledCountingEngine(*given, counts, weights=weights, threads=threads)
            from charrnn.inference.compiled_engine import CompiledEngine

            return CompiledEngine(*given, weights=weights, threads=threads)

    def _numpy_engine(self, error: Exception) -> Engine:
        """Return the engine that runs everywhere, unless the options ask for another one."""
        reason = f"which is not available here: {error}"
        if self._options.weights != "float32":
            message = f"--weights {self._options.weights} needs the compiled engine, {reason}"
            raise OptionError(message) from error
        if self.device != "cpu":
            raise OptionError(f"--device {self.device} fails here: {error}") from error
        self._notify(
            f"the compiled engine is not available here ({error}): numpy writes the same text, "
            "more slowly"
        )
        kind = NumpyPairEngine if self.config.encoder else NumpyEngine
        return self._counting(kind(self.config, self._values))

    def _counting(self, engine: Engine) -> Engine:
        """Return an engine that mixes the counts with this one's predictions, if there are any."""
        if not self._counts:
            return engine
        from charrnn.inference.counting import CountingEngine

        return CountingEngine(engine, self._counts)


def compile_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that mean that code cannot be compiled or loaded on this machine.

    numba or llvmlite is missing or does not load, a function does not compile, the cache folder
    cannot be used (numba raises RuntimeError), or a file in it is damaged. An error of any other
    kind is a defect of charrnn.
    """
    errors = (ImportError, OSError, RuntimeError, EOFError, pickle.UnpicklingError)
    try:
        from numba.core.errors import NumbaError
    except ImportError:
        return errors
    return (*errors, NumbaError)
