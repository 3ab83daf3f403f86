"""Download one file over https, resuming where an earlier download ended.

Only https is used, also after redirects, with the machine's certificates, and no more bytes than
stated are received. If the connection breaks, the bytes so far stay, and the next attempt asks for
the rest. The caller must compare a hash: nothing here knows whether it is the right file.
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
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

from charrnn.errors import RunError

if TYPE_CHECKING:
    from charrnn.text.notices import Notify

CHUNK = 1 << 16
TIMEOUT = 30.0  # seconds of silence
ATTEMPTS = 5  # in a row that receive nothing
PAUSE = 1.0  # seconds before the second attempt, twice as long before each further one
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # errors of a full disk
_TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})

DownloadProgress = Callable[[int, int | None], None]


class DownloadError(RunError):
    """A failed download: no such file, no such host, a broken connection."""


class _TemporaryError(Exception):
    """An error that another attempt may not meet."""


def download(url: str, part: Path, limit: int, progress: DownloadProgress, notify: Notify) -> None:
    """Download `url` into `part`, which may hold its beginning.

    Args:
        url: an https address.
        part: the file; the download resumes at its end if the server supports it.
        limit: the maximal size in bytes.
        progress: called with the bytes so far and, if known, the bytes of the whole.
        notify: called with sentences for the user.

    Raises:
        DownloadError: the message says what failed; `part` keeps the bytes so far.
    """
    host = urlsplit(url).hostname
    failures = 0
    while True:
        before = _size(part)
        try:
            _attempt(url, part, limit, progress)
            return
        except _TemporaryError as error:
            failures = failures + 1 if _size(part) <= before else 1
            if failures >= ATTEMPTS:
                kept = f"; {_size(part):,} bytes are saved: the same command continues from there"
                raise DownloadError(
                    f"{url}: {error}, {failures} times{kept if _size(part) else ''}"
                ) from None
            notify(f"{error}: trying again")
            time.sleep(PAUSE * 2 ** (failures - 1))
        except ssl.SSLCertVerificationError as error:
            raise DownloadError(
                f"{host} has no valid certificate ({error.verify_message}): nothing was fetched"
            ) from None


def _attempt(url: str, part: Path, limit: int, progress: DownloadProgress) -> None:
    """Make one request for the missing bytes."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"User-Agent": "charrnn"})
    if urlsplit(url).scheme != "https":
        raise DownloadError(f"{url}: only https is fetched")
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with _opener().open(request, timeout=TIMEOUT) as response:
            _receive(response, part, have, limit, progress)
    except urllib.error.HTTPError as error:
        error.close()
        answer = f"the server answers {error.code} {error.reason.partition(chr(10))[0]}"
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            part.unlink()  # longer than the file, so not its beginning
            raise _TemporaryError("the server's file is shorter than what was downloaded") from None
        if error.code in _TEMPORARY:
            raise _TemporaryError(answer) from None
        raise DownloadError(f"{url}: {answer}") from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise error.reason from None
        if isinstance(error.reason, socket.gaierror):
            raise DownloadError(f"{url}: no such host, or no network ({error.reason})") from None
        raise _TemporaryError(f"no connection ({error.reason})") from None
    except TimeoutError:
        raise _TemporaryError(f"nothing arrived for {TIMEOUT:g} seconds") from None
    except (http.client.HTTPException, ConnectionError, ssl.SSLError) as error:
        raise _TemporaryError(f"the connection broke ({error})") from None


class _SecureRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https only."""

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
    response: http.client.HTTPResponse,
    part: Path,
    have: int,
    limit: int,
    progress: DownloadProgress,
) -> None:
    """Append a response's body to `part`, or replace its content."""
    if response.status == http.client.PARTIAL_CONTENT:
        start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        if not have or not start or int(start[1]) != have:
            part.unlink(missing_ok=True)
            raise _TemporaryError("the server sent another range than requested")
    else:  # a server without ranges sends the whole file
        have = 0
    length = response.headers.get("Content-Length")
    whole = have + int(length) if length and length.isdecimal() else None
    if whole is not None and whole > limit:
        raise DownloadError(
            f"{response.url} has {whole:,} bytes, more than the {limit:,} that the registry allows"
        )
    with part.open("ab" if have else "wb") as file:
        progress(have, whole)
        while chunk := response.read(CHUNK):
            have += len(chunk)
            if have > limit:
                raise DownloadError(
                    f"{response.url} sends more than the {limit:,} bytes that the registry allows"
                )
            _write(file, chunk, part)
            progress(have, whole)
    if whole is not None and have < whole:  # `read` raises no error then
        raise _TemporaryError(f"the connection broke after {have:,} of {whole:,} bytes")


def _write(file: BinaryIO, chunk: bytes, part: Path) -> None:
    try:
        file.write(chunk)
        file.flush()
    except OSError as error:
        if error.errno in FULL:
            raise disk_full(part.parent) from error
        raise


def disk_full(folder: Path) -> DownloadError:
    """Return the error for a full disk."""
    return DownloadError(
        f"the disk of {folder} is full: free some space; the same command continues the download"
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
