"""Whether a client has left while nothing is read from it."""

import select

from tornado.iostream import IOStream

_GONE = (select.POLLRDHUP | select.POLLHUP | select.POLLERR) if hasattr(select, "POLLRDHUP") else 0


def has_left(stream: IOStream) -> bool:
    """Whether the other end of a connection was closed; what it sent before may still be unread.

    A closed connection shows itself to whoever reads, but reading on would hold what is not wanted yet. None
    is known to have left whose last bytes still wait for room in the kernel's buffer, nor anybody where the
    system has no POLLRDHUP (it is Linux's).
    """
    if stream.closed():
        return True
    if not _GONE:
        return False
    poll = select.poll()
    poll.register(stream.socket, _GONE)
    return bool(poll.poll(0))
