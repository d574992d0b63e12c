"""Detects that a client has disconnected while nothing is read from it."""

import select

from tornado.iostream import IOStream

_GONE = (select.POLLRDHUP | select.POLLHUP | select.POLLERR) if hasattr(select, "POLLRDHUP") else 0


def has_left(stream: IOStream) -> bool:
    """Whether the other end has closed the connection; what it sent before may still be unread.

    Reading would show it too, but would buffer data that is not wanted yet. Not detected while the client's
    last bytes still wait for room in the kernel's buffer, nor where the system has no POLLRDHUP (which is
    Linux's).
    """
    if stream.closed():
        return True
    if not _GONE:
        return False
    poll = select.poll()
    poll.register(stream.socket, _GONE)
    return bool(poll.poll(0))
