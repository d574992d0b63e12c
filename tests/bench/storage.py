"""The state file with a month of requests: its size, how long queries take, and CPU per request.

    python -m tests.bench.storage [requests] [folder]

2,000,000 requests by default, of 10 clients with 60 keys and 5 models, one in twenty with a failover. The
percentiles are of queries that go through the event loop. CPU is that of the whole process, for requests
that come as fast as they are written, all of them in one hour, and are folded into the sums.
"""

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from proxycore.clock import Clock
from proxycore.http.access_record import RequestOutcome
from proxycore.storage.rows import (
    AttemptRow,
    EventFilter,
    EventKind,
    EventRow,
    RequestFilter,
    RequestRow,
    SlotQuery,
    UsageBy,
    UsageQuery,
)
from proxycore.storage.storage import Storage

_HOUR, _MONTH = 3600, 30 * 86400
_MODELS = (
    "gemini-2.5-flash",
    "gemini-2.5-pro",
    "gemini-2.5-flash-lite",
    "gemini-3-pro",
    "gemini-embedding-001",
)
_SHARES = (50, 20, 20, 8, 2)
_BATCH = 1000


def rows(count: int, until: float, source: random.Random, seconds: float = _MONTH) -> Iterator[RequestRow]:
    """Requests of so many seconds, usually a month, that end at a time."""
    for number in range(count):
        (model,) = source.choices(_MODELS, _SHARES)
        key = f"key-{source.randrange(60)}"
        roll = source.random()
        outcome, status = RequestOutcome.SERVED, 200
        if roll < 0.02:
            outcome, status = RequestOutcome.CLIENT_ERROR, 400
        elif roll < 0.025:
            outcome, status = RequestOutcome.FAILED, 503
        attempts = [AttemptRow(key, status, "served" if status == 200 else "refused", "", 0.2 + roll, 0.001)]
        if source.random() < 0.05:
            attempts[0].at = 0.102
            attempts.insert(
                0, AttemptRow(f"key-{source.randrange(60)}", 429, "quota exhausted", "per day", 0.1, 0.001)
            )
        yield RequestRow(
            id=f"{source.getrandbits(64):016x}",
            time=until - seconds * (1 - number / count),
            client=f"client-{source.randrange(10)}",
            address=f"10.0.{source.randrange(4)}.{source.randrange(100)}",
            method="POST",
            path=f"/v1beta/models/{model}:{source.choice(('generateContent', 'streamGenerateContent'))}",
            model=model,
            key=key,
            status=status,
            outcome=outcome,
            input_tokens=source.randrange(20_000),
            output_tokens=source.randrange(4000),
            cached_tokens=source.choice((0, 0, 0, 4096)),
            thinking_tokens=source.randrange(2000),
            received_bytes=source.randrange(100_000),
            sent_bytes=source.randrange(50_000),
            first_byte=0.3 + roll,
            seconds=1 + 10 * roll,
            why="No Gemini API key is available" if status == 503 else "",
            waited=0.5 if roll > 0.95 else 0.0,
            attempts=tuple(attempts),
        )


async def fill(storage: Storage, count: int, until: float) -> None:
    """Write a month of requests, in batches as they would be written."""
    source = random.Random(1)  # noqa: S311 - a load
    for number, row in enumerate(rows(count, until, source)):
        storage.put_request(row)
        if number % 20 == 0:
            storage.put_event(
                EventRow(row.time, EventKind.BENCHED, row.key, row.model, "quota exhausted", row.id)
            )
        if number % _BATCH == _BATCH - 1:
            await storage.flush()
    await storage.flush()


async def cost(storage: Storage, count: int, until: float) -> tuple[float, float]:
    """Return microseconds of CPU per request: of the event loop's thread, and of all threads."""
    ready = list(rows(count, until, random.Random(2), _HOUR))  # noqa: S311 - a load
    loop, whole = time.thread_time(), time.process_time()
    for begin in range(0, count, _BATCH):
        for row in ready[begin : begin + _BATCH]:
            storage.put_request(row)
        await storage.flush()
    await storage.usage(UsageQuery(until, until))  # which folds
    return 1e6 * (time.thread_time() - loop) / count, 1e6 * (time.process_time() - whole) / count


