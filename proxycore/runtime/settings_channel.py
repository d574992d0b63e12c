"""The channel from the process that reads the settings to a child that applies them, over a socket pair.

Nothing is written to disk. The pair is made before the fork; the child uses one end, the parent the other.
A child confirms each message with a byte once it has applied the settings.
"""

import asyncio
import contextlib
import pickle
import socket
from collections.abc import Callable

from proxycore.runtime.settings import Settings

_LENGTH = 8  # bytes before each message that say how long it is


class SettingsChannel:
    """The parent's end; never waits for the child. The parent closes `child_end` after the fork."""

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
        """Whether there is more to `flush` once the socket is writable."""
        return bool(self._unsent)

    @property
    def is_confirmed(self) -> bool:
        """Whether the child has applied all settings that were sent."""
        return not self._unconfirmed

    def send(self, settings: Settings) -> None:
        """Sends settings for the child to apply."""
        message = pickle.dumps(settings)
        self._unsent += len(message).to_bytes(_LENGTH, "big") + message
        self._unconfirmed += 1
        self.flush()

    def flush(self) -> None:
        """Sends as much as the socket has room for."""
        try:
            self._unsent = self._unsent[self._end.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:  # the child has ended
            self._unsent = b""

    def receive_confirmations(self) -> None:
        """Counts what the child has confirmed, and whether it is still there."""
        try:
            confirmed = len(self._end.recv(4096))
        except BlockingIOError:
            return
        except OSError:
            confirmed = 0
        self._unconfirmed -= confirmed
        self.is_open = confirmed > 0

    def close(self) -> None:
        """Closes the parent's end: the child has ended, or this is a child that inherited the end."""
        self._end.close()


async def receive(end: socket.socket, apply: Callable[[Settings], object]) -> None:
    """In the child: applies all settings that arrive at its end, until the parent has ended."""
    reader, writer = await asyncio.open_unix_connection(sock=end)
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            length = int.from_bytes(await reader.readexactly(_LENGTH), "big")
            apply(pickle.loads(await reader.readexactly(length)))  # noqa: S301 - from the parent, over a pair
            writer.write(b".")
    writer.close()
