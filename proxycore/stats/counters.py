"""Counters by name and labels, and histograms made of them; they add up over processes. Pure."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

Labels = tuple[str, ...]
"""The label values of a counter."""

Entry = tuple[str, Labels, float]
"""A counter's name, its labels, and its value."""

_SUM, _BUCKET = ".sum", ".bucket"  # the two counters of a histogram
_BUCKETS = tuple(map(str, range(32)))  # the label of each bucket: more than any histogram has


class Counters:
    """Counters and histograms."""

    def __init__(self) -> None:
        self._counts: defaultdict[str, defaultdict[Labels, float]] = defaultdict(lambda: defaultdict(float))

    def add(self, name: str, *labels: str, n: float = 1) -> None:
        """Add `n` to a counter."""
        self._counts[name][labels] += n

    def measure(self, name: str, bounds: Sequence[float], value: float, *labels: str) -> None:
        """Add a value to a histogram: to the bucket of the first of the `bounds` that is not less."""
        self._counts[name + _BUCKET][(*labels, _BUCKETS[bisect_left(bounds, value)])] += 1
        self._counts[name + _SUM][labels] += value

    def of(self, name: str) -> Mapping[Labels, float]:
        """Return the counters of this name, by their labels."""
        return self._counts.get(name, {})

    def sums(self, name: str, *places: int) -> dict[Labels, float]:
        """Return the counters of this name, added up over all labels but those at these places."""
        found: defaultdict[Labels, float] = defaultdict(float)
        for labels, n in self.of(name).items():
            found[tuple(labels[place] for place in places)] += n
        return dict(found)

    def measured(self, name: str, bounds: Sequence[float]) -> Iterator[tuple[Labels, list[int], float]]:
        """Yield the labels, the number of values in each bucket, and the sum of the values of a histogram."""
        buckets: defaultdict[Labels, list[int]] = defaultdict(lambda: [0] * (len(bounds) + 1))
        for (*labels, bucket), n in self.of(name + _BUCKET).items():
            buckets[tuple(labels)][int(bucket)] += int(n)
        sums = self.of(name + _SUM)
        return ((labels, counts, sums.get(labels, 0.0)) for labels, counts in buckets.items())

    def forget(self, name: str, labels: Iterable[Labels]) -> None:
        """Drop the counters of this name with these labels."""
        for gone in list(labels):
            self._counts[name].pop(gone, None)

    def drain(self) -> list[Entry]:
        """Return all counters and begin anew from zero, for another process to add them to its own."""
        taken = [
            (name, labels, n) for name, counts in self._counts.items() for labels, n in counts.items() if n
        ]
        self._counts.clear()
        return taken

    def entries(self) -> list[Entry]:
        """Return all counters."""
        return [(name, labels, n) for name, counts in self._counts.items() for labels, n in counts.items()]

    def merge(self, entries: Iterable[Entry]) -> None:
        """Add the counters of another process."""
        for name, labels, n in entries:
            self._counts[name][tuple(labels)] += n


def quantile_in(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """Return about which value a share of values does not exceed, of values that are known by their buckets.

    None if there are none. The median is that of the share 0.5.
    """
    wanted, before = sum(counts) * share, 0
    if not wanted:
        return None
    for bucket, count in enumerate(counts):
        if before + count >= wanted:
            low = bounds[bucket - 1] if bucket else 0.0
            high = bounds[bucket] if bucket < len(bounds) else low
            return low + (high - low) * (wanted - before) / count
        before += count
    return None
