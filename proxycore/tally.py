"""What is counted: numbers by name and labels, which add up over time and over processes. Pure."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

Labels = tuple[str, ...]
"""What tells one count of a name from another."""

Entry = tuple[str, Labels, float]
"""A name, its labels, and how much."""

_SUM, _BUCKET = ".sum", ".bucket"  # of what is measured, besides how often


class Tally:
    """Counts, and measurements in buckets."""

    def __init__(self) -> None:
        self._counts: defaultdict[str, defaultdict[Labels, float]] = defaultdict(lambda: defaultdict(float))

    def add(self, name: str, *labels: str, n: float = 1) -> None:
        """So much more."""
        self._counts[name][labels] += n

    def measure(self, name: str, bounds: Sequence[float], value: float, *labels: str) -> None:
        """A measurement, in a bucket up to the first of the `bounds` that is not less."""
        self.add(name + _BUCKET, *labels, str(bisect_left(bounds, value)))
        self.add(name + _SUM, *labels, n=value)

    def of(self, name: str) -> Mapping[Labels, float]:
        """The counts of this name, by their labels."""
        return self._counts.get(name, {})

    def sums(self, name: str, *places: int) -> dict[Labels, float]:
        """The counts of this name, added up over all labels but those at these places."""
        found: defaultdict[Labels, float] = defaultdict(float)
        for labels, n in self.of(name).items():
            found[tuple(labels[place] for place in places)] += n
        return dict(found)

    def measured(self, name: str, bounds: Sequence[float]) -> Iterator[tuple[Labels, list[int], float]]:
        """Of each set of labels how many measurements each bucket has, and their sum."""
        buckets: defaultdict[Labels, list[int]] = defaultdict(lambda: [0] * (len(bounds) + 1))
        for (*labels, bucket), n in self.of(name + _BUCKET).items():
            buckets[tuple(labels)][int(bucket)] += int(n)
        sums = self.of(name + _SUM)
        return ((labels, counts, sums.get(labels, 0.0)) for labels, counts in buckets.items())

    def forget(self, name: str, labels: Iterable[Labels]) -> None:
        """These are of no interest any more."""
        for gone in list(labels):
            self._counts[name].pop(gone, None)

    def take(self) -> list[Entry]:
        """All that was counted since the last time, to be added to another."""
        taken = [
            (name, labels, n) for name, counts in self._counts.items() for labels, n in counts.items() if n
        ]
        self._counts.clear()
        return taken

    def entries(self) -> list[Entry]:
        """All that was counted."""
        return [(name, labels, n) for name, counts in self._counts.items() for labels, n in counts.items()]

    def merge(self, entries: Iterable[Entry]) -> None:
        """Adds what another has counted."""
        for name, labels, n in entries:
            self._counts[name][tuple(labels)] += n


def median_in(bounds: Sequence[float], counts: Sequence[int]) -> float | None:
    """About the median of measurements that are known by their buckets; None if there are none."""
    half, before = sum(counts) / 2, 0
    if not half:
        return None
    for bucket, count in enumerate(counts):
        if before + count >= half:
            low = bounds[bucket - 1] if bucket else 0.0
            high = bounds[bucket] if bucket < len(bounds) else low
            return low + (high - low) * (half - before) / count
        before += count
    return None
