"""The bulletin: how a process tells the others what it found, and hears what they did.

Every process has a board of its own. Those of a host are kept alike through a Unix socket: whoever connects
tells all that it knows, and is told the same; then each tells what is new. What is told goes out at once, all
of one turn of the event loop together, and nobody ever waits for it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from proxycore.board import Board
from proxycore.notice import Notice

_LARGEST_BUFFER = 8 * 1024 * 1024  # bytes that a process may leave unread before it has to begin anew
_PATIENCE = 1.0  # seconds that a start waits for what the others know
_REST = 0.1  # seconds between two tries to reach the hall

Hear = Callable[[Sequence[Notice]], None]


class Bulletin:
    """Tells and hears on a board. `hear` is called on the event loop."""

    def __init__(self, board: Board) -> None:
        self.hear: Hear = lambda _: None
        self._board = board
        self._told: list[Notice] = []

    def start(self) -> None:
        """Hears what is known, and from now on what is new."""
        self._board.read_by(self._read)
        self._read(self._board.notices())

    def tell(self, notice: Notice) -> None:
        """Tells the others, soon."""
        if not self._told:
            asyncio.get_running_loop().call_soon(self.flush)
        self._told.append(notice)

    def recall(self) -> list[Notice]:
        """All that was told and still holds."""
        return self._board.notices()

    def close(self) -> None:
        """Tells what is left to tell, and hears no more."""
        self.flush()
        self._board.left_by(self._read)

    def _read(self, notices: Sequence[Notice]) -> None:
        self.hear(notices)

    def flush(self) -> None:
        """Tells what is left to tell."""
        told, self._told = self._told, []
        self._board.post(told, self._read)


class HostLink:
    """Keeps a board and that of the hall alike, through the hall's Unix socket at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._wire: Wire | None = None
        self._caught_up = asyncio.Event()
        self._work: asyncio.Task[None] | None = None

    async def start(self, board: Board) -> None:
        """Connects, and hears what is known; waits for that a second at most."""
        self._work = asyncio.create_task(self._stay_connected(board))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._caught_up.wait(), _PATIENCE)

    async def close(self) -> None:
        """Tells what is left to tell, and ends."""
        if self._wire:
            self._wire.close()
            await self._wire.lost
        if self._work:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)

    async def _stay_connected(self, board: Board) -> None:
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(OSError):
                wire = self._wire = Wire(board, self._caught_up.set)
                await loop.create_unix_connection(lambda: wire, str(self._path))  # noqa: B023 - called at once
                await wire.lost
            self._wire = None
            await asyncio.sleep(_REST)


class Wire(asyncio.Protocol):
    """A connection between two boards: lines of notices both ways; an empty one after all that was known.

    `caught_up` is called when that has come.
    """

    def __init__(self, board: Board, caught_up: Callable[[], None] = lambda: None) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._board = board
        self._caught_up = caught_up
        self._rest = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's word that it stands."""
        assert hasattr(transport, "write")  # noqa: S101 - uvloop's transports are none of asyncio's classes
        self._transport = transport  # type: ignore[assignment]
        self._send([*(notice.encode() for notice in self._board.notices()), b""])
        self._board.read_by(self._tell)

    def data_received(self, data: bytes) -> None:
        """asyncio's word that something came."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._board.post(notices_in(lines), self._tell)
        if b"" in lines:
            self._caught_up()

    def connection_lost(self, _: Exception | None) -> None:
        """asyncio's word that it broke."""
        self._board.left_by(self._tell)
        self._transport = None
        if not self.lost.done():
            self.lost.set_result(None)

    def close(self) -> None:
        """Sends what is left, and ends."""
        if self._transport:
            self._transport.close()
        elif not self.lost.done():
            self.lost.set_result(None)

    def _tell(self, notices: Sequence[Notice]) -> None:
        self._send([notice.encode() for notice in notices])

    def _send(self, lines: Sequence[bytes]) -> None:
        """Sends lines; a peer that reads none has to connect anew."""
        if self._transport and lines:
            self._transport.write(b"".join([line + b"\n" for line in lines]))
            if self._transport.get_write_buffer_size() > _LARGEST_BUFFER:
                self._transport.abort()


def notices_in(lines: Sequence[bytes]) -> list[Notice]:
    """The notices in lines; others are passed over."""
    notices = []
    for line in filter(None, lines):
        with contextlib.suppress(ValueError):
            notices.append(Notice.decode(line))
    return notices
