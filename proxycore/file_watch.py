"""Files that are watched: whether they have changed since they were read, and for how long they rest."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

from proxycore.regular_file import Signature, signature_of


class FileWatch:
    """Looks at files now and then. `read` is how they were when they were read, and counts as answered.

    `clock` counts seconds, and is never set back.
    """

    def __init__(self, read: Mapping[Path, Signature], clock: Callable[[], float]) -> None:
        self._clock = clock
        self._answered = self._seen = dict(read)
        self._since = dict.fromkeys(read, -math.inf)  # when each was first seen as it is

    @property
    def is_changed(self) -> bool:
        """Whether anything is other than when it was answered."""
        return self._seen != self._answered

    def look(self) -> None:
        """See how the files are now."""
        self._see({path: signature_of(path) for path in self._seen})

    def follow(self, read: Mapping[Path, Signature]) -> bool:
        """Watch these files from now on; returns whether they were read as they were seen last."""
        former = self._seen
        self._see(read)
        return self._seen == former

    def answer(self) -> None:
        """The files as they are have been read and judged: only what comes later is a change."""
        self._answered = self._seen

    def unsettled(self, seconds: Callable[[Path], float]) -> Path | None:
        """A file that has not been as it is for as many seconds as it should, None if all have."""
        now = self._clock()
        return next((path for path, since in self._since.items() if now - since < seconds(path)), None)

    def _see(self, found: Mapping[Path, Signature]) -> None:
        now = self._clock()
        self._since = {
            path: self._since[path] if path in self._seen and self._seen[path] == signature else now
            for path, signature in found.items()
        }
        self._seen = dict(found)
