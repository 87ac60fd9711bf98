"""A name server on loopback, over UDP and TCP, that answers TXT questions as a test tells it to."""

from __future__ import annotations

import socket
import struct
import threading

NO_ERROR, SERVER_FAILURE, NO_SUCH_NAME = 0, 2, 3
TXT = 16


class NameServer:
    """Names nobody set do not exist."""

    def __init__(self):
        self._records: dict[str, list[list[bytes]]] = {}
        self._failing: set[str] = set()
        self._silent: set[str] = set()
        self.asked: list[str] = []
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(self._tcp.getsockname())
        self.address = "127.0.0.1:%d" % self._tcp.getsockname()[1]
        for serve in (self._serve_udp, self._serve_tcp):
            threading.Thread(target=serve, daemon=True).start()

    def close(self) -> None:
        self._tcp.close()
        self._udp.close()

    def set(self, name: str, *texts: str | list[str]) -> None:
        """The name's TXT records; one that is a list is several strings."""
        parts = [[part.encode() for part in ([text] if isinstance(text, str) else text)] for text in texts]
        # A string has at most 255 octets (RFC 1035 §3.3).
        self._records[name] = [
            [part[at:at + 255] for part in record for at in range(0, max(len(part), 1), 255)] for record in parts]

    def fail(self, name: str) -> None:
        self._failing.add(name)

    def be_silent(self, name: str) -> None:
        self._silent.add(name)

    # ---- Answers

    def _serve_udp(self) -> None:
        while True:
            try:
                question, sender = self._udp.recvfrom(4096)
                answer = self._answer(question)
                if answer and len(answer) > 1200:
                    answer = self._answer(question, truncated=True)
                if answer:
                    self._udp.sendto(answer, sender)
            except OSError:
                return

    def _serve_tcp(self) -> None:
        while True:
            try:
                connection, _ = self._tcp.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                try:
                    (length,) = struct.unpack("!H", connection.recv(2, socket.MSG_WAITALL))
                    answer = self._answer(connection.recv(length, socket.MSG_WAITALL))
                    if answer:
                        connection.sendall(struct.pack("!H", len(answer)) + answer)
                except (OSError, struct.error):
                    pass

    def _answer(self, question: bytes, truncated: bool = False) -> bytes | None:
        identifier, flags = struct.unpack("!HH", question[:4])
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1:at + 1 + question[at]].decode().lower())
            at += 1 + question[at]
        end = at + 5
        (kind,) = struct.unpack("!H", question[at + 1:at + 3])
        name = ".".join(labels)
        self.asked.append(name)
        if name in self._silent:
            return None
        code, records = NO_ERROR, self._records.get(name, [])
        if name in self._failing:
            code = SERVER_FAILURE
        elif name not in self._records:
            code = NO_SUCH_NAME
        if truncated or kind != TXT or code:
            records = []
        head = 0x8000 | 0x0400 | (0x0200 if truncated else 0) | flags & 0x0100 | 0x0080 | code
        answer = struct.pack("!HHHHHH", identifier, head, 1, len(records), 0, 0) + question[12:end]
        for record in records:
            data = b"".join(bytes([len(part)]) + part for part in record)
            answer += struct.pack("!HHHIH", 0xC00C, TXT, 1, 60, len(data)) + data
        return answer
