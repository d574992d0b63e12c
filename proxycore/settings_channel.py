"""Settings on their way from the process that reads them to those that serve, over a socket pair.

Nothing is written to disk. The pair is made before the fork; the child takes one end, the parent the other.
A child confirms each message with a byte once it goes by it.
"""

import asyncio
import contextlib
import pickle
import socket
from collections.abc import Callable

from proxycore.settings import Settings

_LENGTH = 8  # bytes before each message that say how long it is


class SettingsChannel:
    """The parent's end; never waits for the child. `child_end` is to be closed here after the fork."""

    def __init__(self) -> None:
        self._end, self.child_end = socket.socketpair()
        self._end.setblocking(False)
        self._unsent = b""
        self._unconfirmed = 0
        self.is_open = True

    def fileno(self) -> int:
        """For select."""
        return self._end.fileno()

    @property
    def has_unsent(self) -> bool:
        """Whether it waits until it can be written to, and is to be pushed then."""
        return bool(self._unsent)

    @property
    def is_confirmed(self) -> bool:
        """Whether the child goes by all that was sent."""
        return not self._unconfirmed

    def send(self, settings: Settings) -> None:
        """The child is to go by these from now on."""
        message = pickle.dumps(settings)
        self._unsent += len(message).to_bytes(_LENGTH, "big") + message
        self._unconfirmed += 1
        self.push()

    def push(self) -> None:
        """Send as much as the child has room for."""
        try:
            self._unsent = self._unsent[self._end.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:  # the child has ended
            self._unsent = b""

    def hear(self) -> None:
        """Count what the child has confirmed."""
        try:
            confirmed = len(self._end.recv(4096))
        except BlockingIOError:
            return
        except OSError:
            confirmed = 0
        self._unconfirmed -= confirmed
        self.is_open = confirmed > 0

    def close(self) -> None:
        """The child has ended; or this is a child, which has nothing to do with the parent's ends."""
        self._end.close()


async def receive(end: socket.socket, go_by: Callable[[Settings], object]) -> None:
    """In the child: goes by all settings that come, until the parent is gone."""
    reader, writer = await asyncio.open_unix_connection(sock=end)
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            length = int.from_bytes(await reader.readexactly(_LENGTH), "big")
            go_by(pickle.loads(await reader.readexactly(length)))  # noqa: S301 - from the parent, over a pair
            writer.write(b".")
    writer.close()
