"""A web server on this computer whose connections can be cut."""

from __future__ import annotations

import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """Serves ``files`` (bytes by path); ``requests`` are the ranges asked for, by request.

    ``cut_after`` closes each connection after so many bytes of the body; ``ranges`` says whether
    ranges are honoured; ``status`` replaces the status of every answer.
    """

    daemon_threads = False

    def __init__(self, **files: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = {f"/{name}": content for name, content in files.items()}
        self.ranges = True
        self.cut_after: int | None = None
        self.status: int | None = None
        self.requests: list[str | None] = []
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.requests.append(asked)
        body = self.server.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if not self.server.ranges:
            start = 0
        if start >= len(body) > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(self.server.status or (206 if start else 200))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        end = None if self.server.cut_after is None else start + self.server.cut_after
        with suppress(ConnectionError):  # a client that has seen enough hangs up
            self.wfile.write(body[start:end])
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass
