"""The command line: a thin shell over the library, one file per command."""

import time

# The minutes of a training count from here: nothing of the command is imported earlier.
STARTED = time.perf_counter()
