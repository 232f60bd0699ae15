"""Ask a server for a file from some byte on, and say in one line why that does not work.

Proxies are those of the environment (`https_proxy`, `http_proxy`, `no_proxy`). Redirections to anything but http and
https are refused: an answer must not make this program read a local file.
"""

from __future__ import annotations

import http.client
import re
import ssl
import time
import urllib.error
import urllib.request
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from c2d.core import __version__
from c2d.core.download.remote_file import RemoteFile
from c2d.core.errors import RunError, first_line

BUSY = (408, 425, 429, 500, 502, 503, 504)
"""Answers of a server that may give another one a little later."""
NO_RANGE = 416


class BrokenOff(Exception):
    """A transfer ended early; another attempt may continue it.

    Attributes:
        wait_s: what the server asks to wait for, in seconds.
        part_is_useless: the next attempt has to begin at the first byte.
    """

    def __init__(self, reason: str, wait_s: float = 0.0, part_is_useless: bool = False) -> None:
        super().__init__(reason)
        self.wait_s = wait_s
        self.part_is_useless = part_is_useless


class Answer(NamedTuple):
    """A file that a server sends.

    Attributes:
        response: to read from, and to close.
        start: place of its first byte in the file.
        total: size of the whole file in bytes; None where the server does not tell.
    """

    response: Any
    start: int
    total: int | None


def request_file(remote: RemoteFile, have: int, validator: str, silence_s: float) -> Answer:
    """Ask for a file, without its first bytes if it is still the same one.

    Args:
        remote: the file.
        have: bytes that are here already; the server may send them again.
        validator: value of If-Range; "" to ask without it.
        silence_s: seconds without a byte after which the connection is closed.

    Raises:
        BrokenOff: another attempt may succeed.
        RunError: it cannot.
    """
    headers = {"User-Agent": f"c2d/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if validator:
            headers["If-Range"] = validator
    try:
        response = _opener().open(urllib.request.Request(remote.url, headers=headers), timeout=silence_s)
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(remote, error) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _connection_error(remote, error) from None
    if response.status != 206:
        length = response.headers.get("Content-Length", "")
        return Answer(response, 0, int(length) if length.isdecimal() else None)
    given = response.headers.get("Content-Range", "").strip()
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", given)
    if not found or int(found[1]) != have:
        response.close()
        raise BrokenOff(f"asked for the bytes from {have} on, the server sent '{given}'", part_is_useless=True)
    return Answer(response, have, int(found[2]) if found[2] != "*" else None)


def read_chunk(answer: Answer, most: int, silence_s: float) -> bytes:
    """Return the next bytes of an answer; none at its end.

    Args:
        answer: of `request_file`.
        most: bytes at once.
        silence_s: for the message.

    Raises:
        BrokenOff: the connection broke, or was silent for too long.
    """
    try:
        return bytes(answer.response.read1(most))
    except TimeoutError:
        raise BrokenOff(f"no byte for {silence_s:g} s") from None
    except (OSError, http.client.HTTPException) as error:
        raise BrokenOff(first_line(error)) from None


def by_hand(remote: RemoteFile) -> str:
    """Return the end of a message: what a person can do where the address does not work."""
    return f"; or {remote.by_hand}" if remote.by_hand else ""


def _refusal(remote: RemoteFile, error: urllib.error.HTTPError) -> Exception:
    """Return the exception for an answer that is no file."""
    answer = f"{error.code} {error.reason}"
    if error.code == NO_RANGE:
        return BrokenOff(f"the server has no bytes from there on ({answer})", part_is_useless=True)
    if error.code in BUSY:
        return BrokenOff(f"the server answered {answer}", _retry_after(error.headers.get("Retry-After", "")))
    return RunError(f"{remote.url}: the server answered {answer}; try again later{by_hand(remote)}")


def _connection_error(remote: RemoteFile, error: Exception) -> Exception:
    """Return the exception for a connection that was not made."""
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return RunError(
            f"{remote.url}: the certificate is not trusted ({reason.verify_message}); name the certificates of your "
            "site with SSL_CERT_FILE"
        )
    text = first_line(reason) if isinstance(reason, BaseException) else str(reason)
    if isinstance(reason, TimeoutError | ConnectionResetError | http.client.HTTPException):
        return BrokenOff(text)
    return RunError(
        f"cannot connect to {remote.url}: {text}; call the command on a machine with a network (a proxy is named by "
        f"https_proxy and http_proxy){by_hand(remote)}"
    )


def _retry_after(value: str) -> float:
    """Return the seconds of a Retry-After header, a number or a date; 0 where it is neither."""
    if value.strip().isdecimal():
        return float(value)
    with suppress(ValueError, TypeError):
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    return 0.0


class _HttpRedirects(urllib.request.HTTPRedirectHandler):
    """Follow a redirection to http and https only, and never from https to http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        scheme = newurl.partition(":")[0].lower()
        if scheme not in ("http", "https") or (req.type == "https" and scheme == "http"):
            raise urllib.error.HTTPError(req.full_url, code, f"redirection to {newurl} refused", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """Return an opener for http and https alone."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        _HttpRedirects(),
    ):
        opener.add_handler(handler)
    return opener
