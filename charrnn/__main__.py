"""``python -m charrnn`` is the command ``charrnn``."""

from charrnn.cli.app import main

main()
