"""Clients that begin a request and never finish its head: in drops, and in thousands of fields."""

import asyncio
import contextlib
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator

from tests.bench.client import Answer
from tests.bench.load import Slice
from tests.bench.machine import Meter

_DROPS = 223  # bytes a second, each in a packet of its own
_PAUSE = 1.0  # seconds until a client that was refused comes back
_PATIENCE = 60.0  # seconds for /healthz
_START = b"GET /v1beta/models HTTP/1.1\r\nHost: bench\r\n"


def short_fields(size: int) -> bytes:
    """An unfinished head of about `size` bytes, in as many fields as fit."""
    return _START + b"a: b\r\n" * (size // 6)


def long_fields(size: int) -> bytes:
    """The same in 98 fields."""
    return _START + b"".join(b"x-%02d: %b\r\n" % (number, b"x" * (size // 98 - 8)) for number in range(98))


async def _drip(port: int, size: int) -> None:
    """An unfinished head of this size that gets longer byte by byte; once refused, another one."""
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(_START + b"x: " + b"x" * size)
                while not writer.is_closing():
                    await writer.drain()
                    writer.write(b"x")
                    await asyncio.sleep(1 / _DROPS)
            finally:
                writer.transport.abort()
        await asyncio.sleep(_PAUSE)


@contextlib.asynccontextmanager
async def dripping(port: int, number: int, size: int) -> AsyncIterator[None]:
    """So many at once."""
    tasks = [asyncio.create_task(_drip(port, size)) for _ in range(number)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def health(port: int, *, gap: float, seconds: float, meter: Meter) -> Slice:
    """Ask for `/healthz` again and again, `gap` seconds after each answer; `delay` is the median it took."""
    times: list[float] = []
    errors: Counter[str] = Counter()
    before, end = meter(), time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()  # the loop's own clock has milliseconds only
        try:
            async with asyncio.timeout(_PATIENCE):
                status = await _status(port)
        except (OSError, EOFError) as error:
            errors[f"/healthz: {type(error).__name__}"] += 1
        else:
            errors.update([f"/healthz: status {status}"] if status != 200 else [])
        times.append(time.perf_counter() - began)
        await asyncio.sleep(gap)
    return Slice(len(times), meter() - before, errors, statistics.median(times))


async def _status(port: int) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: bench\r\n\r\n")
        answer = Answer()
        while not answer.done:
            data = await reader.read(65536)
            if not data:
                raise EOFError
            answer.feed(data)
        return answer.status
    finally:
        writer.transport.abort()


async def unfinished(port: int, number: int, head: bytes, *, seconds: float, meter: Meter) -> float:
    """Bytes of memory that each of so many unfinished heads takes, `seconds` after they were sent."""
    before = meter.memory()
    writers: list[asyncio.StreamWriter] = []
    for _ in range(number):
        with contextlib.suppress(OSError):  # refused: then it takes no memory
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writers.append(writer)
            writer.write(head)
            await writer.drain()
    await asyncio.sleep(seconds)
    taken = (meter.memory() - before) / number
    for writer in writers:
        writer.transport.abort()
    return taken
