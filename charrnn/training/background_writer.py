"""Writes to the disk in a thread: a slow, full or missing disk does not stop a training."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from charrnn.errors import CharRNNError, RunError

PATIENCE = 2.0  # seconds that a training waits for a job before it goes on
RETRY = 15.0  # seconds until a failed job is tried again
LAST_PATIENCE = 60.0  # seconds at the end of a training for what is not yet written

Job = Callable[[], None]


class BackgroundWriter:
    """Does jobs in a thread, in the order in which their names were first used.

    A new job replaces a waiting one of the same name. A job that fails, by one of charrnn's own
    errors, is tried again until it succeeds or is replaced. Jobs must use values that no longer
    change.

    The methods return sentences about failures, and about failures that are over.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jobs: dict[str, Job] = {}
        self._failed: dict[str, str] = {}
        self._reported: dict[str, str] = {}
        self._bug: BaseException | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._work, daemon=True, name="charrnn-writer")

    def put(self, name: str, job: Job) -> list[str]:
        """Run a job; return when it is done, or at once if earlier jobs are still waiting."""
        with self._changed:
            behind = bool(self._jobs or self._failed)
            self._jobs[name] = job
            self._changed.notify_all()
        if not self._thread.is_alive():
            self._thread.start()
        if not behind:
            self._wait(PATIENCE, until_failed=True)
        return self._news()

    def finish(self) -> Iterator[str]:
        """Wait until everything is written, and end the thread: no job is done from then on.

        Raises:
            RunError: something could not be written, even after `LAST_PATIENCE`.
        """
        try:
            self._wait(PATIENCE, until_failed=True)
            yield from self._news()
            if not self._wait(LAST_PATIENCE):
                with self._changed:
                    names = ", ".join(self._jobs)
                    why = next(iter(self._failed.values()), f"the disk does not respond ({names})")
                raise RunError(f"{why}; gave up after {LAST_PATIENCE:.0f} s")
            yield from self._news()
        finally:
            self._end()

    def end(self) -> bool:
        """End the thread if everything is written in a moment; return whether it is."""
        done = self._wait(PATIENCE)
        if done:
            self._end()
        return done

    def _end(self) -> None:
        """End the thread, after the job that it is doing; another training may want the folder."""
        with self._changed:
            self._ended = True
            self._jobs.clear()
            self._changed.notify_all()

    def _news(self) -> list[str]:
        """Return sentences about new failures, and about those that are over.

        Raises:
            Exception: a job raised an error that is not charrnn's own.
        """
        with self._changed:
            failed = dict(self._failed)
            if self._bug:
                raise self._bug
        news = [
            f"{message}; training continues and will try again"
            for name, message in failed.items()
            if self._reported.get(name) != message
        ]
        news += [f"{name}: now written" for name in self._reported.keys() - failed.keys()]
        self._reported = failed
        return news

    def _wait(self, seconds: float, until_failed: bool = False) -> bool:
        """Wait until no job is left; return False if that takes longer."""
        with self._changed:
            self._changed.wait_for(
                lambda: not self._jobs or self._bug or (until_failed and self._failed), seconds
            )
            return not self._jobs

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._ended)
                if self._ended:
                    return
                name, job = next(iter(self._jobs.items()))
            try:
                job()
            except CharRNNError as error:
                self._after_failure(name, error.message)
            except BaseException as bug:  # raised in the training's thread by `_news`
                with self._changed:
                    self._bug = bug
                    self._changed.notify_all()
                return
            else:
                self._after_success(name, job)
            del job  # it holds what it wrote, which would stay in memory until the next one

    def _after_failure(self, name: str, message: str) -> None:
        """Move the job behind the others; if all have failed, wait before the next try."""
        with self._changed:
            if self._ended:
                return
            self._failed[name] = message
            self._jobs[name] = self._jobs.pop(name)
            self._changed.notify_all()
            seen = dict(self._jobs)
            if seen.keys() <= self._failed.keys():
                self._changed.wait_for(lambda: self._jobs != seen, RETRY)

    def _after_success(self, name: str, job: Job) -> None:
        with self._changed:
            self._failed.pop(name, None)
            if self._jobs.get(name) is job:
                del self._jobs[name]
            self._changed.notify_all()
