"""The command ``charrnn``, also as ``python -m charrnn``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; Ctrl-C ends it without a traceback even while it is being imported."""
    try:
        from charrnn.cli.app import run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
