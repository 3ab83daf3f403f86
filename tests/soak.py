"""Try everything that can go wrong with a run, many times: ``python tests/soak.py --minutes 30``.

Every test that has a long form runs in it: those of kills, signals, failing disks and damaged
files, properties of random examples, and networks of every form. Then `tests/fuzz.py` makes
untrusted files for the given minutes. A table on stdout says what was tried, how often, and how
often something was lost; the exit code is 1 if anything was.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
LONG_FORMS = {"times", "report_trials"}  # the fixtures of tests that have one
UNTRUSTED = (
    "untrusted files (model, checkpoint, options, tokenizer, dataset, pairs, archive, registry)"
)
TRIED = re.compile(r"^(?:inputs tried|stat::number_of_executed_units): (\d+)", re.MULTILINE)


class Faults:
    """A pytest plugin that counts how often each fault was tried and how often data was lost."""

    def __init__(self) -> None:
        self.tried: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()

    def add(self, fault: str, tried: int, lost: int = 0) -> None:
        self.tried[fault] += tried
        self.lost[fault] += lost

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out the tests that are the same in both forms."""
        items[:] = [item for item in items if has_long_form(item)]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.add(report.nodeid, 1, 1)
        elif report.when == "call":
            for fault, tried in report.user_properties:
                self.add(fault, int(str(tried)))

    def table(self) -> str:
        rows = [
            f"| {fault} | {tried:,} | {self.lost[fault]:,} |" for fault, tried in self.tried.items()
        ]
        return "\n".join(["| fault | tried | lost |", "|---|---|---|", *rows])


def has_long_form(item: pytest.Item) -> bool:
    marks = {mark.name for mark in item.iter_markers()}
    return bool(marks & {"soak", "hypothesis"} or LONG_FORMS & {*getattr(item, "fixturenames", ())})


def fuzz(minutes: float) -> tuple[int, int]:
    """Fuzz; return how many files were tried and how many did harm: 0, or 1, which ends it."""
    command = [sys.executable, str(TESTS / "fuzz.py"), "--minutes", str(minutes)]
    ended = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    counted = TRIED.findall(ended.stderr)
    if ended.returncode or not counted:
        sys.stderr.write(ended.stderr[-5000:])
        return max([1, *map(int, counted)]), 1
    return int(counted[-1]), 0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30, help="minutes of fuzzing")
    parser.add_argument("tests", nargs="*", help="for pytest, instead of all", default=[str(TESTS)])
    given = parser.parse_args()
    faults = Faults()
    code = pytest.main(["--soak", "--quiet", "--no-header", *given.tests], plugins=[faults])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        faults.add("the tests themselves", 1, 1)
    if given.minutes:
        faults.add(UNTRUSTED, *fuzz(given.minutes))
    sys.stdout.write(f"\n{faults.table()}\n")
    sys.exit(1 if faults.lost.total() else 0)


if __name__ == "__main__":
    main()
