"""Detects that a client has closed its connection while nothing is read from it.

Reading would show it too, but would buffer data for which there is no room yet.
"""

import asyncio
import contextlib
import select
from collections.abc import Callable

_LINUX = hasattr(select, "EPOLLRDHUP")


class DisconnectWatch:
    """Watches connections that are not read. Belongs to the running event loop.

    An epoll file of its own waits for nothing but the other side's end, and the loop waits for that file: a
    disconnect is noticed at once, and a connection that lives costs nothing. Not detected while the client's
    last bytes still wait for room in the kernel's buffer, nor on other systems than Linux.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoll: select.epoll | None = None
        self._callbacks: dict[int, Callable[[], None]] = {}

    def add(self, number: int, on_disconnect: Callable[[], None]) -> None:
        """Watch the connection with this file number, once, until it is removed or its client disconnects."""
        if not _LINUX:
            return
        if self._epoll is None:
            self._epoll = select.epoll()
            self._loop.add_reader(self._epoll.fileno(), self._notify)
        self._epoll.register(number, select.EPOLLRDHUP)  # EPOLLHUP and EPOLLERR are always reported
        self._callbacks[number] = on_disconnect

    def remove(self, number: int, on_disconnect: Callable[[], None]) -> None:
        """Stop watching the connection that was added with these."""
        if self._epoll and self._callbacks.get(number) == on_disconnect:
            del self._callbacks[number]
            with contextlib.suppress(OSError):  # it is closed, and no longer watched for that
                self._epoll.unregister(number)

    def close(self) -> None:
        """Stop watching altogether."""
        if self._epoll:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None
            self._callbacks.clear()

    def _notify(self) -> None:
        assert self._epoll is not None  # noqa: S101 - the loop called because of it
        for number, _ in self._epoll.poll(0):
            if callback := self._callbacks.get(number):
                self.remove(number, callback)
                callback()
