"""A pool after a day of a team's work, made of real requests: 40 keys, seven clients, and what goes wrong.

Proxy, mock and state file run on one clock, which goes faster than time and is turned minute by minute, so
that a day takes a minute. In it one key is reported as leaked, a billing account runs out of credit, a model
has an outage, clients reach their limits, and day quotas are spent.
"""

import asyncio
import contextlib
import math
import random
import selectors
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from proxycore.clock import Clock
from proxycore.demo import Asked, Health, MockServer
from proxycore.runtime.app import make_app
from proxycore.storage.storage import Storage
from tests.support.proxy import Proxy, served, settings
from tests.support.storing import storage
from tests.support.wire import ask

ADMIN = "the-admin-key-of-pictures"
CLIENTS = {
    "batch-eval": "a-key-for-batch-eval",
    "carol": "a-key-for-carol-alone",
    "support-bot": "a-key-for-support-bot",
    "ci": "a-key-for-the-builds",
    "alice-notebook": "a-key-for-alice-only",
    "dora": "a-key-for-dora-alone",
}
_LIMITS = {
    "batch-eval": "requests=6/minute requests=800/day tokens=2M/day concurrent=8",
    "carol": "requests=20/minute tokens=5M/day",
    "support-bot": "requests=40/minute requests=20000/day",
    "ci": "requests=5000/day tokens=1M/day",
    "alice-notebook": "requests=10/minute requests=2000/day tokens=2M/day",
    "dora": "requests=10/minute until=2099-01-31",
}
_SHARES = {"batch-eval": 24, "carol": 20, "support-bot": 30, "ci": 16, "alice-notebook": 8, "dora": 1}
_PRO, _FLASH, _OLDER, _EMBEDDING = (
    "gemini-2.5-pro",
    "gemini-2.5-flash",
    "gemini-2.0-flash",
    "gemini-embedding-001",
)
_MODELS = {
    "batch-eval": [_PRO] * 6 + [_FLASH],
    "carol": [_PRO, _FLASH, _FLASH],
    "support-bot": [_FLASH, _FLASH, _OLDER],
    "ci": [_OLDER, _EMBEDDING],
    "alice-notebook": [_FLASH],
    "dora": [_FLASH],
}
_PRICES = "model,input,cached,output\ngemini-2.5-pro*,1.25,0.31,10\ngemini-2*-flash*,0.3,0.075,2.5\n"
_DAY = {_PRO: 25, _FLASH: 250, _OLDER: 1000, _EMBEDDING: 1000}  # requests a key a day
_MINUTE = {_PRO: 3, _FLASH: 5, _OLDER: 8, _EMBEDDING: 100}
_LEAKED, _NO_CREDIT, _OUTAGE = 730, 157, 7  # minutes before the end
_OUTAGE_LASTS = 3  # minutes
_BUSIEST = 8  # requests a minute
_STREAMS = [1267, 232, 140, 118, 46, 4]  # seconds that the streams have been open at the end
_LEARNING = 600  # seconds before the work begins
_RATE = 70.0  # seconds of the clock in one of time


class FastLoop(asyncio.SelectorEventLoop):
    """A loop whose time goes `rate` times as fast as real time, and that can be turned forward.

    So a mock's responses take as long as Google's, as far as those on the loop can tell.
    """

    def __init__(self, rate: float = _RATE) -> None:
        self._rate = rate
        self._from = self._offset = time.monotonic()
        super().__init__(_FastSelector(self))

    @property
    def rate(self) -> float:
        """Seconds of the loop in one of real time."""
        return self._rate

    @rate.setter
    def rate(self, rate: float) -> None:
        self._offset, self._from = self.time(), time.monotonic()
        self._rate = rate

    def time(self) -> float:
        return self._offset + self._rate * (time.monotonic() - self._from)


