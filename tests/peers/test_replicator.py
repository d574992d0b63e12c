"""What one process finds, the others know."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from proxycore.clock import Clock
from proxycore.demo import Health, MockServer
from proxycore.gemini.verdict import HEALTHY, REGION_BLOCKED, until_google_midnight
from proxycore.peers.hub import Hub
from proxycore.peers.publisher import Publisher
from proxycore.peers.store import Store, Subscriber
from proxycore.peers.update import Update, fingerprint
from proxycore.peers.worker_link import WorkerLink
from proxycore.rotation.bench import Bench, BenchPlace
from proxycore.rotation.key import Key
from proxycore.runtime.app import ProxyApplication, make_app
from proxycore.stats.meter import Meter
from proxycore.transport.listener import Listener
from tests.support.clocks import CLOCK, TurnedClock, loops_clock
from tests.support.proxy import rests, settings
from tests.support.waiting import until
from tests.support.wire import Got, RawUpstream, Seen, answer, ask

pytestmark = pytest.mark.usefixtures("io_loop")
MODEL = "gemini-2.5-flash"
GENERATE = f"/v1beta/models/{MODEL}:generateContent"
QUESTION = b'{"contents": [{"parts": [{"text": "hi"}]}]}'


class Worker:
    """A proxy that publishes what it finds and applies what others publish."""

    def __init__(self, app: ProxyApplication, port: int) -> None:
        self.app, self.port = app, port

    def key(self, secret: str) -> Key:
        return next(key for key in self.app.rotator.keys if key.secret == secret)

    async def ask(self, target: str = GENERATE) -> Got:
        return await ask(self.port, "POST", target, body=QUESTION)


@asynccontextmanager
async def workers(
    mock: MockServer, store: Store, count: int = 2, *, clock: Clock = CLOCK, **variables: str
) -> AsyncIterator[list[Worker]]:
    url = mock.listen()
    keys = {f"GOOGLE_API_KEY_{n}": secret for n, secret in enumerate(mock.keys)}
    async with AsyncExitStack() as stack:
        yield [await worker(stack, url, keys, store, clock=clock, **variables) for _ in range(count)]
    await mock.stop()


async def worker(
    stack: AsyncExitStack,
    url: str,
    keys: dict[str, str],
    store: Store,
    *,
    clock: Clock = CLOCK,
    **variables: str,
) -> Worker:
    publisher = Publisher(store)
    app = make_app(settings(url, keys, **variables), clock, publisher)
    listener, server = Listener("127.0.0.1", 0), app.server()
    listener.accept_for(server)
    stack.push_async_callback(server.close_all_connections)
    stack.callback(publisher.close)
    stack.push_async_callback(app.close)
    stack.callback(listener.stop)
    return Worker(app, listener.port)


def as_told(bench: Bench | None) -> Bench | None:
    """As others hear of it: without Google's words, which may quote the key."""
    return replace(bench, words="") if bench else None


async def test_a_bench_a_retirement_and_a_quota_are_known_to_the_other_at_once() -> None:
    healths = {
        "AQ.spent": Health.quota(2),
        "AQ.dead": Health.suspended(),
        "AQ.disabled": Health.service_disabled(),
        "AQ.fine": Health.healthy(),
    }
    clock = TurnedClock()
    mock = MockServer(healths, clock=clock)
    async with workers(mock, Store(clock), clock=clock, MAX_WAIT="0") as (one, other):
        spent, dead, disabled = (one.key(f"AQ.{name}") for name in ("spent", "dead", "disabled"))
        while not (disabled.whole and MODEL in spent.project.limiters and dead.whole):
            await one.ask()
        for seconds in (2, 10):
            clock.turn(seconds)
            deaths = dead.deaths.times
            while dead.deaths.times == deaths:
                await one.ask()
        while not (spent.project.limiters[MODEL].bench and spent.project.limiters[MODEL].quotas):
            await one.ask()
        await until(lambda: other.key("AQ.dead").retired is not None)
        assert dead.retired
        assert other.key("AQ.dead").retired == as_told(dead.retired)
        await until(lambda: other.key("AQ.disabled").whole == as_told(disabled.whole))
        limiter = other.key("AQ.spent").project.limiters[MODEL]
        await until(lambda: limiter.bench == as_told(spent.project.limiters[MODEL].bench))
        assert [quota.limit for quota in limiter.quotas.values()] == [2]
        mock.calls.clear()
        for _ in range(10):
            assert (await other.ask()).status == 200
        assert {call.key for call in mock.calls} == {"AQ.fine"}