def queries(
    storage: Storage, until: float, known: str
) -> dict[str, Callable[[], Coroutine[Any, Any, object]]]:
    """What is asked for, by name."""

    def page(wanted: RequestFilter) -> Callable[[], Coroutine[Any, Any, object]]:
        return lambda: storage.requests(wanted)

    def usage(*by: UsageBy) -> Callable[[], Coroutine[Any, Any, object]]:
        return lambda: storage.usage(UsageQuery(until - _MONTH, until, frozenset(by)))

    def slots(days: int, step: int) -> Callable[[], Coroutine[Any, Any, object]]:
        end = int(until // step + 1) * step
        return lambda: storage.slots(SlotQuery(end - days * 86400, end, step))

    failed = RequestOutcome.FAILED
    return {
        "page: the latest": page(RequestFilter()),
        "page: an id": page(RequestFilter(id=known)),
        "page: no such id": page(RequestFilter(id="none")),
        "page: a client": page(RequestFilter(client="client-3")),
        "page: no such client": page(RequestFilter(client="nobody")),
        "page: a key and a status": page(RequestFilter(key="key-7", status=503)),
        "page: client, key, model, outcome": page(
            RequestFilter(client="client-3", key="key-7", model=_MODELS[4], outcome=failed)
        ),
        "page: failed in the last hour": page(RequestFilter(outcome=failed, since=until - 3600)),
        "usage: in all": usage(),
        "usage: by day": usage(UsageBy.DAY),
        "usage: by hour": usage(UsageBy.HOUR),
        "usage: by client": usage(UsageBy.CLIENT),
        "usage: by key": usage(UsageBy.KEY),
        "usage: by day, key": usage(UsageBy.DAY, UsageBy.KEY),
        "usage: by client, key, model": usage(UsageBy.CLIENT, UsageBy.KEY, UsageBy.MODEL),
        "usage: by day, client, model, outcome": usage(
            UsageBy.DAY, UsageBy.CLIENT, UsageBy.MODEL, UsageBy.OUTCOME
        ),
        "usage: by hour, client": usage(UsageBy.HOUR, UsageBy.CLIENT),
        "usage: by hour, key": usage(UsageBy.HOUR, UsageBy.KEY),
        "history: a day": slots(1, 600),
        "history: a week": slots(7, 3600),
        "history: a month": slots(30, 21600),
        "events: the latest": lambda: storage.events(EventFilter()),
        "events: of a key": lambda: storage.events(EventFilter("key-7")),
        "events: reloads of the last hour": lambda: storage.events(
            EventFilter(kind=EventKind.RELOADED, since=until - 3600)
        ),
    }


async def measure(folder: Path, count: int) -> None:
    """Print all figures."""
    path, clock = folder / "state.db", Clock()
    until = clock.wall()
    storage = Storage(path, 2 * _MONTH, clock, str)
    await storage.start(lambda _: None)
    began = time.monotonic()
    await fill(storage, count, until)
    took = time.monotonic() - began
    loop, whole = await cost(storage, min(count, 50_000), until)
    print(f"{count} requests written in {took:.0f} s")  # noqa: T201 - a report
    print(f"CPU per request: {loop:.1f} µs in the event loop's thread, {whole:.1f} µs in all")  # noqa: T201
    page = await storage.requests(RequestFilter(client="client-3"), limit=1000)
    for name, query in queries(storage, until, page.rows[-1].id).items():
        times = []
        for _ in range(7):
            began = time.perf_counter()
            await query()
            times.append(time.perf_counter() - began)
        print(f"{name:40} {1000 * sorted(times)[3]:7.1f} ms, at most {1000 * max(times):7.1f}")  # noqa: T201
    await storage.close()
    print(f"the file: {path.stat().st_size / 1e6:.0f} MB")  # noqa: T201


def main() -> None:
    """Measure, in a folder that is removed afterwards."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as folder:
        asyncio.run(measure(Path(folder), count))


if __name__ == "__main__":
    main()
