"""The file `.env`, watched for changes. Pure but for looking at it."""

from pathlib import Path

Signature = tuple[int, int, int] | None


class EnvFile:
    """Is looked at now and then. A file that is being written counts as changed once it rests."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._taken = self._last = self._signature()

    def changed(self) -> bool:
        """Whether it has changed since it was taken, and not since the last look. It counts as taken then."""
        now = self._signature()
        rests, self._last = now == self._last, now
        if not rests or now == self._taken:
            return False
        self._taken = now
        return True

    def take(self) -> None:
        """It is being read just now."""
        self._taken = self._last = self._signature()

    def _signature(self) -> Signature:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
