"""An HTTP server on this machine that sends files as a good or a bad server would."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Change = Callable[["FileServer"], None]


@dataclass
class FileServer:
    """What the server does; a test changes it between two requests.

    Attributes:
        files: {path: content}.
        address: `http://127.0.0.1:PORT`.
        ranges: whether Range is understood.
        etag: of every file; "" for none.
        break_after: for each answer in turn, bytes after which the connection is closed; None for no break.
        silent_s: for each answer in turn, seconds of silence in the middle of the body.
        answers: for each request in turn, (status, headers) that is sent in the place of a file.
        chunked: bodies have no Content-Length.
        before: called with this object before each answer.
        requests: (path, Range, If-Range) of each request.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    address: str = ""
    ranges: bool = True
    etag: str = '"one"'
    break_after: list[int | None] = field(default_factory=list)
    silent_s: list[float] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    chunked: bool = False
    before: Change | None = None
    requests: list[tuple[str, str | None, str | None]] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    behaviour: FileServer

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        server = self.behaviour
        asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
        server.requests.append((self.path, asked, condition))
        if server.before:
            server.before(server)
        if server.answers:
            status, headers = server.answers.pop(0)
            return self._send(status, headers, b"")
        body = server.files.get(self.path)
        if body is None:
            return self._send(404, {}, b"")
        headers = {"ETag": server.etag} if server.etag else {}
        same = condition in (None, server.etag)
        if asked and server.ranges and same:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                return self._send(416, {"Content-Range": f"bytes */{len(body)}"}, b"")
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            return self._send(206, headers, body[start:])
        return self._send(200, headers, body)

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        server = self.behaviour
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if server.chunked and body:
            self.send_header("Transfer-Encoding", "chunked")
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        else:
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        most = server.break_after.pop(0) if body and server.break_after else None
        wait_s = server.silent_s.pop(0) if body and server.silent_s else 0.0
        body = body[:most]
        half = len(body) // 2 if wait_s else len(body)
        try:
            self.wfile.write(body[:half])
            self.wfile.flush()
            time.sleep(wait_s)
            self.wfile.write(body[half:])
        except OSError:
            pass  # the client has closed the connection


@contextmanager
def file_server(**files: bytes) -> Iterator[FileServer]:
    """Serve files on a free port: `file_server(a=b"...")` serves /a."""
    behaviour = FileServer({f"/{name}": content for name, content in files.items()})
    handler = type("Handler", (_Handler,), {"behaviour": behaviour})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        behaviour.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield behaviour
        finally:
            server.shutdown()
            thread.join()
