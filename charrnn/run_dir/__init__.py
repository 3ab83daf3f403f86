"""The folder of a run: its files, which run a user means, and what is known about all of them.

- `folder`: what each file of a run is called and holds; `course`: its reports; `run_text`: its text
- `find`: a run or a model by its path or its name, the newest one, and the folder of a new run
- `checkpoints`: what a training resumes from; verified, or not used
- `models`: the model of a file, or of a checkpoint
- `account`: what is known about each run; `removal`: remove one
- `recipe`: what a training is asked for, perhaps to repeat a run
- `lock`: one training at a time in a folder
"""

from charrnn.run_dir.course import COLUMNS, Course
from charrnn.run_dir.find import (
    MODEL_VARIABLE,
    RUNS,
    choose_run_dir,
    choose_seed_base,
    find_model,
    find_run,
    lasting_name,
    named,
    runs_in,
    seed_path,
    seeds_of,
)
from charrnn.run_dir.folder import DIVERGED, INTERRUPTED, RunDir
from charrnn.run_dir.models import in_words, read_model

__all__ = [
    "COLUMNS",
    "DIVERGED",
    "INTERRUPTED",
    "MODEL_VARIABLE",
    "RUNS",
    "Course",
    "RunDir",
    "choose_run_dir",
    "choose_seed_base",
    "find_model",
    "find_run",
    "in_words",
    "lasting_name",
    "named",
    "read_model",
    "runs_in",
    "seed_path",
    "seeds_of",
]
