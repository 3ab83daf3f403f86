"""The folder of a run: its files, which run a user means, and what is known about all of them.

- `folder`: what each file of a run is called and holds
- `find`: a run or a model by its path or its name, the newest one, and the folder of a new run
- `lock`: one training at a time in a folder
"""

from charrnn.run_dir.find import RUNS, check_resume, choose_run_dir, find_model, find_run
from charrnn.run_dir.folder import (
    COLUMNS,
    DIVERGED,
    INTERRUPTED,
    Course,
    RunDir,
    Starts,
    held_out,
)

__all__ = [
    "COLUMNS",
    "DIVERGED",
    "INTERRUPTED",
    "RUNS",
    "Course",
    "RunDir",
    "Starts",
    "check_resume",
    "choose_run_dir",
    "find_model",
    "find_run",
    "held_out",
]
