"""Runs the server: from an address to the signal that ends it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from charrnn.config.serving import ServeOptions
from charrnn.errors import CharRNNError, OptionError
from charrnn.server import app
from charrnn.server.limits import Limits
from charrnn.server.models import Models

_HEAD_BYTES, _HEAD_SECONDS = 2**16, 20.0  # of the head of a request, and in which it must come
_READ_SECONDS = 60.0  # in which a client must read most of what was sent
_REFUSED = 64  # connections beyond the limit that get an answer
_FEWEST = 16  # connections that are tried where the system allows few open files
_FILES = 192  # that are open besides connections, at most; those that get a refusal included
_ENDING_SECONDS = 1  # in which connections may end after Ctrl-C


class Listening(socket.socket):
    """A socket that listens, and closes connections beyond a limit as they come.

    Attributes:
        limit: how many may be open.
    """

    limit = _FEWEST

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._open: set[socket.socket] = set()

    def accept(self) -> tuple[socket.socket, Any]:
        """Return a new connection; asyncio waits for the next one where it is closed already."""
        made, peer = super().accept()
        if len(self._open) >= self.limit:
            self._open = {each for each in self._open if each.fileno() >= 0}
        if len(self._open) >= self.limit:
            made.close()
            raise ConnectionAbortedError("there are too many connections")
        self._open.add(made)
        return made, peer


class _Protocol(H11Protocol):
    """HTTP/1.1, in which a connection that does not ask, or does not read, is closed in the end."""

    _waiting: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for timer in filter(None, (self._waiting, self._unread)):
            timer.cancel()

    def pause_writing(self) -> None:
        """Begin to wait until the client reads what was sent."""
        super().pause_writing()
        self._unread = self.loop.call_later(_READ_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread:
            self._unread.cancel()

    def _watch(self) -> None:
        """Begin to wait for the head of a request, or end that."""
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self._waiting is None:
            self._waiting = self.loop.call_later(_HEAD_SECONDS, self._give_up)
        elif not idle and self._waiting:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        self._waiting = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()  # closing would wait for a client that does not read


class Server(uvicorn.Server):
    """A server that ends what it writes as soon as a signal asks it to end.

    Attributes:
        models: that it offers.
    """

    def __init__(self, config: uvicorn.Config, models: Models) -> None:
        super().__init__(config)
        self.models = models

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End all jobs, and then the server."""
        self.models.close()
        super().handle_exit(sig, frame)


def listen(options: ServeOptions) -> Listening:
    """Return a socket that listens.

    Raises:
        OptionError: the port is taken, or this machine does not have the address.
    """
    made = None
    try:
        found = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)
        family, *_, address = found[0]
        made = Listening(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except OSError as error:
        if made:
            made.close()
        if error.errno == errno.EADDRINUSE:
            message = f"--port {options.port} is taken by another program: give another one"
        elif error.errno == errno.EACCES:
            message = f"--port {options.port} is not allowed: give one from 1024 on"
        else:
            message = f"--host {options.host} is not an address of this machine: {error.strerror}"
        raise OptionError(message) from None
    return made


def address(listening: socket.socket, options: ServeOptions) -> str:
    """Return the address of the page, with the token if there is one."""
    host, port = options.host, listening.getsockname()[1]
    shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    shown = f"[{shown}]" if ":" in shown else shown
    return f"http://{shown}:{port}/" + (f"#token={options.token}" if options.token else "")


def server(
    models: Models,
    options: ServeOptions,
    notify: Callable[[str], object],
    limits: Limits = Limits(),  # noqa: B008 - it cannot be changed
) -> Server:
    """Return a server that has not begun.

    Args:
        models: that it offers.
        options: who may ask.
        notify: gets a sentence where charrnn itself is at fault.
        limits: what may be asked.
    """
    config = uvicorn.Config(
        app.make(models, options, limits, notify),
        http=_Protocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        limit_concurrency=_possible_connections(limits.connections),
        timeout_graceful_shutdown=_ENDING_SECONDS,
        h11_max_incomplete_event_size=_HEAD_BYTES,
    )
    return Server(config, models)


def _possible_connections(wanted: int) -> int:
    """Let this process open more files if need be; return how many connections it may have."""
    try:
        import resource
    except ModuleNotFoundError:  # on Windows, sockets are not limited like this
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted + _FILES:
        soft = wanted + _FILES if hard == resource.RLIM_INFINITY else min(wanted + _FILES, hard)
        with contextlib.suppress(ValueError, OSError):  # some systems allow less than they say
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return min(wanted, max(_FEWEST, soft - _FILES))
    return wanted


def serve(made: Server, listening: Listening, ready: Callable[[], object]) -> None:
    """Answer requests until a signal comes, which is then raised as usual.

    Args:
        made: by `server`.
        listening: a socket, as `listen` returns it.
        ready: called when requests are about to be answered.
    """
    # Those that are beyond the number of connections, but not of these, get an answer that says so.
    listening.limit = (made.config.limit_concurrency or 0) + _REFUSED
    try:
        asyncio.run(_run(made, listening, ready))
    finally:
        made.models.close()
        made.models.join(_ENDING_SECONDS)


async def _run(made: Server, listening: Listening, ready: Callable[[], object]) -> None:
    asyncio.get_running_loop().call_soon(ready)
    loading = asyncio.create_task(_load_first(made.models))
    await made.serve([listening])
    loading.cancel()


async def _load_first(models: Models) -> None:
    """Load the first model before it is asked for; a request says what is wrong with it."""
    with contextlib.suppress(CharRNNError):
        await models.get(None)
