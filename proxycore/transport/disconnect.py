"""Detects that a client has disconnected while nothing is read from it."""

import select

from tornado.iostream import IOStream

_GONE = (select.POLLRDHUP | select.POLLHUP | select.POLLERR) if hasattr(select, "POLLRDHUP") else 0


def has_disconnected(stream: IOStream) -> bool:
    """Whether the client has closed the connection; what it sent before may still be unread.

    Reading would show it too, but would buffer data for which there is no room yet. Not detected while the
    client's last bytes still wait for room in the kernel's buffer, nor on systems without POLLRDHUP, which
    only Linux has.
    """
    if stream.closed():
        return True
    if not _GONE:
        return False
    poll = select.poll()
    poll.register(stream.socket, _GONE)
    return bool(poll.poll(0))
