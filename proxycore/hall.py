"""The hall: the process of a host in which the board hangs, for its workers and for other hosts."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from weakref import WeakSet

from proxycore.board import Board
from proxycore.bulletin import Wire
from proxycore.replicas import Replicas


async def keep_hall(
    listener: socket.socket,
    link: Callable[[], Replicas | None],
    stop: asyncio.Event,
    reload: asyncio.Event | None = None,
    *,
    clock: Callable[[], float],
) -> None:
    """Serves the board to the workers that connect to this Unix socket, until `stop`.

    `link` makes the link to other hosts, and makes it anew at every `reload`.
    """
    board, again = Board(clock), reload or asyncio.Event()
    work = await _share(link(), board)
    wires: WeakSet[Wire] = WeakSet()

    def connected() -> Wire:
        wires.add(wire := Wire(board))
        return wire

    server = await asyncio.get_running_loop().create_unix_server(connected, sock=listener)
    ended = asyncio.ensure_future(stop.wait())
    while not ended.done():
        reloaded = asyncio.ensure_future(again.wait())
        await asyncio.wait({ended, reloaded}, return_when=asyncio.FIRST_COMPLETED)
        reloaded.cancel()
        await _end(work)
        if again.is_set() and not ended.done():
            again.clear()
            work = await _share(link(), board)
    server.close()
    for wire in list(wires):
        wire.close()


async def _share(replicas: Replicas | None, board: Board) -> "asyncio.Task[None] | None":
    return await replicas.start(board) if replicas else None


async def _end(work: "asyncio.Task[None] | None") -> None:
    if work:
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
