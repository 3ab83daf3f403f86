"""Selects the engine of a model: compiled, on a CUDA device, or numpy where nothing compiles."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cached_property

from charrnn.config import EngineOptions, ModelConfig
from charrnn.errors import OptionError
from charrnn.inference.engine import Chooser, Engine
from charrnn.inference.numpy_engine import NumpyEngine
from charrnn.inference.pair_engine import PairEngine
from charrnn.model.parameters import Parameters
from charrnn.storage import machine

COMPILING = "compiling for this machine: this takes some seconds, once"


class EngineSelector:
    """Makes the engine of a network, and replaces it where it does not run on this machine.

    Attributes:
        engine: runs the network; made when it is first needed.
        threads: how many run it on the CPU; None: as many as are worthwhile.
    """

    def __init__(
        self,
        config: ModelConfig,
        values: Parameters,
        options: EngineOptions,
        notify: Callable[[str], object],
    ) -> None:
        """Keep what the choice depends on.

        Args:
            config: the architecture.
            values: parameters by name.
            options: type of the weights, CPU threads and device.
            notify: gets a sentence where code is compiled, once, and where that fails.
        """
        self._config, self._values, self._options = config, values, options
        self._notify = notify
        self.threads = machine.usable_threads(options.threads, notify)
        self._notify_compiling = functools.cache(lambda: notify(COMPILING))

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
        if self._config.encoder:
            return self._pair_engine()
        try:
            if self._options.device != "cpu":
                return self._cuda_engine()
            with self.compiling():
                from charrnn.inference.compiled_engine import CompiledEngine

                given = (self._config, self._values)
                return CompiledEngine(*given, weights=self._options.weights, threads=self.threads)
        except compile_errors() as error:
            return self._numpy_engine(error)

    def prepare(self, chooser: Chooser, batch_size: int) -> Engine:
        """Return the engine, ready to write: numpy from now on, if preparing it fails.

        Raises:
            OptionError: the device or the weights need an engine that fails here.
        """
        if isinstance(self.engine, NumpyEngine):
            return self.engine
        try:
            with self.compiling():
                self.engine.prepare(chooser, batch_size)
        except compile_errors() as error:
            self.engine = self._numpy_engine(error)
        return self.engine

    def _cuda_engine(self) -> Engine:
        from charrnn.inference.cuda_engine import CudaEngine
        from charrnn.network.module import choose_device

        return CudaEngine(self._config, self._values, choose_device(self._options.device))

    def _pair_engine(self) -> Engine:
        """Return the engine of a pair model, which runs on the CPU, in float32."""
        for option, given in (("--device", "device"), ("--weights", "weights")):
            value, needed = getattr(self._options, given), getattr(EngineOptions, given)
            if value != needed:
                raise OptionError(f"{option} {value} is for text models: use {needed}")
        return PairEngine(self._config, self._values)

    def _numpy_engine(self, error: Exception) -> Engine:
        """Return the engine that runs everywhere, unless the options ask for another one."""
        reason = f"which is not available here: {error}"
        if self._options.weights != "float32":
            message = f"--weights {self._options.weights} needs the compiled engine, {reason}"
            raise OptionError(message) from error
        if self._options.device != "cpu":
            raise OptionError(f"--device {self._options.device} fails here: {error}") from error
        self._notify(
            f"the compiled engine is not available here ({error}): numpy writes the same text, "
            "more slowly"
        )
        return NumpyEngine(self._config, self._values)


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
