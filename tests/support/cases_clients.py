"""Clients for the cases: some retry after `Retry-After`, others run in the background."""

import asyncio
from collections.abc import Iterable
from typing import Any, Self

from tests.support.cases_support import Answered, Pool, Request
from tests.support.wire import Got


def statuses(answers: Iterable[Got]) -> list[int]:
    return [answer.status for answer in answers]


def all_served(answers: Iterable[Got]) -> bool:
    return set(statuses(answers)) <= {200}


async def loop(
    here: Pool, seconds: float, request: Request | None = None, pause: float = 0.0
) -> list[Answered]:
    """A client that repeats its request for a time, and waits as Retry-After says.

    Only what is answered by then counts.
    """
    end, answers = here.now + seconds, []
    while here.now < end:
        answers.append(await (request or here.plain)())
        wait = answers[-1].retry_after if answers[-1].status in {429, 503} else pause
        await asyncio.sleep(min(wait, max(0.0, end - here.now)))
    return [answer for answer in answers if answer.end <= end]


async def loops(
    here: Pool, clients: int, seconds: float, request: Request | None = None, pause: float = 0.0
) -> list[Answered]:
    """Several such clients at once."""
    answers = await asyncio.gather(*(loop(here, seconds, request, pause) for _ in range(clients)))
    return [answer for each in answers for answer in each]


class Beside:
    """Clients with plain requests during something else, and a watch for outages meanwhile.

    In the first second of its context nothing else happens: that is what they are measured by.
    """

    def __init__(self, here: Pool, clients: int = 4, every: float = 0.2, before: float = 1.0) -> None:
        self._here, self._clients, self._every, self._before = here, clients, every, before
        self.answers: list[Answered] = []
        self.outages: list[Any] = []
        self._over = False

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.ensure_future(self._client()) for _ in range(self._clients)]
        self._tasks.append(asyncio.ensure_future(self._watch()))
        await asyncio.sleep(self._before)
        self.since = self._here.now
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over = True
        await asyncio.gather(*self._tasks)

    async def _client(self) -> None:
        while not self._over:
            begun = self._here.now
            self.answers.append(await self._here.plain())
            await asyncio.sleep(max(0.0, begun + self._every - self._here.now))

    async def _watch(self) -> None:
        while not self._over:
            self.outages += await self._here.outages()
            await asyncio.sleep(self._every)

    @property
    def meanwhile(self) -> list[Answered]:
        return [answer for answer in self.answers if answer.at >= self.since]

    def assert_unmoved(self) -> None:
        """None is refused, none takes 100 ms longer than the slowest before, no outage is shown."""
        assert all_served(self.answers), statuses(self.answers)
        before = max(answer.seconds for answer in self.answers if answer.at < self.since)
        slowest = max(answer.seconds for answer in self.meanwhile)
        assert slowest <= before + 0.1, f"{slowest:.2f} s; before it was {before:.2f} s"
        assert self.outages == []
