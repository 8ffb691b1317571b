"""A web server that stands for the one where models are published, with the faults that one may have."""

import hashlib
import re
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Web:
    """What the server gives, how it fails, and what it was asked.

    Attributes:
        files: path to content.
        fails: faults of the next requests, one each: a status as "503", "none" (no answer), "cut" (the connection
            breaks after half of what is left), "longer" (claims more than it sends), "swap" (the content becomes
            `swapped` before it is answered), "hold" (half comes, and the rest when `go_on` is set).
        asked: of each request, its path and its Range.
        sent: bytes of content that went out.
        etags, ranges, lengths: whether it says what it has, gives parts, says how long it is.
        compares: whether it heeds If-Range.
        redirects: path to address.
        headers: more of them, by path.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    fails: list[str] = field(default_factory=list)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    sent: int = 0
    etags: bool = True
    ranges: bool = True
    lengths: bool = True
    compares: bool = True
    redirects: dict[str, str] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    swapped: bytes = b""
    url: str = ""
    begun: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def start(self, context: ssl.SSLContext | None = None) -> ThreadingHTTPServer:
        """Serve on a port of its own, in a thread, until `shutdown`; behind TLS where there is a context."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"web": self}))
        server.daemon_threads = True
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    web: Web

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        web, path = self.web, self.path.partition("?")[0]
        web.asked.append((self.path, self.headers.get("Range")))
        fault = web.fails.pop(0) if web.fails else ""
        if fault.isdecimal():
            self._end(int(fault))
        elif fault == "none":
            self.close_connection = True
        elif path in web.redirects:
            self._end(302, {"Location": web.redirects[path]})
        elif path not in web.files:
            self._end(404)
        else:
            if fault == "swap":
                web.files[path] = web.swapped
            self._give(path, fault)

    def _give(self, path: str, fault: str) -> None:
        web, content = self.web, self.web.files[path]
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        headers = {"ETag": etag} if web.etags else {}
        start, status = self._start(etag), 200
        if start >= len(content) > 0:
            self._end(416, {"Content-Range": f"bytes */{len(content)}"})
            return
        if start:
            status, headers["Content-Range"] = 206, f"bytes {start}-{len(content) - 1}/{len(content)}"
        part = content[start:]
        if web.lengths:
            headers["Content-Length"] = str(len(part) + (1000 if fault == "longer" else 0))
        self.send_response(status)
        for name, value in (headers | web.headers.get(path, {})).items():
            self.send_header(name, value)
        self.end_headers()
        if fault == "hold":
            web.begun.set()
            self._write(part[: len(part) // 2])
            web.go_on.wait(60)
            self._write(part[len(part) // 2 :])
            return
        self._write(part[: len(part) // 2] if fault == "cut" else part)
        if fault in ("cut", "longer") or not web.lengths:
            self.close_connection = True

    def _start(self, etag: str) -> int:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = not self.web.compares or self.headers.get("If-Range") == etag
        return int(asked[1]) if asked and self.web.ranges and same else 0

    def _write(self, part: bytes) -> None:
        try:
            self.wfile.write(part)
            self.wfile.flush()
            self.web.sent += len(part)
        except OSError:
            self.close_connection = True

    def _end(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": "0"} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
