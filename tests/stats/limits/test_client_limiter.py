"""A process that gets its requests granted by another one: none of them is lost, and none is made twice."""

import asyncio
from collections.abc import Callable

import pytest

from proxycore.stats.limits.account import CONCURRENT, Grant
from proxycore.stats.limits.client_limiter import Admission, ClientLimiter, Refusal
from proxycore.stats.limits.client_limits import ClientLimits, Counted, Period, Rate
from proxycore.stats.limits.ledger import Ledger, LimitRules
from proxycore.stats.limits.lender import LedgerLender
from proxycore.stats.limits.remote_lender import LedgerAwayError, News, RemoteLender
from tests.support.clocks import TurnedClock
from tests.support.turned_scheduler import TurnedScheduler

pytestmark = pytest.mark.usefixtures("io_loop")
MANY = ClientLimits((Rate(Counted.REQUESTS, 1600, Period.HOUR),))
FEW = ClientLimits((Rate(Counted.REQUESTS, 6, Period.HOUR),), concurrent=4)

SHORT = ClientLimits((Rate(Counted.REQUESTS, 1, Period.SECOND),), concurrent=4)


class Wire:
    """A connection to the process that keeps the ledger, which a test can cut or slow down."""

    def __init__(self, ledger: Ledger, name: str) -> None:
        self._lender = LedgerLender(ledger)
        self._name = name
        self.asked = 0
        self.is_cut = False
        self.delay: asyncio.Event | None = None

    async def lend(self, client: str, limits: ClientLimits, needed: int, ahead: int) -> Grant:  # noqa: ARG002 - of others
        self.asked += 1
        if self.is_cut:
            raise LedgerAwayError
        grant = self._lender.ask(self._name, client, needed, ahead)
        if self.delay:
            await self.delay.wait()
        return grant

    def tell(self, client: str, limits: ClientLimits, news: News) -> None:  # noqa: ARG002 - of others
        if self.is_cut:
            return
        if news.unused:
            self._lender.take_back(client, news.unused, news.at)
        self._lender.release(self._name, client, news.ended)
        if news.tokens:
            self._lender.spend(client, news.tokens)


class Site:
    """A ledger and two processes that use it."""

    def __init__(self, limits: ClientLimits, patience: float = 60.0) -> None:
        self.clock = TurnedClock()
        self.scheduler = TurnedScheduler(self.clock)
        self.limits = limits
        rules = LimitRules({"ann": limits})
        self.ledger = Ledger(rules, self.clock)
        self.wires = [Wire(self.ledger, name) for name in ("one", "two")]
        self.limiters = []
        for wire in self.wires:
            own = Ledger(rules, self.clock)
            limiter = ClientLimiter(own, self.scheduler)
            limiter.lender = RemoteLender(wire, own, lambda: 2, self.clock, patience=patience)
            self.limiters.append(limiter)

    async def admit(self, number: int) -> Admission | Refusal:
        decided = self.limiters[number].admit("ann", self.limits)
        return decided if isinstance(decided, Admission | Refusal) else await decided

    @property
    def used(self) -> int:
        return self.ledger.used("ann").get("requests/hour", 0)

    @property
    def in_progress(self) -> int:
        account = self.ledger.account("ann")
        assert account
        return account.in_progress


async def settled(condition: Callable[[], bool]) -> None:
    for _ in range(100):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not come about")


async def test_a_busy_client_seldom_has_to_wait_and_gets_all_that_is_its() -> None:
    site = Site(MANY)
    admitted = 0
    for number in range(5000):
        site.scheduler.turn(0.005)
        admitted += isinstance(await site.admit(number % 2), Admission)
        await asyncio.sleep(0)
    assert admitted == 1600 == site.used
    assert sum(wire.asked for wire in site.wires) < 600


async def test_what_is_not_needed_is_given_back() -> None:
    site = Site(MANY)
    for _ in range(200):
        site.scheduler.turn(0.005)
        assert isinstance(await site.admit(0), Admission)
        await asyncio.sleep(0)
    assert site.used > 200
    site.scheduler.turn(1)
    assert site.used == 200


