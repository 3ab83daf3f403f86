"""One file over https, into a file that may hold its beginning already.

Only https, also after redirects, with the machine's certificates; no more bytes than stated. What
has arrived stays when the connection breaks, and the next attempt asks for the rest. Whether it is
the right file is not known here: whoever calls compares a hash.
"""

from __future__ import annotations

import errno
import http.client
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from charrnn.errors import RunError

CHUNK = 1 << 16
TIMEOUT = 30.0  # seconds of silence
ATTEMPTS = 5  # in a row without a byte
PAUSE = 1.0  # seconds before the second attempt, twice as long before each further one
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # what a full disk answers
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})

Arrived = Callable[[int, int | None], None]
Say = Callable[[str], None]


class DownloadError(RunError):
    """A download that failed: no such file, no such host, a connection that breaks."""


class _PassingError(Exception):
    """A fault that another attempt may not meet."""


def download(url: str, part: Path, limit: int, arrived: Arrived, say: Say) -> None:
    """Complete `part`, which may hold the beginning of what `url` names.

    Args:
        url: an https address.
        part: the file; what is in it is kept where the server can go on from there.
        limit: upper limit of its size in bytes.
        arrived: told the bytes that are there and, where known, the bytes of the whole.
        say: told what is worth a line.

    Raises:
        DownloadError: says what failed; what has arrived is kept.
    """
    host = urlsplit(url).hostname
    failures = 0
    while True:
        before = _size(part)
        try:
            _attempt(url, part, limit, arrived)
            return
        except _PassingError as error:
            failures = failures + 1 if _size(part) <= before else 1
            if failures >= ATTEMPTS:
                kept = f"; {_size(part):,} bytes are kept: the same command goes on from there"
                raise DownloadError(
                    f"{url}: {error}, {failures} times{kept if _size(part) else ''}"
                ) from None
            say(f"{error}: trying again")
            time.sleep(PAUSE * 2 ** (failures - 1))
        except ssl.SSLCertVerificationError as error:
            raise DownloadError(
                f"{host} cannot prove who it is ({error.verify_message}): nothing was fetched"
            ) from None


def _attempt(url: str, part: Path, limit: int, arrived: Arrived) -> None:
    """Ask once, for what is missing."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"User-Agent": "charrnn"})
    if urlsplit(url).scheme != "https":
        raise DownloadError(f"{url}: only https is fetched")
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with _opener().open(request, timeout=TIMEOUT) as response:
            _receive(response, part, have, limit, arrived)
    except urllib.error.HTTPError as error:
        error.close()
        answer = f"the server answers {error.code} {error.reason.partition(chr(10))[0]}"
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            part.unlink()  # it is longer than the file: not its beginning
            raise _PassingError("the server has less than is here") from None
        if error.code in _PASSING:
            raise _PassingError(answer) from None
        raise DownloadError(f"{url}: {answer}") from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise error.reason from None
        if isinstance(error.reason, socket.gaierror):
            raise DownloadError(f"{url}: no such host, or no network ({error.reason})") from None
        raise _PassingError(f"no connection ({error.reason})") from None
    except TimeoutError:
        raise _PassingError(f"nothing came for {TIMEOUT:g} seconds") from None
    except (http.client.HTTPException, ConnectionError, ssl.SSLError) as error:
        raise _PassingError(f"the connection broke ({error})") from None


class _SecureRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https alone."""

    def redirect_request(  # type: ignore[no-untyped-def]
        self, req, fp, code, msg, headers, newurl
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme != "https":
            fp.close()
            raise DownloadError(f"{req.full_url} redirects to {newurl}: only https is fetched")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    secure = urllib.request.HTTPSHandler(context=ssl.create_default_context())
    return urllib.request.build_opener(_SecureRedirects(), secure)


def _receive(
    response: http.client.HTTPResponse, part: Path, have: int, limit: int, arrived: Arrived
) -> None:
    """Write a response's body behind what is there, or in its place."""
    if response.status == http.client.PARTIAL_CONTENT:
        start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        if not have or not start or int(start[1]) != have:
            part.unlink(missing_ok=True)
            raise _PassingError("the server sent another part than was asked for")
    else:  # a server that knows no ranges sends all
        have = 0
    length = response.headers.get("Content-Length")
    whole = have + int(length) if length and length.isdecimal() else None
    if whole is not None and whole > limit:
        raise DownloadError(
            f"{response.url} has {whole:,} bytes, more than the {limit:,} it may have"
        )
    with part.open("ab" if have else "wb") as file:
        arrived(have, whole)
        while chunk := response.read(CHUNK):
            have += len(chunk)
            if have > limit:
                raise DownloadError(f"{response.url} sends more than the {limit:,} bytes it may")
            _write(file, chunk, part)
            arrived(have, whole)
    if whole is not None and have < whole:  # `read` ends there without a word
        raise _PassingError(f"the connection broke after {have:,} of {whole:,} bytes")


def _write(file: BinaryIO, chunk: bytes, part: Path) -> None:
    try:
        file.write(chunk)
        file.flush()
    except OSError as error:
        if error.errno in FULL:
            raise no_room(part.parent) from error
        raise


def no_room(folder: Path) -> DownloadError:
    """The error of a disk that is full."""
    return DownloadError(
        f"no room is left in {folder}: make some; the same command goes on from what is there"
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
