"""The hall: the process of a host in which the board hangs, for its workers and for other hosts."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Sequence

from proxycore.board import Board
from proxycore.bulletin import Wire, notices_in
from proxycore.notice import Notice
from proxycore.replicas import Replicas


class _Visitor(Wire):
    """A worker's connection: it hears all that is known, then an empty line, then what is new."""

    def __init__(self, board: Board) -> None:
        super().__init__(self._heard)
        self._board = board

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's word that it stands."""
        super().connection_made(transport)
        self._tell(self._board.notices())
        self.send([b""])
        self._board.read_by(self._tell)

    def connection_lost(self, error: Exception | None) -> None:
        """asyncio's word that it broke."""
        super().connection_lost(error)
        self._board.left_by(self._tell)

    def _heard(self, lines: list[bytes]) -> None:
        self._board.post(notices_in(lines), self._tell)

    def _tell(self, notices: Sequence[Notice]) -> None:
        self.send([notice.encode() for notice in notices])


async def keep_hall(listener: socket.socket, replicas: Replicas | None, stop: asyncio.Event) -> None:
    """Serves the board to the workers that connect to this Unix socket, until `stop`."""
    board = Board(time.time)
    work = await replicas.start(board) if replicas else None
    server = await asyncio.get_running_loop().create_unix_server(lambda: _Visitor(board), sock=listener)
    await stop.wait()
    server.close()
    if work:
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
