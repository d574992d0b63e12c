"""The board: where notices are pinned, so that newcomers start with what the others know. Pure."""

from collections.abc import Callable, Iterable, Sequence

from proxycore.notice import Notice

_CAPACITY = 300_000  # notices; one takes about 500 bytes

Reader = Callable[[Sequence[Notice]], None]


class Board:
    """Keeps the newest notice of each topic, and passes on what is new.

    `clock` tells the moment, in seconds. A notice that says that something no longer holds is kept as
    well, lest an older one comes late.
    """

    def __init__(self, clock: Callable[[], float], capacity: int = _CAPACITY) -> None:
        self._clock = clock
        self._capacity = capacity
        self._notices: dict[tuple[str, str, str], Notice] = {}
        self._sweep_at = 1000
        self._readers: list[Reader] = []

    def post(self, notices: Iterable[Notice], source: Reader | None = None) -> None:
        """Pins what is new, and passes it on to all readers but its `source`."""
        now = self._clock()
        fresh = [notice for notice in notices if self._pin(notice, now)]
        for reader in self._readers if fresh else ():
            if reader != source:  # bound methods are equal, not the same
                reader(fresh)

    def read_by(self, reader: Reader) -> None:
        """From now on, this one is told what is new."""
        self._readers.append(reader)

    def left_by(self, reader: Reader) -> None:
        """It is not told any more."""
        if reader in self._readers:
            self._readers.remove(reader)

    def notices(self) -> list[Notice]:
        """All that hold, in the order in which they were found."""
        now = self._clock()
        held = [notice for notice in self._notices.values() if notice.until > now]
        return sorted(held, key=lambda notice: notice.stamp)

    def _pin(self, notice: Notice, now: float) -> bool:
        known = self._notices.get(notice.topic)
        if notice.until <= now or (known and known.stamp >= notice.stamp):
            return False
        self._notices[notice.topic] = notice
        if len(self._notices) > self._sweep_at:
            self._sweep(now)
        return True

    def _sweep(self, now: float) -> None:
        self._notices = {topic: notice for topic, notice in self._notices.items() if notice.until > now}
        if len(self._notices) > self._capacity:
            keep = sorted(self._notices.values(), key=lambda notice: notice.stamp)[self._capacity // 10 :]
            self._notices = {notice.topic: notice for notice in keep}
        self._sweep_at = min(2 * len(self._notices) + 1000, self._capacity + 1000)
