"""Options of ``charrnn serve``: where it listens, and who may ask."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any

from charrnn.config.fields import Options, flag, integer, string, switch
from charrnn.errors import OptionError, excerpt


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_host(name: str, value: Any) -> Any:
    if not re.fullmatch(r"[\w.:-]+", str(value), re.ASCII):
        raise OptionError(
            f"{flag(name)} '{excerpt(value)}' is not an address: use 127.0.0.1, or 0.0.0.0 for all "
            "addresses of this machine"
        )
    return value


def _check_token(name: str, value: Any) -> Any:
    if not re.fullmatch(r"[!-~]+", str(value)):
        raise OptionError(f"{flag(name)} must be visible ASCII characters without spaces")
    return value


@dataclass(frozen=True)
class ServeOptions(Options):
    """Where a server listens, and who may ask."""

    host: str = string(
        "127.0.0.1",
        "Address to listen on; one that other machines can reach needs --token or --no-token.",
        _check_host,
    )
    port: int = integer(0, 65535, 8000, "Port to listen on; 0 takes a free one.")
    open: bool = switch("Open the page in a browser.")
    token: str | None = string(
        None,
        "Answer only those who send this token, as OpenAI's clients send their API key.",
        _check_token,
        shown="none",
    )
    no_token: bool = switch("Answer everyone who can reach --host, without a token.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.token is not None and self.no_token:
            raise OptionError("--token and --no-token contradict each other: give one of them")
        if self.token is None and not self.no_token and not is_loopback(self.host):
            raise OptionError(
                f"--host {self.host} can be reached from other machines: add --token TOKEN, which "
                "clients must send, or --no-token to answer everyone"
            )
