"""Start the processes of a training on this machine, with torch's own launcher."""

from __future__ import annotations

import logging
import os
import sys
import uuid
from collections.abc import Sequence

from charrnn.storage import machine

# Cores for which --processes auto starts a process; see `charrnn.training.distributed`.
CORES_EACH = 8


def wanted(processes: int | str | None) -> int:
    """Return how many processes to start for ``--processes``; 1: this one trains.

    A process that was started with others trains with them.
    """
    if processes is None or "WORLD_SIZE" in os.environ:
        return 1
    if processes != "auto":
        return int(processes)
    import torch

    gpus = torch.cuda.device_count()
    return gpus or max(1, machine.cores() // CORES_EACH)


def launch(count: int, words: Sequence[str]) -> int:
    """Run ``charrnn WORDS`` in `count` processes; return the exit code.

    It is that of the first process that failed; signals go to all processes.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # The launcher tells of each failure at length; the processes have said what it is.
    logging.disable(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "charrnn", *words)
    except ChildFailedError as error:
        code = error.get_first_failure()[1].exitcode
        return code if code > 0 else 128 - code
    except SignalException as error:
        return 130 if error.sigval.name == "SIGINT" else 143
    return 0
