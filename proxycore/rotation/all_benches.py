"""All benches of a key, and where they are kept. Pure."""

from collections.abc import Iterator

from proxycore.rotation.bench import Bench, BenchPlace
from proxycore.rotation.key import Key


def benches_of(key: Key) -> Iterator[tuple[BenchPlace, str, Bench]]:
    """Yield all benches of a key: its place, its lane or origin (empty: none), and the bench."""
    if key.whole:
        yield BenchPlace.WHOLE, "", key.whole
    if key.retired:
        yield BenchPlace.RETIRED, "", key.retired
    for lane, bench in key.callers.items():
        yield BenchPlace.CALLER, lane, bench
    for page, bench in key.origins.items():
        yield BenchPlace.ORIGIN, page, bench
    for lane, limiter in key.project.limiters.items():
        if limiter.bench:
            yield BenchPlace.MODEL, lane, limiter.bench
