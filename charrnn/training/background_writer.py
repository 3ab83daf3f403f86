"""What writes to the disk beside a training: a slow, full or missing disk does not stop it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from charrnn.errors import RunError

PATIENCE = 2.0  # seconds that a training waits for a job; then it goes on
RETRY = 15.0  # seconds until a job that failed is tried again
LAST_PATIENCE = 60.0  # seconds at the end of a training for what is not yet written

Job = Callable[[], None]


class Writer:
    """Does jobs in a thread of its own, in the order of their names' first coming.

    A job takes the place of one of its name that waits. One that fails is tried again until it
    succeeds or another takes its place. All jobs must be of values that no longer change.

    Args:
        tell: gets sentences about failures and their end, in the thread that calls the methods.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._changed = threading.Condition()
        self._jobs: dict[str, Job] = {}
        self._failed: dict[str, str] = {}
        self._told: dict[str, str] = {}
        self._thread = threading.Thread(target=self._work, daemon=True, name="charrnn-writer")

    def put(self, name: str, job: Job) -> None:
        """Have a job done; come back when it is, or at once where the disk is behind."""
        with self._changed:
            behind = bool(self._jobs or self._failed)
            self._jobs[name] = job
            self._changed.notify_all()
        if not self._thread.is_alive():
            self._thread.start()
        if not behind:
            self._wait(PATIENCE, until_failed=True)
        self.tell()

    def tell(self) -> None:
        """Tell of failures that are new, and of those that are over."""
        with self._changed:
            failed = dict(self._failed)
        for name, message in failed.items():
            if self._told.get(name) != message:
                self._tell(f"{message}; the training goes on, and tries again")
        for name in self._told.keys() - failed.keys():
            self._tell(f"{name}: written now")
        self._told = failed

    def finish(self) -> None:
        """Wait until all is written.

        Raises:
            RunError: something could not be, also not after some time.
        """
        self._wait(PATIENCE, until_failed=True)
        self.tell()
        if not self._wait(LAST_PATIENCE):
            with self._changed:
                names = ", ".join(self._jobs)
                why = next(iter(self._failed.values()), f"the disk takes no more ({names})")
            raise RunError(f"{why}; it was tried for {LAST_PATIENCE:.0f} s")
        self.tell()

    def _wait(self, seconds: float, until_failed: bool = False) -> bool:
        """Until nothing is to be done; False where that did not come."""
        with self._changed:
            self._changed.wait_for(
                lambda: not self._jobs or (until_failed and self._failed), seconds
            )
            return not self._jobs

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs)
                name, job = next(iter(self._jobs.items()))
            try:
                job()
            except Exception as error:  # told in the training's thread
                self._after_failure(name, str(error))
            else:
                self._after_success(name, job)

    def _after_failure(self, name: str, message: str) -> None:
        """The job stays, behind the others; soon it, or what took its place, is tried again."""
        with self._changed:
            self._failed[name] = message
            self._jobs[name] = self._jobs.pop(name)
            self._changed.notify_all()
            seen = dict(self._jobs)
            if seen.keys() <= self._failed.keys():
                self._changed.wait_for(lambda: self._jobs != seen, RETRY)

    def _after_success(self, name: str, job: Job) -> None:
        with self._changed:
            self._failed.pop(name, None)
            if self._jobs[name] is job:
                del self._jobs[name]
            self._changed.notify_all()
