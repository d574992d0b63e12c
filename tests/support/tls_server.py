"""A server whose TLS is as a test says, down to how it ends; also as what an outbound proxy leads to."""

import contextlib
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from typing import Self

from tests.support.raw_socket import OK

Behaviour = Callable[[socket.socket], None]


class TlsServer:
    """Treats each connection as `behaviour` says; `received` is all that it could decrypt.

    With `tunnel` it is an outbound proxy too, which leads to itself whatever it is asked for.
    """

    def __init__(self, *, tunnel: bool = False) -> None:
        self.behaviour: Behaviour = lambda _: None
        self.received = b""
        self._tunnel = tunnel
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            connection.settimeout(10)
            with contextlib.suppress(OSError), connection:
                if self._tunnel:
                    read_head(connection)
                    connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                self.behaviour(connection)

    def answering(self, context: ssl.SSLContext, answer: bytes = OK, *, notify: bool = True) -> Behaviour:
        """One request, one answer, and the end; with `notify` as TLS wants it (RFC 8446 section 6.1)."""

        def behave(connection: socket.socket) -> None:
            tls = context.wrap_socket(connection, server_side=True, suppress_ragged_eofs=False)
            try:
                self.received += read_request(tls)
                tls.sendall(answer)
                if notify:
                    tls.unwrap()
            finally:
                socket.socket(fileno=tls.detach()).close()

        return behave


def read_request(connection: socket.socket) -> bytes:
    """A whole request: a close with some of it unread would reset the connection."""
    data = read_head(connection)
    length = re.search(rb"(?i)content-length: *(\d+)", data)
    while length and len(data.partition(b"\r\n\r\n")[2]) < int(length[1]):
        more = connection.recv(4096)
        if not more:
            raise ConnectionError
        data += more
    return data


def read_head(connection: socket.socket) -> bytes:
    """A head, and what came with it."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(4096)
        if not more:
            raise ConnectionError
        data += more
    return data


def saying(data: bytes) -> Behaviour:
    """These bytes instead of a handshake, once the client has said something."""

    def behave(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(data)

    return behave


def resetting(connection: socket.socket) -> None:
    """A reset in the midst of the handshake."""
    connection.recv(4096)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def corrupting(context: ssl.SSLContext, answer: bytes) -> Behaviour:
    """Bytes that are no TLS behind the answer."""

    def behave(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            read_head(tls)
            tls.sendall(answer)
            with socket.socket(fileno=tls.detach()) as plain:
                plain.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)  # a record that nobody can decrypt

    return behave
