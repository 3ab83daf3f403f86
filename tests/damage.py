"""Damage data in each of its places: a file may be cut off anywhere, and any bit may flip."""

from __future__ import annotations

from collections.abc import Iterator


def truncations(data: bytes) -> Iterator[bytes]:
    """Yield every beginning of some data, from none of it to all but its last byte."""
    for end in range(len(data)):
        yield data[:end]


def flips(data: bytes) -> Iterator[bytes]:
    """Yield data once for each byte, with one bit of it flipped: another one from byte to byte."""
    for at, byte in enumerate(data):
        yield data[:at] + bytes([byte ^ 1 << at % 8]) + data[at + 1 :]
