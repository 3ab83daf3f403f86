"""The command line: one short file per command, built on the library."""

import time

# The minutes of a training start here, before anything else is imported.
STARTED = time.perf_counter()
