"""HTTPS hosts on loopback that publish what a test tells them to, and remember who asked."""

from __future__ import annotations

import itertools
import json
import socket
import ssl
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme

_numbers = itertools.count(1)


def fresh_name() -> str:
    """A host name of this machine that nobody used yet.

    `*.localhost` needs no resolver (RFC 6761 §6.3), and each name is a host of its own to gatehouse, which asks one host
    for so many documents a minute.
    """
    return f"host{next(_numbers)}.localhost"


class Authority:
    """A certificate authority that the deployment trusts (GATEHOUSE_OUTBOUND_CA_FILE)."""

    def __init__(self, folder: Path):
        self._ca = trustme.CA(organization_name="Gatehouse tests")
        self.path = folder / "outbound-ca.pem"
        self._ca.cert_pem.write_to_path(self.path)

    def context(self, *names: str, **options) -> ssl.SSLContext:
        """A server's side of TLS with a certificate for these names; without any, for whichever name is asked for."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*(names or ("localhost", "127.0.0.1")), **options).configure_cert(context)
        made: dict[str, ssl.SSLContext] = {}

        def choose(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            if name and name.endswith(".localhost"):
                if name not in made:
                    made[name] = self.context(name)
                connection.context = made[name]

        if not names:
            context.sni_callback = choose
        return context


@dataclass
class Publication:
    """What is answered at one path."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    # Seconds before the head, and between parts of the body if it is sent in parts.
    delay: float = 0
    parts: list[bytes] | None = None
    pause: float = 0


class DocumentHost:
    """One HTTPS server under several names. Paths nobody published answer 404."""

    def __init__(self, context: ssl.SSLContext, address: str = "127.0.0.1"):
        host = self
        self._published: dict[str, Publication] = {}
        self._hits: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        self._answering = threading.Event()
        self._answering.set()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 10

            def setup(self):
                host._answering.wait(10)
                self.request.settimeout(10)
                self.request = context.wrap_socket(self.request, server_side=True)
                super().setup()

            def do_GET(self):
                host._answer(self)

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_):
                pass   # a caller that goes away early, or that does not like the certificate

        self._server = Server((address, 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def url(self, path: str, name: str = "client.localhost") -> str:
        return f"https://{name}:{self.port}{path}"

    def publish(self, path: str, body: object = b"", /, content_type: str | None = "application/json", **rest) -> None:
        """Answers this at the path from now on. What is not bytes is sent as JSON."""
        headers = dict(rest.pop("headers", {}))
        if content_type is not None:
            headers.setdefault("content-type", content_type)
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        with self._lock:
            self._published[path] = Publication(content, headers=headers, **rest)

    @contextmanager
    def cut_off(self):
        """Meanwhile who connects hears nothing, as when a network loses every packet."""
        self._answering.clear()
        try:
            yield
        finally:
            self._answering.set()

    def withdraw(self, path: str) -> None:
        with self._lock:
            self._published.pop(path, None)

    def hits(self, path: str | None = None) -> list[str]:
        """The paths that were asked for, with their queries, in order."""
        with self._lock:
            return [asked for _, asked in self._hits if path is None or asked == path]

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        with self._lock:
            self._hits.append((handler.headers.get("host", ""), handler.path))
            found = self._published.get(handler.path) or Publication(b"nothing here", status=404)
        try:
            time.sleep(found.delay)
            handler.send_response(found.status)
            for name, value in found.headers.items():
                handler.send_header(name, value)
            if found.parts is None:
                if "content-length" not in {name.lower() for name in found.headers}:
                    handler.send_header("content-length", str(len(found.body)))
                handler.end_headers()
                handler.wfile.write(found.body)
                return
            handler.send_header("connection", "close")
            handler.end_headers()
            for part in found.parts:
                handler.wfile.write(part)
                handler.wfile.flush()
                time.sleep(found.pause)
            handler.close_connection = True
        except OSError:
            handler.close_connection = True


class Trap:
    """A listener that nobody must ever connect to."""

    def __init__(self, address: str = "127.0.0.1"):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = socket.create_server((address, 0), family=family)
        self.port = self._socket.getsockname()[1]
        self.connections = 0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            peer.close()

    def close(self) -> None:
        self._socket.close()
