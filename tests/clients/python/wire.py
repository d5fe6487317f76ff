"""HTTP/1.1 by hand, for what no client library would send."""

import json
import socket

WAIT = 60


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        """The error object that every refusal must have."""
        error = self.json()["error"]
        assert isinstance(error["message"], str) and error["message"], error
        assert isinstance(error["type"], str), error
        assert {"param", "code"} <= error.keys(), error
        return error


def read_answer(sock):
    """Reads one answer; the connection may be closed after it, never before."""
    file = sock.makefile("rb")
    first = file.readline()
    assert first.startswith(b"HTTP/1.1 "), f"the connection was dropped: {first!r}"
    headers = {}
    while (line := file.readline()) not in (b"\r\n", b""):
        name, value = line.decode("latin-1").split(":", 1)
        headers[name.lower()] = value.strip()
    status = int(first.split()[1])
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while True:
            size = int(file.readline(), 16)
            body += file.read(size)
            file.readline()
            if size == 0:
                break
    else:
        body = file.read(int(headers.get("content-length", "0")))
    return Answer(status, headers, body)


def connect(host):
    name, port = host.rsplit(":", 1)
    return socket.create_connection((name, int(port)), WAIT)


def post(host, path, body, headers=None, method="POST"):
    """Sends one request with these very bytes, over a connection of its own."""
    if not isinstance(body, (bytes, str)):
        body = json.dumps(body)
    body = body.encode() if isinstance(body, str) else body
    fields = [("host", host), ("content-type", "application/json"), ("content-length", str(len(body)))]
    given = list(headers.items()) if isinstance(headers, dict) else list(headers or [])
    names = {name.lower() for name, _ in given}
    fields = [(name, value) for name, value in fields if name not in names] + given
    head = "".join(f"{name}: {value}\r\n" for name, value in fields if value is not None)
    with connect(host) as sock:
        try:
            sock.sendall(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # Refused before the whole body was sent; the answer is there to read.
        return read_answer(sock)
