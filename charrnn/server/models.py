"""The models of a server: those it was given, and the runs in ./runs, by name.

A model is loaded when it is first asked for, and again when its file has changed, as that of a run
does that is training: texts that are being written end with the old one.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from charrnn.compiler import background
from charrnn.config import EngineOptions, SampleConfig, to_json
from charrnn.decoding import compiled
from charrnn.decoding.filters import only_temperature
from charrnn.errors import ModelError, nearest
from charrnn.generator import Generator
from charrnn.inference.compiled_engine import CompiledEngine
from charrnn.inference.select import compile_errors
from charrnn.model.bases import BASES
from charrnn.model.model_file import MODEL_NAME
from charrnn.run_dir import RunDir, find_model, read_model, runs_in
from charrnn.server.limits import Limits
from charrnn.server.requests import RequestError
from charrnn.server.worker import Notices, Outbox, Worker

Signature = tuple[int, ...]
T = TypeVar("T")


@dataclass(frozen=True)
class Loaded:
    """A model in memory.

    Attributes:
        signature: of the file that it was read from.
        worker: runs it.
        filters: is done when texts can be written with more than a temperature, if more slowly.
    """

    signature: Signature
    worker: Worker
    filters: asyncio.Task[None]


class Models:
    """Finds and loads models; all methods but `close` belong to the event loop."""

    def __init__(
        self,
        given: Sequence[Path],
        engine: EngineOptions,
        limits: Limits,
        notify: Callable[[str], object],
        cell: str | None = None,
    ) -> None:
        """Find the given models; by default the one that every command takes.

        Args:
            given: files, or runs by their folder or name.
            engine: what runs them.
            limits: of the server.
            notify: gets what is to be said on the terminal.
            cell: of the given models, if it is one of the user's own.

        Raises:
            ModelError: one does not exist.
        """
        self._engine, self._limits, self._notify, self._cell = engine, limits, notify, cell
        paths = [find_model(path) for path in given] or [find_model(None)]
        self.given: dict[str, Path] = {}
        for path in paths:
            name = _name(path)
            self.given[name if name not in self.given else str(path)] = path
        self._loaded: OrderedDict[str, Loaded] = OrderedDict()
        self._locks: dict[str, asyncio.Lock] = {}
        self._retired: list[Worker] = []

    def paths(self) -> dict[str, Path]:
        """Return all models by name: the given ones first, then those of ./runs, newest first."""
        runs = {run.path.name: run.model for run in reversed(runs_in()) if run.model.exists()}
        given = {path.resolve() for path in self.given.values()}
        others = {name: path for name, path in runs.items() if path.resolve() not in given}
        return {**self.given, **{n: path for n, path in others.items() if n not in self.given}}

    def find(self, name: str | None) -> tuple[str, Path]:
        """Return the name and the path of a model; by default of the first one.

        Raises:
            RequestError: there is none of that name.
        """
        if name is None:
            return next(iter(self.given.items()))
        if name in self.given:
            return name, self.given[name]
        known = self.paths()
        if name not in known:
            message = f"the model '{name[:80]}' is not known: {nearest(name[:80], known)}"
            raise RequestError(message, 404, param="model")
        return name, known[name]

    async def get(
        self, asked: str | None, config: SampleConfig | None = None
    ) -> tuple[str, Worker]:
        """Return the name of a model and what runs it, as its file is now.

        Args:
            asked: its name; None: the first one.
            config: how it is to write; what that needs is compiled before.

        Raises:
            RequestError: there is none of that name.
            ModelError: its file is damaged, or needs a cell of its own.
        """
        name, path = await asyncio.to_thread(self.find, asked)
        async with self._locks.setdefault(name, asyncio.Lock()):
            found = self._loaded.get(name)
            signature = _signature(path, found)
            if found is None or found.signature != signature:
                loop = asyncio.get_running_loop()
                made = await _in_thread(partial(self._load, path, loop))
                self._forget(name)
                filters = asyncio.create_task(_in_thread(partial(_compile_filters, made)))
                found = self._loaded[name] = Loaded(signature, made, filters)
            self._loaded.move_to_end(name)
            while len(self._loaded) > self._limits.models:
                self._forget(next(iter(self._loaded)))
        if config and not (only_temperature(config) and not config.logit_bias):
            await asyncio.shield(found.filters)
        return name, found.worker

    def _load(self, path: Path, loop: asyncio.AbstractEventLoop) -> Worker:
        """Load a model, and begin to compile what most texts need, in another thread."""
        notices = Notices(self._notify)
        cell = self._cell if path in self.given.values() else None
        generator = Generator(read_model(path, cell), **to_json(self._engine), notify=notices)
        if generator.config.encoder:
            raise ModelError(
                "this model answers sources, and the server continues texts: use 'charrnn beam "
                "--source TEXT' or 'charrnn fill TEXT'"
            )
        generator.prepare(SampleConfig(), wait=False)
        return Worker(generator, self._limits, Outbox(loop), notices)

    def _forget(self, name: str) -> None:
        found = self._loaded.pop(name, None)
        if found:
            found.worker.retire()
            self._retired = [worker for worker in self._retired if worker.busy]
            self._retired.append(found.worker)

    def close(self) -> None:
        """End all jobs soon; a signal handler may call this."""
        for worker in self._workers():
            worker.close()

    def join(self, seconds: float) -> None:
        """Wait for the threads."""
        for worker in self._workers():
            worker.join(seconds)

    def _workers(self) -> list[Worker]:
        return [*(found.worker for found in self._loaded.values()), *self._retired]


async def _in_thread(function: Callable[[], T]) -> T:
    """Return what a function returns; unlike those of asyncio, the thread lets the process end."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def finish(found: T | None, error: Exception | None) -> None:
        if result.done():  # nobody waits any more
            return
        if error is None:
            result.set_result(cast(T, found))
        else:
            result.set_exception(error)

    def run() -> None:
        found, raised = None, None
        try:
            found = function()
        except Exception as error:
            raised = error
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(finish, found, raised)

    threading.Thread(target=run, name="charrnn-loading", daemon=True).start()
    return await result


def _compile_filters(worker: Worker) -> None:
    """Compile the choice by filters, which takes longer than all else: nobody waits for it before.

    Where another process compiles, texts are written meanwhile. Where compiling fails, the worker's
    own attempt says so.
    """
    if background.usable():
        with contextlib.suppress(OSError):
            background.begin([compiled.by_filters], urgent=False)
    elif isinstance(worker.generator.engine, CompiledEngine):
        with contextlib.suppress(*compile_errors()):
            compiled.by_filters.address  # noqa: B018 - compiles


def _name(path: Path) -> str:
    """Return the name that clients call a model by."""
    for name, base in BASES.items():
        if path == base:
            return name
    folder = RunDir.of_model(path).path.resolve().name
    if path.is_dir():  # a checkpoint
        return f"{folder}-{path.name}"
    return folder if path.name == MODEL_NAME else path.stem


def _signature(path: Path, loaded: Loaded | None) -> Signature:
    """Return what differs once a file was replaced; where it is gone, a loaded model stays."""
    try:
        found = path.stat()
    except OSError as error:
        if loaded:
            return loaded.signature
        raise ModelError(f"the file of this model is gone: {error.strerror}") from None
    return found.st_mtime_ns, found.st_size, found.st_ino


def described(name: str, path: Path) -> Mapping[str, Any]:
    """Return a model as the protocol lists it."""
    try:
        created = int(path.stat().st_mtime)
    except OSError:
        created = 0
    return {"id": name, "object": "model", "created": created, "owned_by": "charrnn"}