class _FastSelector(selectors.DefaultSelector):
    """Waits as long as the times of its loop say."""

    def __init__(self, loop: FastLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        scaled = timeout / self._loop.rate if timeout else timeout
        found: list[tuple[selectors.SelectorKey, int]] = super().select(scaled)
        return found


class FastClock(Clock):
    """The clock of a FastLoop, from the moment `now` on. It can be turned forward."""

    def __init__(self, loop: FastLoop, now: float) -> None:
        self._turned = now - loop.time()
        self._loop = loop
        super().__init__(self._read, self._read)

    def _read(self) -> float:
        return self._turned + self._loop.time()

    def turn_to(self, moment: float) -> None:
        """Turn it to a moment, unless that is over."""
        self._turned += max(0.0, moment - self._read())


@dataclass
class BusyPool:
    """The pool. `streams` are requests that are still open."""

    proxy: Proxy
    mock: MockServer
    clock: FastClock
    storage: Storage
    source: random.Random
    end: float
    streams: list[asyncio.Task[object]] = field(default_factory=list)

    async def work_until(self, moment: float) -> None:
        """Send requests minute by minute, more around noon than at night."""
        while (begin := self.clock()) < moment:
            share = 0.55 + 0.45 * math.cos((self.end - begin) / 86400 * 2 * math.pi)
            for _ in range(round(_BUSIEST * share * self.source.uniform(0.6, 1.4))):
                await self.send(self._someone())
            self.clock.turn_to(min(moment, begin + 60.0))
            await self.storage.flush()

    async def learn(self) -> None:
        """Send more than the minute's quotas allow, so that they are known."""
        for model in (_PRO, _FLASH, _OLDER):
            count = round(1.3 * _MINUTE[model] * len(self.mock.keys))
            await asyncio.gather(*(self.send("ci", model, 0.0, words=5) for _ in range(count)))

    async def send(self, client: str, model: str = "", streamed: float = 0.6, words: int = 0) -> None:
        """Send a request of a client; one in fifty is wrong."""
        model = model or self.source.choice(_MODELS[client])
        action = "embedContent" if model == _EMBEDDING else "generateContent"
        if action == "generateContent" and self.source.random() < streamed:
            action = "streamGenerateContent?alt=sse"
        text = b"word " * (words or self.source.randrange(20, 4000))
        body = b'{"contents": [{"parts": [{"text": "%s"}]}]}' % text
        if action == "embedContent":
            body = b'{"content": {"parts": [{"text": "%s"}]}}' % text
        if self.source.random() < 0.02:
            body = b'{"contents": '
        target = f"/v1beta/models/{model}:{action}"
        await ask(self.proxy.port, "POST", target, ("x-goog-api-key", CLIENTS[client]), body=body)

    async def open_streams(self, ages: Sequence[int]) -> None:
        """Work on, and open streams that will have been open for so many seconds at the end, oldest first."""
        for age in ages:
            await self.work_until(self.end - age)
            self.mock.pace = 86400.0  # seconds between two events
            self.streams.append(asyncio.ensure_future(self.send(self._someone(), _FLASH, streamed=1.0)))
            await asyncio.sleep(0.1 * self.loop.rate)
            self.mock.pace = 0.01
        await self.work_until(self.end)
        self.loop.rate = 1.0

    @property
    def loop(self) -> FastLoop:
        """The loop that all runs on."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, FastLoop)
        return loop

    def _someone(self) -> str:
        (client,) = self.source.choices([*_SHARES], [*_SHARES.values()])
        return client


def _keys(end: float, count: int) -> dict[str, tuple[str, Health]]:
    """The keys by the suffix of their variable, with what becomes of each before `end`."""
    outage = end - 60 * _OUTAGE

    def is_out(asked: Asked) -> bool:
        return asked.model == _PRO and outage <= asked.now < outage + 60 * _OUTAGE_LASTS

    keys = {}
    for number in range(1, count + 1):
        suffix = (
            f"{number}__atlas-{number:02}"
            if number < count - 2
            else f"paid-{number - count + 3}__acme-{number}__acme"
        )
        quotas = [
            Health.only(lambda asked, model=model: asked.model == model, one)  # type: ignore[misc]
            for model in _DAY
            for one in (Health.quota(_MINUTE[model]), Health.day_quota(_DAY[model]))
        ]
        health = Health.together(Health.only(is_out, Health.overloaded()), *quotas)
        if number == 7:
            health = Health.until(end - 60 * _LEAKED, health, Health.leaked())
        if number >= count - 1:
            health = Health.until(end - 60 * _NO_CREDIT, health, Health.out_of_credit())
        keys[suffix] = f"AQ.{suffix}", health
    return keys


@contextlib.asynccontextmanager
async def busy_pool(folder: Path, minutes: int = 1440, count: int = 40) -> AsyncIterator[BusyPool]:
    """The pool after so many minutes, in which its state file is in `folder`."""
    end = float(int(time.time()))
    loop = asyncio.get_running_loop()
    assert isinstance(loop, FastLoop)
    clock = FastClock(loop, end - 60 * minutes - _LEARNING)
    keys = _keys(end, count)
    mock = MockServer(dict(keys.values()), clock=clock)
    prices = folder / "prices.csv"
    prices.write_text(_PRICES)
    variables = {
        "ADMIN_API_KEY": ADMIN,
        "PRICES_FILE": str(prices),
        "IDLE_TIMEOUT": "100000",
        **{f"GOOGLE_API_KEY_{suffix}": secret for suffix, (secret, _) in keys.items()},
        **{f"OUTPUT_API_KEY_{name}": key for name, key in CLIENTS.items()},
        **{f"CLIENT_{name}": limits for name, limits in _LIMITS.items()},
    }
    async with storage(folder / "state.db", clock) as kept:
        app = make_app(settings(mock.listen(), {}, **variables), clock, records=kept)
        app.record_in(kept)
        async with served(app) as here:
            pool = BusyPool(here, mock, clock, kept, random.Random(7), end)  # noqa: S311 - a load
            probing = asyncio.create_task(app.probe.run())
            await pool.learn()
            await pool.open_streams(_STREAMS)
            yield pool
            for task in (probing, *pool.streams):
                task.cancel()
            await asyncio.gather(probing, *pool.streams, return_exceptions=True)
    await mock.stop()
