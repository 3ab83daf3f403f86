"""One thread for each model: it reads prompts, writes all texts as one batch, and scores.

Only this thread uses the model. Between two slices of writing it lets new requests join, and those
leave whose clients are gone. While it reads a long prompt or scores a text, it writes on in turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from charrnn.errors import CharRNNError, RunError
from charrnn.generator import Generator
from charrnn.server.limits import Limits
from charrnn.server.requests import RequestError

# How long a slice of writing takes, between which requests join, leave and get their characters:
# with many texts longer, as each of them is sent by itself.
_SLICE_SECONDS, _SLICE_SECONDS_PER_TEXT, _MAX_SLICE_SECONDS = 0.012, 0.0006, 0.05
_JOINING_SECONDS = 0.03  # of reading prompts in a row
_PAUSE_SECONDS = 0.02  # between two looks whether a client reads, if all others have their texts

Breathe = Callable[[int], object]  # called now and then by what takes long; may raise Gone


class Gone(Exception):  # noqa: N818 - not an error
    """The client of a request is gone, or its time is over."""


class Outbox:
    """Brings what a thread has to say to the event loop, many events at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hold nothing yet."""
        self._loop = loop
        self._events: list[tuple[asyncio.Queue[Any], object]] = []

    def put(self, queue: asyncio.Queue[Any], event: object) -> None:
        """Add an event for whoever reads this queue."""
        self._events.append((queue, event))

    def flush(self) -> None:
        """Send the events."""
        if not self._events:
            return
        events, self._events = self._events, []
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
            self._loop.call_soon_threadsafe(_deliver, events)


def _deliver(events: list[tuple[asyncio.Queue[Any], object]]) -> None:
    for queue, event in events:
        queue.put_nowait(event)


class Job(Protocol):
    """A request to a model.

    Attributes:
        gone: whether nobody waits for it any more.
        deadline: by `time.monotonic`.
        notices: what its client is to know.
        rows: how many texts it writes.
        characters: of its prompt.
    """

    gone: bool
    deadline: float
    notices: list[str]
    rows: int
    characters: int

    def start(self, worker: Worker, breathe: Breathe) -> bool:
        """Begin; return whether texts are to be written, slice by slice."""
        ...

    def pace(self) -> None:
        """Let texts wait whose client does not read, before a slice."""
        ...

    def show(self, *, late: bool) -> bool:
        """Send what a slice has written; return whether it is not over.

        With `late`, its time is over, and so is the job.
        """
        ...

    def fail(self, error: CharRNNError) -> None:
        """Send an error."""
        ...


class Worker:
    """Runs one model in a thread of its own.

    Attributes:
        generator: the model.
        crowd: the texts that are being written.
        outbox: sends what jobs have to say, after each slice.
        notices: gets what is to be said about the prompt that is being read.
    """

    def __init__(
        self, generator: Generator, limits: Limits, outbox: Outbox, notices: Notices
    ) -> None:
        """Start the thread; nobody else uses the generator from now on."""
        self.generator, self.crowd = generator, generator.together()
        self.outbox, self.notices, self._limits = outbox, notices, limits
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._writing: list[Job] = []
        self._retired = self._closed = False
        self._last_slice = 0.0
        self._thread = threading.Thread(target=self._run, name="charrnn-model", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether there is a job."""
        return bool(self._waiting or self._writing)

    def submit(self, job: Job) -> None:
        """Let a job wait for its turn.

        Raises:
            RequestError: too many jobs wait.
        """
        with self._changed:
            if self._closed:
                raise RequestError("the server is shutting down", 503)
            characters = job.characters + sum(each.characters for each in self._waiting)
            if (
                len(self._waiting) >= self._limits.waiting
                or characters > self._limits.waiting_characters
            ):
                raise RequestError(
                    f"{len(self._waiting)} requests are waiting already: try again later",
                    429,
                    kind="rate_limit_error",
                )
            self._waiting.append(job)
            self._changed.notify()

    def retire(self) -> None:
        """End the thread once there is no job any more."""
        with self._changed:
            self._retired = True
            self._changed.notify()

    def close(self) -> None:
        """End all jobs at their next slice, and the thread; wait for neither."""
        self._closed = True
        if self._changed.acquire(blocking=False):  # a signal may have come while it is held
            self._changed.notify()
            self._changed.release()

    def join(self, seconds: float) -> None:
        """Wait for the end of the thread, at most for this time."""
        self._thread.join(seconds)

    def _run(self) -> None:
        while self._wait():
            began = time.monotonic()
            while (job := self._next()) and time.monotonic() < began + _JOINING_SECONDS:
                self._start(job)
            if job:
                self._start(job)
            self._slice()
            if self._writing and not self.crowd.members:
                with self._changed:
                    self._changed.wait(_PAUSE_SECONDS)
        for job in (*self._writing, *self._waiting):
            job.fail(RequestError("the server is shutting down", 503))
        self._writing.clear()
        self._waiting.clear()
        self.outbox.flush()

    def _wait(self) -> bool:
        """Wait for something to do; return whether there is anything."""
        with self._changed:
            while not (self._closed or self._retired or self.busy):
                self._changed.wait(1.0)  # a signal handler cannot always notify
            return not self._closed and self.busy

    def _next(self) -> Job | None:
        """Return the next job for whose texts there is space."""
        with self._changed:
            space = self._limits.rows - sum(member.rows for member in self.crowd.members)
            if not self._waiting or self._waiting[0].rows > space:
                return None
            return self._waiting.popleft()

    def _start(self, job: Job) -> None:
        def breathe(done: int) -> None:
            if job.gone or self._closed or time.monotonic() > job.deadline:
                raise Gone
            if self._writing and time.monotonic() > self._last_slice + _SLICE_SECONDS:
                self._slice()

        self.notices.current = job.notices
        try:
            breathe(0)
            if job.start(self, breathe):
                self._writing.append(job)
        except Gone:
            job.fail(RequestError("the time for this request is over", 408))
        except Exception as error:
            job.fail(_as_answer(error))
        self.notices.current = None
        self.outbox.flush()

    def _slice(self) -> None:
        """Write some tokens of all texts, and send them."""
        for job in [job for job in self._writing if job.gone]:
            job.show(late=True)
            self._writing.remove(job)
        for job in self._writing:
            job.pace()
        error = None
        try:
            texts = sum(member.rows for member in self.crowd.members)
            seconds = _SLICE_SECONDS + _SLICE_SECONDS_PER_TEXT * texts
            self.crowd.write(min(seconds, _MAX_SLICE_SECONDS))
        except Exception as found:
            error = _as_answer(found)
        now = time.monotonic()
        if error is None:
            self._writing = [job for job in self._writing if job.show(late=now > job.deadline)]
        else:
            for job in self._writing:
                job.fail(error)
            self._writing, self.crowd = [], self.generator.together()
        self._last_slice = time.monotonic()
        self.outbox.flush()


class Notices:
    """Takes a model's sentences: about a prompt for its client, all others for the terminal."""

    def __init__(self, notify: Callable[[str], object]) -> None:
        """Give sentences to `notify` while no prompt is read."""
        self._notify = notify
        self.current: list[str] | None = None

    def __call__(self, sentence: str) -> None:
        """Take a sentence."""
        if self.current is None:
            self._notify(sentence)
        else:
            self.current.append(sentence)


def _as_answer(error: Exception) -> CharRNNError:
    """Return what a client is told; one request must not end the others, whatever is wrong."""
    if isinstance(error, CharRNNError):
        return error
    if isinstance(error, MemoryError):
        return RunError("out of memory: ask for less at a time")
    traceback.print_exception(error)
    return RunError(f"a defect of charrnn: {error!r}")
