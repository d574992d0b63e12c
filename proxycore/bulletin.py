"""The bulletin: how a process tells the others what it found, and hears what they did.

What is told goes out at once, all of one turn of the event loop together, and nobody ever waits for it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from proxycore.board import Board
from proxycore.notice import Notice

_LARGEST_QUEUE = 50_000  # notices that wait for the board to come back
_LARGEST_BUFFER = 8 * 1024 * 1024  # bytes that a process may leave unread before it has to begin anew
_PATIENCE = 1.0  # seconds that a start waits for what the others know
_REST = 0.1  # seconds between two tries to reach the board

Hear = Callable[[Sequence[Notice]], None]


class Bulletin:
    """Told and heard on a board in this very process. `hear` is called on the event loop."""

    def __init__(self, board: Board) -> None:
        self.hear: Hear = lambda _: None
        self._board = board
        self._told: list[Notice] = []

    async def start(self) -> None:
        """Hears what is known; waits for that a second at most."""
        self._board.read_by(self._read)
        self._read(self._board.notices())

    def tell(self, notice: Notice) -> None:
        """Tells the others, soon."""
        if not self._told:
            asyncio.get_running_loop().call_soon(self._flush)
        self._told.append(notice)

    async def close(self) -> None:
        """Tells what is left to tell, and hears no more."""
        self._flush()
        self._board.left_by(self._read)

    def _read(self, notices: Sequence[Notice]) -> None:
        self.hear(notices)

    def _flush(self) -> None:
        told, self._told = self._told, []
        self._board.post(told, self._read)


class HostBulletin:
    """Told and heard on the board of this host, through a Unix socket at `path`."""

    def __init__(self, path: Path) -> None:
        self.hear: Hear = lambda _: None
        self._path = path
        self._told: list[bytes] = []
        self._wire: Wire | None = None
        self._heard_all = asyncio.Event()
        self._work: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connects, and hears what is known; waits for that a second at most."""
        self._work = asyncio.create_task(self._stay_connected())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._heard_all.wait(), _PATIENCE)

    def tell(self, notice: Notice) -> None:
        """Tells the others, soon."""
        if not self._told:
            asyncio.get_running_loop().call_soon(self._flush)
        self._told.append(notice.encode())

    async def close(self) -> None:
        """Tells what is left to tell, and hears no more."""
        self._flush()
        if self._work:
            self._work.cancel()
        if self._wire:
            self._wire.close()

    async def _stay_connected(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(OSError):
                wire = Wire(self._read)
                await loop.create_unix_connection(lambda: wire, str(self._path))  # noqa: B023 - called at once
                self._wire = wire
                self._flush()
                await wire.lost
            self._wire = None
            await asyncio.sleep(_REST)

    def _read(self, lines: list[bytes]) -> None:
        self.hear(notices_in(lines))
        if b"" in lines:
            self._heard_all.set()

    def _flush(self) -> None:
        if self._wire:
            told, self._told = self._told, []
            self._wire.send(told)
        else:
            del self._told[:-_LARGEST_QUEUE]


class Wire(asyncio.Protocol):
    """A connection that carries lines both ways. `read` is called with all that came at once."""

    def __init__(self, read: Callable[[list[bytes]], None]) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._read = read
        self._rest = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's word that it stands."""
        assert hasattr(transport, "write")  # noqa: S101 - uvloop's transports are none of asyncio's classes
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """asyncio's word that something came."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if lines:
            self._read(lines)

    def connection_lost(self, _: Exception | None) -> None:
        """asyncio's word that it broke."""
        self._transport = None
        if not self.lost.done():
            self.lost.set_result(None)

    def send(self, lines: Sequence[bytes]) -> None:
        """Sends lines; a peer that reads none has to connect anew."""
        if self._transport and lines:
            self._transport.write(b"".join([line + b"\n" for line in lines]))
            if self._transport.get_write_buffer_size() > _LARGEST_BUFFER:
                self._transport.abort()

    def close(self) -> None:
        """Sends what is left, and ends."""
        if self._transport:
            self._transport.close()


def notices_in(lines: Sequence[bytes]) -> list[Notice]:
    """The notices in lines; others are passed over."""
    notices = []
    for line in filter(None, lines):
        with contextlib.suppress(ValueError):
            notices.append(Notice.decode(line))
    return notices
