"""A gate before an S3 server: `python s3_gate.py SERVER_PORT [HOST]`. It prints its port, and lets everything through.

Told to, it answers what S3 answers when it refuses, or cuts the connection after the server has done what was asked. It
counts what went through.

    POST /gate    {"method", "path" (a part of it), "answer" (one of ANSWERS), "times"}: do that from now on
    GET /gate     {"asked": [[method, path, bytes in, bytes out], ...], "stopped": how often it did what it was told}
    DELETE /gate  let all through, and count from 0
"""

import http.client
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANSWERS = {
    "AccessDenied": (403, "Access Denied"),
    "InvalidAccessKeyId": (403, "The AWS Access Key Id you provided does not exist in our records."),
    "SlowDown": (503, "Please reduce your request rate."),
    # The request is done, and its answer lost.
    "cut": (0, ""),
    # Part of what is sent is kept.
    "truncate": (0, ""),
}
_BY_HOP = ("connection", "transfer-encoding", "keep-alive")


class State:
    def __init__(self, server_port: int) -> None:
        self.server_port = server_port
        self.lock = threading.Lock()
        self.open()

    def open(self) -> None:
        self.rule: dict[str, Any] = {}
        self.stopped = 0
        self.asked: list[tuple[str, str, int, int]] = []

    def answer_to(self, method: str, path: str) -> str | None:
        with self.lock:
            rule = self.rule
            if not rule or rule["method"] != method or rule["path"] not in path or self.stopped >= rule["times"]:
                return None
            self.stopped += 1
            return str(rule["answer"])


class Gate(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # An answer's body must not wait for the acknowledgement of its headers.
    disable_nagle_algorithm = True
    state: State

    def do(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/gate":
            self.obey(body)
            return
        answer = self.state.answer_to(self.command, self.path)
        if answer is not None and ANSWERS[answer][0]:
            status, message = ANSWERS[answer]
            error = f"<Error><Code>{answer}</Code><Message>{message}</Message></Error>".encode()
            self.reply(status, [("Content-Type", "application/xml")], error)
            return
        status, headers, content = self.forward(body[: len(body) // 2] if answer == "truncate" else body)
        with self.state.lock:
            self.state.asked.append((self.command, self.path, len(body), len(content)))
        if answer == "cut":
            self.close_connection = True
            return
        self.reply(status, headers, content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do

    def obey(self, body: bytes) -> None:
        with self.state.lock:
            told = {"asked": self.state.asked, "stopped": self.state.stopped}
            if self.command == "DELETE":
                self.state.open()
            elif self.command == "POST":
                self.state.rule, self.state.stopped = json.loads(body), 0
        self.reply(200, [], json.dumps(told).encode())

    def forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        server = http.client.HTTPConnection("127.0.0.1", self.state.server_port, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _BY_HOP}
        headers["Content-Length"] = str(len(body))
        server.request(self.command, self.path, body, headers)
        response = server.getresponse()
        content = response.read()
        server.close()
        return response.status, response.getheaders(), content

    def reply(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            # A HEAD's length is that of what is not sent.
            if name.lower() not in _BY_HOP and (name.lower() != "content-length" or self.command == "HEAD"):
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Not a line for each request."""


if __name__ == "__main__":
    Gate.state = State(int(sys.argv[1]))
    server = ThreadingHTTPServer((sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1", 0), Gate)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    server.serve_forever()