async def test_a_request_that_was_not_made_does_not_count() -> None:
    site = Site(FEW)
    for made in (True, False, False, True):
        admission = await site.admit(0)
        assert isinstance(admission, Admission)
        site.limiters[0].end(admission, made=made)
    assert (site.used, site.in_progress) == (2, 0)


async def test_places_are_those_of_all_processes() -> None:
    site = Site(FEW)
    held = [await site.admit(number % 2) for number in range(4)]
    refused = await site.admit(0)
    assert isinstance(refused, Refusal)
    assert refused.limit == CONCURRENT
    assert isinstance(held[1], Admission)
    site.limiters[1].end(held[1], made=True)
    assert isinstance(await site.admit(0), Admission)


async def test_without_the_ledger_each_process_grants_its_share() -> None:
    site = Site(FEW)
    for wire in site.wires:
        wire.is_cut = True
    for number in (0, 1):
        got = []
        for _ in range(5):
            got.append(admission := await site.admit(number))
            if isinstance(admission, Admission):
                site.limiters[number].end(admission, made=True)
        assert [isinstance(one, Admission) for one in got] == [True] * 3 + [False] * 2


async def test_what_is_refused_stays_refused_without_the_ledger() -> None:
    site = Site(FEW)
    for _ in range(6):
        admission = await site.admit(0)
        assert isinstance(admission, Admission)
        site.limiters[0].end(admission, made=True)
    assert isinstance(await site.admit(1), Refusal)
    site.wires[1].is_cut = True
    site.clock.turn(1)
    refused = await site.admit(1)
    assert isinstance(refused, Refusal)
    assert refused.seconds == pytest.approx(3599)


async def test_a_grant_that_comes_too_late_is_given_back() -> None:
    site = Site(FEW, patience=0.0)
    site.wires[0].delay = asyncio.Event()
    assert isinstance(await site.admit(0), Admission)  # by its own share, which the ledger is told of
    assert (site.used, site.in_progress) == (2, 2)
    site.wires[0].delay.set()
    await settled(lambda: (site.used, site.in_progress) == (1, 1))


async def test_a_client_that_leaves_while_its_request_is_decided_gives_it_back() -> None:
    site = Site(FEW)
    site.wires[0].delay = asyncio.Event()
    asking = asyncio.ensure_future(site.admit(0))
    await settled(lambda: site.used == 1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    site.wires[0].delay.set()
    await settled(lambda: (site.used, site.in_progress) == (0, 0))


@pytest.mark.parametrize("alone", [True, False])
async def test_a_request_that_is_a_little_early_waits_and_one_that_is_not_is_refused(*, alone: bool) -> None:
    site = Site(SHORT)
    if alone:
        site.limiters = [ClientLimiter(site.ledger, site.scheduler)] * 2
    begun = site.clock()
    assert isinstance(await site.admit(0), Admission)
    site.scheduler.turn(0.5)
    refused = await site.admit(1)
    assert (refused, site.scheduler.pending) == (Refusal("requests/second", 0.5), 0)
    site.scheduler.turn(0.3)
    early = asyncio.ensure_future(site.admit(1))
    await settled(lambda: site.scheduler.pending == 1)
    assert isinstance(await site.admit(0), Refusal)  # the only place that opens soon is taken
    site.scheduler.turn(0.19)
    await asyncio.sleep(0)
    assert not early.done()
    site.scheduler.turn(0.02)
    admission = await early
    assert isinstance(admission, Admission)
    assert admission.at == begun + 1


async def test_a_client_that_leaves_while_its_request_waits_gives_its_place_back() -> None:
    site = Site(SHORT)
    assert isinstance(await site.admit(0), Admission)
    site.scheduler.turn(0.9)
    early = asyncio.ensure_future(site.admit(1))
    await settled(lambda: site.scheduler.pending == 1)
    assert site.in_progress == 2
    early.cancel()
    site.scheduler.turn(0.2)
    await settled(lambda: site.in_progress == 1)
    assert isinstance(await site.admit(1), Admission)