async def test_a_key_that_is_removed_while_it_is_asked_is_refused_like_any() -> None:
    gate = asyncio.Event()
    refusal = b"""{"error": {"code": 403, "message": "It has been suspended.", "status": "PERMISSION_DENIED",
        "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "CONSUMER_SUSPENDED"}]}}"""

    async def script(_: Seen, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        writer.write(answer(403, refusal))

    async with RawUpstream(script) as upstream, AsyncExitStack() as stack:
        one = await worker(stack, upstream.url, {"GOOGLE_API_KEY_1": "gone"}, Store(CLOCK), MAX_WAIT="0")
        running = asyncio.ensure_future(one.ask())
        await until(lambda: len(upstream.seen) == 1)
        one.app.reload(settings(upstream.url, {"GOOGLE_API_KEY_1": "new"}, MAX_WAIT="0", MAX_ATTEMPTS="1"))
        gate.set()
        got = await running
        assert (got.status, got.body) == (403, refusal)
        assert one.key("new").state(CLOCK()) == "ready"
        await until(lambda: not one.app.context.running)


async def test_of_a_key_that_comes_with_a_reload_is_known_what_others_have_found() -> None:
    mock = MockServer({"AQ.fine": Health.healthy(), "AQ.off": Health.service_disabled()})
    url = mock.listen()
    async with workers(mock, Store(CLOCK)) as (one, other):
        one.app.reload(settings(url, {"GOOGLE_API_KEY_0": "AQ.fine"}))
        while not other.key("AQ.off").whole:
            await other.ask()
        one.app.reload(settings(url, {"GOOGLE_API_KEY_0": "AQ.fine", "GOOGLE_API_KEY_1": "AQ.off"}))
        assert one.key("AQ.off").whole == as_told(other.key("AQ.off").whole)


@pytest.mark.turned
async def test_a_clearing_is_known_to_the_other() -> None:
    clock = loops_clock()
    mock = MockServer({"AQ.key": Health.quota(1, window=2.0)}, clock=clock)
    async with workers(mock, Store(clock), clock=clock, MAX_WAIT="5") as (one, other):
        assert (await one.ask()).status == 200
        asked = asyncio.ensure_future(one.ask())
        limiters = other.key("AQ.key").project.limiters
        await until(lambda: MODEL in limiters and limiters[MODEL].bench is not None)
        assert (await asked).status == 200
        await until(lambda: limiters[MODEL].bench is None)


@pytest.mark.parametrize("place", BenchPlace)
async def test_every_kind_of_bench_and_its_end_are_known_to_the_other(place: BenchPlace) -> None:
    clock = TurnedClock()
    async with workers(MockServer({"AQ.key": Health.healthy()}), Store(clock), clock=clock) as (one, other):
        mine, theirs = one.key("AQ.key"), other.key("AQ.key")
        is_whole = place in {BenchPlace.WHOLE, BenchPlace.RETIRED}
        about = "" if is_whole else "https://page" if place is BenchPlace.ORIGIN else MODEL
        bench = Bench("refused", clock() + 1.0, 2, words="words that quote the key", suspected=True)
        one.app.rotator.set_bench(mine, place, bench, about)
        await until(lambda: theirs.bench_at(place, about) is not None)
        assert theirs.bench_at(place, about) == as_told(bench)
        assert other.app.rotator.unfit("https://page") == ({theirs} if place is BenchPlace.ORIGIN else set())
        one.app.rotator.clear_bench(mine, place, about)
        await until(lambda: theirs.bench_at(place, about) is None)
        assert other.app.rotator.unfit("https://page") == set()


@pytest.mark.turned
async def test_calls_of_one_are_counted_by_the_other_once_a_quota_is_known() -> None:
    clock = loops_clock()
    mock = MockServer({"AQ.key": Health.quota(6, window=1.0)}, clock=clock)
    async with workers(mock, Store(clock), clock=clock, MAX_WAIT="10") as (one, other):
        for _ in range(3):
            await asyncio.gather(*(each.ask() for each in (one, other) for _ in range(3)))
        mock.calls.clear()
        asked = []
        for each in (one, other) * 6:
            asked.append(asyncio.ensure_future(each.ask()))
            await asyncio.sleep(0.01)  # at the very same moment, neither could know of the other
        statuses = [got.status for got in await asyncio.gather(*asked)]
        assert statuses == [200] * 12
        assert sum(call.status == 429 for call in mock.calls) <= 2  # alone, each would be refused six


async def test_calls_from_before_a_quota_was_known_are_published_when_it_is() -> None:
    clock = TurnedClock()
    mock = MockServer({"AQ.key": Health.quota(6, window=30.0)}, clock=clock)
    async with workers(mock, Store(clock), clock=clock, MAX_WAIT="0") as (one, other):
        for each in (one, other, one, other, other, one):
            assert (await each.ask()).status == 200
            clock.turn(0.1)
        clock.turn(0.3)  # calls of just now might be refused as well
        assert (await one.ask()).status == 429
        for each in (one, other):
            limiters = each.key("AQ.key").project.limiters
            await until(lambda known=limiters: any(q.window < 60 for q in known[MODEL].quotas.values()))  # type: ignore[misc]
            (quota,) = limiters[MODEL].quotas.values()
            assert quota.window == pytest.approx(30.0, abs=0.1)
            assert len(limiters[MODEL].log) == 6
            assert quota.left(limiters[MODEL].log, clock()) == 0


async def test_an_owner_is_known_to_the_other() -> None:
    mock = MockServer({f"AQ.key-{n}": Health.healthy() for n in range(5)})
    async with workers(mock, Store(CLOCK)) as (one, other):
        fields = (("X-Goog-Upload-Protocol", "raw"), ("Content-Type", "text/plain"))
        assert (await ask(one.port, "POST", "/upload/v1beta/files", *fields, body=b"content")).status == 200
        await until(lambda: len(other.app.affinity) == len(one.app.affinity) > 0)
        name = next(iter(vars(one.app.affinity)["_entries"]))
        mock.calls.clear()
        assert (await ask(other.port, "GET", f"/v1beta/{name}")).status == 200
        assert len(mock.calls) == 1


async def test_a_conversation_goes_on_with_its_key_in_another_process() -> None:
    mock = MockServer({f"AQ.key-{n}": Health.healthy() for n in range(20)})
    async with workers(mock, Store(CLOCK)) as (one, other):
        for first in ("this", "that", "more"):
            said = {"role": "user", "parts": [{"text": f"{first} " * 2000}]}
            question = json.dumps({"contents": [said]}).encode()
            for worker in (one, other, one, other):
                assert (await ask(worker.port, "POST", GENERATE, body=question)).status == 200
            assert len({call.key for call in mock.calls if call.body == question}) == 1


async def test_a_leg_of_an_upload_that_is_quicker_than_the_news_of_it_is_let_in() -> None:
    store = Store(CLOCK)
    publish = store.publish

    def late(updates: Iterable[Update], source: Subscriber | None = None) -> None:
        asyncio.get_running_loop().call_later(0.02, publish, list(updates), source)

    store.publish = late  # type: ignore[method-assign]
    mock = MockServer({f"AQ.key-{n}": Health.healthy() for n in range(5)})
    async with workers(mock, store, OUTPUT_API_KEY="the-client") as (one, other):
        client = ("x-goog-api-key", "the-client")
        resumable = (("X-Goog-Upload-Protocol", "resumable"), ("X-Goog-Upload-Command", "start"))
        started = await ask(one.port, "POST", "/upload/v1beta/files", client, *resumable, body=b"{}")
        address = "/" + started.one("x-goog-upload-url").split("/", 3)[3]
        leg = (("X-Goog-Upload-Command", "upload, finalize"), ("X-Goog-Upload-Offset", "0"))
        assert (await ask(other.port, "POST", address, *leg, body=b"content")).status == 200
        invented = "/upload/v1beta/files?upload_id=invented"
        assert (await ask(other.port, "POST", invented, *leg, body=b"content")).status == 401


async def test_a_search_that_one_begins_is_one_for_all_and_so_is_its_end() -> None:
    clock = TurnedClock()
    mock = MockServer({f"AQ.key-{n}": Health.bare_429() for n in range(5)}, clock=clock)
    async with workers(mock, Store(clock), clock=clock, MAX_WAIT="0") as (one, other):
        assert (await one.ask()).status == 429
        assert len(mock.calls) == 3
        await until(lambda: MODEL in other.app.rotator.searches)
        mine, theirs = (here.app.rotator.searches[MODEL] for here in (one, other))
        assert sorted(map(mine.tries, one.app.rotator.keys)) == [0, 0, 1, 1, 1]
        assert [theirs.tries(other.key(key.secret)) for key in one.app.rotator.keys] == [
            mine.tries(key) for key in one.app.rotator.keys
        ]
        mock.calls.clear()
        assert (await other.ask()).status == 429
        assert len(mock.calls) == 0  # it is not time for the next try
        mock.keys = dict.fromkeys(mock.keys, Health.healthy())
        clock.turn(0.1)
        assert (await other.ask()).status == 200
        await until(lambda: not one.app.rotator.searches)
        assert (await one.ask()).status == 200


async def test_trouble_of_the_upstream_that_one_sees_is_known_to_the_other() -> None:
    clock = TurnedClock()
    async with workers(
        MockServer({"AQ.key": Health.overloaded()}), Store(clock), clock=clock, MAX_WAIT="0"
    ) as (
        one,
        other,
    ):
        while one.app.rotator.outages.of(MODEL) is None:
            assert (await one.ask()).status == 503
        await until(lambda: other.app.rotator.outages.of(MODEL) is not None)


async def test_an_outage_through_one_proxy_is_known_to_processes_that_use_the_same_one() -> None:
    clock = TurnedClock()
    store = Store(clock)
    mine, same = ("http://me:secret-one@127.0.0.1:9", "http://me:secret-two@127.0.0.1:9")
    keys = {"GOOGLE_API_KEY_0": "AQ.zero", "GOOGLE_API_KEY_1": "AQ.one"}
    async with AsyncExitStack() as stack:
        one, other, third = [
            await worker(stack, "http://127.0.0.1:9", keys, store, clock=clock, UPSTREAM_PROXY_1=proxy)
            for proxy in (mine, same, "http://other@127.0.0.1:9")
        ]
        key = one.key("AQ.one")
        one.app.rotator.apply(one.app.rotator.call(key, MODEL, spends=True), REGION_BLOCKED)
        await until(lambda: other.app.rotator.outages.of(MODEL, same) is not None)
        assert next(iter(other.app.rotator.outages)).proxy == same
        one.app.rotator.apply(one.app.rotator.call(one.key("AQ.zero"), MODEL, spends=True), REGION_BLOCKED)
        await until(lambda: third.app.rotator.outages.of(MODEL, None) is not None)
        assert len(list(third.app.rotator.outages)) == 1
        clock.turn(1.0)
        one.app.rotator.apply(one.app.rotator.call(key, MODEL, spends=True), HEALTHY)
        await until(lambda: other.app.rotator.outages.of(MODEL, same) is None)
        assert other.app.rotator.outages.of(MODEL, None)
    assert not any(b"secret" in update.encode() for update in store.snapshot())


async def test_a_newcomer_starts_with_what_the_others_know() -> None:
    store = Store(CLOCK)
    async with workers(MockServer({"AQ.off": Health.service_disabled()}), store, 1) as (one,):
        assert (await one.ask()).status == 403
        await until(lambda: bool(store.snapshot()))
        async with AsyncExitStack() as stack:
            new = await worker(stack, "http://127.0.0.1:9", {"GOOGLE_API_KEY_0": "AQ.off"}, store)
            assert new.key("AQ.off").whole
            assert new.key("AQ.off").whole == as_told(one.key("AQ.off").whole)


async def test_a_newcomer_takes_part_in_a_search_that_is_on() -> None:
    clock = TurnedClock()
    store = Store(clock)
    async with workers(MockServer({"AQ.dead": Health.suspended()}), store, 1, clock=clock, MAX_WAIT="0") as (
        one,
    ):
        assert (await one.ask()).status == 403
        assert None in one.app.rotator.searches
        await until(lambda: bool(store.snapshot()))
        async with AsyncExitStack() as stack:
            keys = {"GOOGLE_API_KEY_0": "AQ.dead"}
            new = await worker(stack, "http://127.0.0.1:9", keys, store, clock=clock)
            assert None in new.app.rotator.searches
            assert new.app.rotator.pick(MODEL) is None


async def test_one_call_for_all_processes_finds_out_whether_a_daily_quota_was_raised() -> None:
    clock = TurnedClock()
    clock.turn(until_google_midnight(clock.wall()) + 8 * 3600.0)
    mock = MockServer({"AQ.key": Health.day_quota(2)}, clock=lambda: clock.now)
    async with workers(mock, Store(clock), clock=clock, MAX_WAIT="0") as (one, other):
        limiters = [each.app.rotator.keys[0].project.limiter(MODEL) for each in (one, other)]
        assert [(await one.ask()).status for _ in range(3)] == [200, 200, 429]
        await until(lambda: limiters[1].bench is not None and limiters[1].today is not None)
        calls = len(mock.calls)
        for _ in range(3):  # times that its quota has not changed
            clock.turn(2.3 * 3600.0)
            for each in (one, other):
                each.app.rotator.retry_spent_days()
            statuses = [(await each.ask()).status for each in (one, other, one, other)]
            assert statuses == [429] * 4
            await until(lambda: all(limiter.today and limiter.today.spent for limiter in limiters))
        assert len(mock.calls) <= calls + 6
        mock.keys["AQ.key"] = Health.healthy()
        clock.turn(2.3 * 3600.0)
        other.app.rotator.retry_spent_days()
        await until(lambda: limiters[0].free_at() <= clock())
        assert (await one.ask()).status == 200
        await until(lambda: all(limiter.today and not limiter.today.requests for limiter in limiters))
        for _ in range(5):
            clock.turn(1.0)
            assert [(await each.ask()).status for each in (one, other)] == [200, 200]


async def test_a_day_that_a_host_with_a_wrong_clock_tells_of_ends_at_our_midnight_at_the_latest() -> None:
    store = Store(CLOCK)
    async with workers(MockServer({"AQ.key": Health.healthy()}), store, 1) as (one,):
        now, name = CLOCK(), fingerprint("AQ.key")
        late, soon = now + 40 * 3600, now + 1
        store.publish([Update("model", name, "late", ["day", 1, False], now, late, (late, now, now))])
        store.publish([Update("model", name, "soon", ["day", 1, False], now, late, (soon, now, now))])
        midnight = now + until_google_midnight(CLOCK.wall())
        key = one.key("AQ.key")
        assert key.ready_at("late") == pytest.approx(midnight, abs=5)
        assert key.ready_at("soon") == soon


async def test_those_whom_one_worker_told_to_retry_are_expected_by_another() -> None:
    async with workers(MockServer({"AQ.key": Health.healthy()}), Store(CLOCK), 2) as (one, other):
        at, expected = CLOCK() + 100.0, other.app.queues.expected
        assert expected.admit("m", 9.0, 10.0)
        one.app.queues.expected.add("m", at, "client")
        await until(lambda: not expected.admit("m", 9.0, 10.0))
        expected.remove("m", at)
        assert expected.admit("m", 9.0, 10.0)


@pytest.mark.parametrize("value", [None, 5, "text", [], ["a"], {"quotas": 3}, {"quotas": {"q": [1]}}])
@pytest.mark.parametrize(
    "kind",
    [
        *("model", "caller", "origin", "whole", "retired", "quota", "call", "owner", "project"),
        *("outage", "search", "expect", "conversation", "?"),
    ],
)
async def test_an_update_that_makes_no_sense_does_no_harm(kind: str, value: object) -> None:
    store = Store(CLOCK)
    async with workers(MockServer({"AQ.key": Health.healthy()}), store, 1) as (one,):
        keys = (fingerprint("AQ.key"), "", "unknown")
        nonsense = [Update(kind, key, "some model", value, 1.0, 1e12) for key in keys]
        sense = Update("outage", "", "other model", "overloaded", 1.0, 1e12, (1.0,))
        store.publish([*nonsense, sense])
        rotator = one.app.rotator
        assert [outage.model for outage in rotator.outages] == ["other model"]  # what follows nonsense counts
        assert not rotator.searches
        assert not rests(one.key("AQ.key"))
        assert not one.app.queues.waiting
        assert (await one.ask()).status == 200


class Host:
    """A process of a host, as far as its store goes."""

    def __init__(self, path: Path) -> None:
        self.store = Store(CLOCK)
        self.publisher = Publisher(self.store)
        self.link = WorkerLink(path, self.store, Meter(CLOCK))
        self.heard: list[Update] = []

    async def __aenter__(self) -> "Host":
        await self.link.start()
        self.publisher.start(self.heard.extend)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.publisher.close()
        await self.link.close()


@asynccontextmanager
async def running_hub(path: Path, link: Callable[[Store], None] = lambda _: None) -> AsyncIterator[Hub]:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    hub = Hub(link, CLOCK)
    await hub.start(listener)
    try:
        yield hub
    finally:
        await hub.close()
        await asyncio.to_thread(path.unlink)


def news(number: int) -> Update:
    return Update("owner", "0", f"files/{number}", True, float(number), 1e12)


async def test_processes_of_a_host_get_updates_of_each_other_and_not_their_own(tmp_path: Path) -> None:
    path = tmp_path / "board"
    async with running_hub(path), Host(path) as one, Host(path) as other:
        told = [news(number) for number in range(1, 2001)]
        for update in told:
            one.publisher.publish(update)
        await until(lambda: len(other.heard) == 2000)
        assert other.heard == told
        assert one.heard == []
        async with Host(path) as late:
            assert late.heard == told


async def test_what_is_published_last_arrives_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "board"
    async with running_hub(path), Host(path) as other:
        async with Host(path) as one:
            one.publisher.publish(news(1))
        await until(lambda: other.heard == [news(1)])


async def test_a_hub_that_is_started_anew_knows_what_its_processes_know(tmp_path: Path) -> None:
    path = tmp_path / "board"
    async with AsyncExitStack() as stack:
        async with running_hub(path):
            one = await stack.enter_async_context(Host(path))
            other = await stack.enter_async_context(Host(path))
            one.publisher.publish(news(1))
            await until(lambda: other.heard == [news(1)])
        one.publisher.publish(news(2))
        await until(lambda: one.store.snapshot() == [news(1), news(2)])
        await stack.enter_async_context(running_hub(path))
        await until(lambda: other.heard == [news(1), news(2)])
        late = await stack.enter_async_context(Host(path))
        assert sorted(late.heard, key=lambda update: update.stamp) == [news(1), news(2)]
        assert one.heard == []
        assert other.heard == [news(1), news(2)]  # and nothing twice


async def test_a_reload_keeps_what_is_known(tmp_path: Path) -> None:
    path, links, now = tmp_path / "board", list[Store](), CLOCK()
    async with running_hub(path, links.append) as hub, Host(path) as one, Host(path) as other:
        one.publisher.publish(
            Update("whole", "off", "", ["disabled", 1, False], now, now + 99, (now + 9, now))
        )
        await until(lambda: bool(other.heard))
        hub.reload()
        await until(lambda: len(links) == 2)
        async with Host(path) as late:
            assert [update.key for update in late.heard] == ["off"]


async def test_without_a_hub_a_process_starts_all_the_same(tmp_path: Path) -> None:
    async with Host(tmp_path / "nowhere") as alone:
        alone.publisher.publish(news(1))
