"""The command ``charrnn``, also as ``python -m charrnn``."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point. Ctrl-C while the command is still being imported is no error either."""
    try:
        from charrnn.cli.app import run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
