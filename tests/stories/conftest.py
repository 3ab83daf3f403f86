"""Stories run the command as a person does: see `cli.conftest`."""

from cli.conftest import _server, cli

__all__ = ["_server", "cli"]
