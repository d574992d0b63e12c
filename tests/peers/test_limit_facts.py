"""What clients have used is known to a process that starts later, and shown by every process."""

import json

import pytest

from proxycore.clock import Clock
from proxycore.peers.limit_facts import LimitFacts, SeenUse
from proxycore.peers.limit_keeper import LimitKeeper
from proxycore.peers.store import Store
from proxycore.peers.update import Update, decode_all
from proxycore.stats.limits.client_limits import ClientLimits, Counted, Period, Rate
from proxycore.stats.limits.ledger import Ledger, LimitRules
from proxycore.stats.limits.lender import LedgerLender
from tests.support.clocks import TurnedClock
from tests.support.proxy import KEYS, Proxy, proxy
from tests.support.wire import RawUpstream, always, answer, ask

pytestmark = pytest.mark.usefixtures("io_loop")
ANN = ("x-goog-api-key", "the-key-of-ann")
LIMITED = KEYS | {"OUTPUT_API_KEY_ANN": ANN[1], "CLIENT_ANN": "requests=2/minute tokens=1k/day"}
SERVED = answer(200, b'{"usageMetadata": {"promptTokenCount": 30, "candidatesTokenCount": 20}}')
RULES = LimitRules({"a b": ClientLimits((Rate(Counted.REQUESTS, 9, Period.MINUTE),))})


def keeper(here: Proxy, store: Store, clock: Clock) -> LimitKeeper:
    return LimitKeeper(here.app.pool.limiter.ledger, store, url=lambda: None, clock=clock)


async def generate(here: Proxy) -> int:
    got = await ask(here.port, "POST", "/v1beta/models/gemini-2.5-flash:generateContent", ANN, body=b"{}")
    return int(got.one("retry-after")) if got.status == 429 else got.status


async def test_limits_go_on_after_a_restart() -> None:
    clock = TurnedClock()
    store, later = Store(clock), Store(clock)
    async with RawUpstream(always(SERVED)) as google:
        async with proxy(google.url, LIMITED, clock) as here:
            keeping = keeper(here, store, clock)
            keeping.start()
            await keeping.connect()
            assert [await generate(here) for _ in range(3)] == [200, 200, 60]
            await keeping.close()
        clock.turn(20)
        later.publish(decode_all(update.encode() for update in store.snapshot()))
        async with proxy(google.url, LIMITED, clock) as here:
            keeping = keeper(here, later, clock)
            keeping.start()
            assert await generate(here) == 40
            assert here.app.pool.limiter.ledger.used("ANN") == {"requests/minute": 2, "tokens/day": 100}
            clock.turn(40)
            assert await generate(here) == 200
            await keeping.close()


async def test_what_is_read_late_is_added_unless_more_was_counted() -> None:
    clock = TurnedClock()
    store = Store(clock)
    ledger, other = Ledger(RULES, clock), Ledger(RULES, clock)
    for _ in range(5):
        LedgerLender(other).ask(None, "a b", 1, 0)
    LimitFacts(ledger, store, lambda: "-", clock).start()
    LimitFacts(other, store, lambda: "-", clock).publish_changes()
    assert ledger.used("a b") == {"requests/minute": 5}
    LimitFacts(other, store, lambda: "-", clock).publish_changes()
    assert ledger.used("a b") == {"requests/minute": 5}


async def test_every_process_shows_what_all_hosts_have_counted_until_it_is_over() -> None:
    clock = TurnedClock()
    store = Store(clock)
    seen = SeenUse(store, clock)
    for host in ("one", "two"):
        ledger = Ledger(RULES, clock)
        for _ in range(3):
            LedgerLender(ledger).ask(None, "a b", 1, 0)
        LimitFacts(ledger, store, lambda name=host: name, clock).publish_changes()  # type: ignore[misc]
        clock.turn(10)
    assert seen.of("a b") == {"requests/minute": 6}
    clock.turn(45)
    assert seen.of("a b") == {"requests/minute": 3}
    clock.turn(10)
    assert seen.of("a b") == {}


@pytest.mark.parametrize(
    "value",
    [None, 3, [["requests/minute"]], [["requests/week", [1]]], [["requests/minute", ["x"]]]],
    ids=json.dumps,
)
async def test_malformed_facts_are_skipped(value: object) -> None:
    clock = TurnedClock()
    store, ledger = Store(clock), Ledger(RULES, clock)
    LimitFacts(ledger, store, lambda: "-", clock).start()
    seen = SeenUse(store, clock)
    store.publish([Update("limit", "", "- a b", value, clock(), clock() + 60, (clock(),))])
    assert seen.of("a b") == {}
    assert not any(ledger.used("a b").values())
