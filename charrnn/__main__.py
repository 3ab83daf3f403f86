"""The command ``charrnn``, also as ``python -m charrnn``."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the command line; Ctrl-C ends it without a traceback even while it is being imported."""
    try:
        from charrnn.cli.start_up import importing, load_torch_library

        if sys.argv[1:2] == ["train"] and not {"-h", "--help"}.intersection(sys.argv):
            load_torch_library()
        with importing():
            from charrnn.cli.app import run

        run()
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        gc.freeze()  # nothing has to be searched for garbage when all of it ends


if __name__ == "__main__":
    main()
