"""Watches files by polling: whether they have changed since they were read, and how long ago."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

from proxycore.runtime.regular_file import Signature, signature_of


class FileWatch:
    """Compares files with their states when they were read, which are `read`.

    `clock` returns monotonic seconds.
    """

    def __init__(self, read: Mapping[Path, Signature], clock: Callable[[], float]) -> None:
        self._clock = clock
        self._acknowledged = self._seen = dict(read)
        self._since = dict.fromkeys(read, -math.inf)  # when each was first seen in its present state

    @property
    def is_changed(self) -> bool:
        """Whether any file has changed since it was acknowledged."""
        return self._seen != self._acknowledged

    def poll(self) -> None:
        """Read the states of the files."""
        self._see({path: signature_of(path) for path in self._seen})

    def follow(self, read: Mapping[Path, Signature]) -> bool:
        """Watch these files from now on; returns whether they were read in the states seen last."""
        former = self._seen
        self._see(read)
        return self._seen == former

    def acknowledge(self) -> None:
        """The present states have been handled: from now on only later changes count."""
        self._acknowledged = self._seen

    def unsettled(self, seconds: Callable[[Path], float]) -> Path | None:
        """Return a file that has changed within its `seconds`; None if none has."""
        now = self._clock()
        return next((path for path, since in self._since.items() if now - since < seconds(path)), None)

    def _see(self, found: Mapping[Path, Signature]) -> None:
        now = self._clock()
        self._since = {
            path: self._since[path] if path in self._seen and self._seen[path] == signature else now
            for path, signature in found.items()
        }
        self._seen = dict(found)
