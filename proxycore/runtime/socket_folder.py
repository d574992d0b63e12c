"""A folder for the Unix socket through which the processes of a host reach each other."""

import socket
import tempfile
from pathlib import Path
from typing import Self

from proxycore.runtime.settings import SettingsError

_PREFIX = "gemini-key-proxy-"
# None is TMPDIR, or else /tmp. In containers with a read-only root, /dev/shm is still writable.
_PARENTS = (None, "/dev/shm")  # noqa: S108 - the folder in it is accessible to us alone


class SocketFolder:
    """A listening `socket` at `path`, in a folder of its own that is removed at the end of a `with`.

    Raises SettingsError when there is no place for it.
    """

    def __init__(self) -> None:
        reasons = []
        for parent in _PARENTS:
            try:
                self._folder = tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent)
            except OSError as error:
                reasons.append(str(error))
                continue
            self.path = Path(self._folder.name, "hub")
            try:
                self.socket = _bound(self.path)
            except OSError as error:  # the path is too long for a socket, or the file system has none
                self._folder.cleanup()
                reasons.append(f"{self._folder.name}: {error}")
                continue
            return
        raise SettingsError(
            "WORKERS: more than one needs a folder for Unix sockets: set TMPDIR to one that can be written "
            f"to, or WORKERS=1 ({'; '.join(reasons)})"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def _bound(path: Path) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX)
    try:
        bound.bind(str(path))
    except OSError:
        bound.close()
        raise
    bound.listen(128)
    return bound
