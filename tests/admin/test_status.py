"""`/status.json`: the state of the keys, only for the admin."""

import asyncio
import json
import re
from typing import Any

import pytest
from tornado.httputil import HTTPHeaders

from proxycore import __version__
from proxycore.admin.snapshot import snapshot
from proxycore.demo import Health, MockServer
from proxycore.http.auth import Admin
from proxycore.rotation.events import Origin, RequestBlamed
from proxycore.rotation.judgement import Judgement
from proxycore.stats.figures import Figures
from proxycore.stats.meter import Meter
from proxycore.storage.status import StateFileStatus, StateFileUse
from tests.support.cases_support import pool, target
from tests.support.clocks import CLOCK, TurnedClock
from tests.support.documents import API, blocks
from tests.support.proxy import KEYS, Proxy, proxy
from tests.support.scripted import BARE, CALLER, Answer, Call, error
from tests.support.waiting import until
from tests.support.wire import HOME, ask

pytestmark = pytest.mark.usefixtures("io_loop")
MODEL = "gemini-2.5-flash"
GENERATE = f"/v1beta/models/{MODEL}:generateContent"
BODY = b'{"contents": [{"parts": [{"text": "hi"}]}]}'
NOBODY = "http://127.0.0.1:9"


async def status(here: Proxy, *fields: tuple[str, str]) -> dict[str, Any]:
    got = await ask(here.port, "GET", "/status.json", HOME, *fields)
    assert got.status == 200
    assert got.one("content-type") == "application/json; charset=UTF-8"
    assert got.one("cache-control") == "no-store"
    content: dict[str, Any] = json.loads(got.body)
    return content


def by_name(content: dict[str, Any]) -> dict[str, Any]:
    return {key["name"]: key for key in content["keys"]}


def shape(value: object) -> object:
    """Names and types, less the numbers."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    return type(value)


@pytest.mark.parametrize(
    ("variables", "offered", "allowed"),
    [
        ({"ADMIN_API_KEY": "the-admin"}, "the-admin", True),
        ({"ADMIN_API_KEY": "the-admin", "OUTPUT_API_KEY": "the-client"}, "the-client", False),
        ({"ADMIN_API_KEY": "the-admin"}, "", False),
        ({"OUTPUT_API_KEY": "the-client"}, "the-client", True),
        ({"OUTPUT_API_KEY": "the-client"}, "", False),
        ({"OUTPUT_API_KEY": "the-client", "OUTPUT_API_KEY_ALICE": "alices"}, "alices", False),
        ({}, "", True),
    ],
)
async def test_the_status_needs_the_admin_key(variables: dict[str, str], offered: str, allowed: bool) -> None:
    async with proxy(NOBODY, KEYS, CLOCK, **variables) as here:
        fields = [("Authorization", f"Bearer {offered}")] if offered else []
        got = await ask(here.port, "GET", "/status.json", HOME, *fields)
        assert got.status == (200 if allowed else 401)
        assert (b"keys" in got.body) == allowed


@pytest.mark.parametrize(
    ("address", "fields", "allowed"),
    [
        ("127.0.0.1", {}, True),
        ("127.8.8.8", {}, True),
        ("::1", {}, True),
        ("::ffff:127.0.0.1", {}, True),
        ("192.0.2.1", {}, False),
        ("::ffff:192.0.2.1", {}, False),
        ("", {}, False),
        ("127.0.0.1", {"X-Forwarded-For": "192.0.2.1"}, False),
        ("127.0.0.1", {"Forwarded": "for=192.0.2.1"}, False),
    ],
)
def test_without_any_key_only_this_host_sees_it(address: str, fields: dict[str, str], allowed: bool) -> None:
    assert Admin(None).admits(HTTPHeaders(fields), "", address) == allowed


async def test_it_shows_each_key_and_what_was_learned_and_no_secret() -> None:
    clock = TurnedClock(1_800_007_200.0)  # two hours after Google's midnight
    mock = MockServer(
        {
            "AQ.fine": Health.healthy(),
            "AQ.two": Health.quota(2, project="70001"),
            "AQ.day": Health(models={MODEL: Health.day_spent()}),
            "AQ.dead": Health.suspended(),
            "AQ.off": Health.service_disabled(),
        },
        clock=clock,
    )
    keys = {f"GOOGLE_API_KEY_{secret.removeprefix('AQ.')}": secret for secret in mock.keys}
    async with proxy(mock.listen(), keys, clock) as here:
        for _ in range(40):
            assert (await ask(here.port, "POST", GENERATE, body=BODY)).status == 200
            clock.turn(0.01)
        dead = next(key for key in here.app.rotator.keys if key.name == "dead")
        while not dead.retired:  # that it is dead is proved when it is said again and again
            assert (await ask(here.port, "POST", GENERATE, body=BODY)).status == 200
            clock.turn(0.2)
        content = await status(here)
    await mock.stop()
    shown = by_name(content)
    assert {name: key["state"] for name, key in shown.items()} == {
        "fine": "ready",
        "two": "ready",
        "day": "ready",
        "dead": "retired",
        "off": "benched",
    }
    assert content["version"] == __version__
    assert shown["off"]["bench"]["reason"] == "SERVICE_DISABLED"
    assert shown["off"]["bench"]["until"] > content["time"] + 240
    assert shown["two"]["project"] == "70001"
    two = shown["two"]["models"][MODEL]
    (quota,) = two["quotas"].values()
    assert (quota["requests"], quota["period"], quota["allowed"], quota["left"]) == (2, 60.0, 2, 0)
    assert quota["window"] == pytest.approx(60.0, abs=0.1)
    assert two["bench"]["reason"] == "quota exhausted"
    assert shown["day"]["models"][MODEL]["today"]["left"] == 0
    assert shown["fine"]["models"] == {} or shown["fine"]["models"][MODEL]["quotas"] == {}
    assert "AQ." not in json.dumps(content)
    example, *_ = (block.code for block in blocks(API) if block.language == "json")
    assert shape(json.loads(example)["models"]["gemini-2.0-flash"]) == shape(two)


async def test_waiting_requests_and_outages_are_shown() -> None:
    mock = MockServer({f"AQ.{n}": Health.bare_429() for n in range(5)})
    keys = {f"GOOGLE_API_KEY_{n}": secret for n, secret in enumerate(mock.keys)}
    async with proxy(mock.listen(), keys, MAX_WAIT="30") as here:
        waiting = [asyncio.ensure_future(ask(here.port, "POST", GENERATE, body=BODY)) for _ in range(3)]
        await until(lambda: any(search.outage for search in here.app.rotator.searches.values()))
        content = await status(here)
        assert content["waiting"] > 0
        (outage,) = content["outages"]
        assert outage["model"] == MODEL
        assert outage["thought"].startswith(f"upstream outage suspected for {MODEL}")
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await until(lambda: here.app.queues.waiting == 0)
    await mock.stop()


async def test_a_suspicion_is_shown_as_no_bench() -> None:
    async with pool(2, lambda call: BARE if call.key == "1" else None, MAX_ATTEMPTS="1") as here:
        async with asyncio.timeout(60):
            while not here.upstream.of("1"):
                await here.plain()
        keys = by_name(await here.status())
        assert {key["state"] for key in keys.values()} == {"ready"}
        assert keys["1"]["bench"] is None
        assert all(known["bench"] is None for known in keys["1"]["models"].values())


async def test_a_request_at_fault_is_shown_as_a_judgement_and_benches_nothing() -> None:
    text = "poison <img src=x onerror=alert(1)>"
    async with pool(5, lambda call: CALLER if call.has("poison") else None) as here:
        await here.at_once(30)
        got = await here.plain("gemini-2.5-flash", text, ("X-Request-Id", "the-one"))
        assert got.status == 403
        shown = await here.status()
        (judgement,) = shown["judgements"]
        assert shown["time"] - 60 < judgement.pop("time") <= shown["time"]
        assert re.fullmatch(
            r"not benched: the same request was refused by [345] projects?( while \d others? served)?",
            judgement.pop("why"),
        )
        assert judgement == {"model": MODEL, "reason": "permission denied", "id": "the-one"}
        assert await here.rests() == {}


async def test_a_bench_of_a_key_for_one_model_is_shown_and_released_by_the_shown_name() -> None:
    lane = f"{MODEL}+google_search"
    search = {"contents": [{"parts": [{"text": "hi"}]}], "tools": [{"google_search": {}}]}
    async with pool(
        2, lambda call: CALLER if call.key == "1" and call.has("google_search") else None
    ) as here:
        async with asyncio.timeout(60):
            while not here.upstream.of("1"):
                assert (await here.ask("POST", target(), search)).status == 200
        known = by_name(await here.status())["1"]["models"][lane]
        assert known["bench"]["reason"] == "permission denied"
        assert (known["quotas"], known["today"]) == ({}, None)
        done = await here.act(action="release", key="1", model=lane)
        assert json.loads(done.body)["message"] == f"Key 1 is released for {lane}."
        assert await here.rests() == {}


@pytest.mark.parametrize(
    ("page", "origin"),
    [
        ("https://mine.example/a", "https://mine.example"),
        ("", "(no origin)"),
        ("<script>alert(1)</script>__proto__", "<script>alert(1)</script>__proto__"),
    ],
)
async def test_benches_for_origins_are_shown_and_released_by_the_shown_name(page: str, origin: str) -> None:
    words = "Requests from referer https://mine.example/ are blocked."
    refused = error(403, "PERMISSION_DENIED", words)
    fields = (("Content-Type", "application/json"), *((("Referer", page),) if page else ()))

    def script(call: Call) -> Answer | None:
        return refused if call.key == "1" else None

    async with pool(2, script) as here:
        async with asyncio.timeout(60):
            while not here.upstream.of("1"):
                assert (await here.plain(MODEL, "hi", *fields)).status == 200
        key = by_name(await here.status())["1"]
        assert (key["state"], key["bench"], key["models"]) == ("ready", None, {})
        assert key["origins"][origin]["reason"] == "API_KEY_HTTP_REFERRER_BLOCKED"
        assert (await here.act(action="release", key="1", origin=["a list"])).status == 400
        done = await here.act(action="release", key="1", origin=origin)
        assert json.loads(done.body)["message"] == f"Key 1 is released for {origin}."
        assert by_name(await here.status())["1"]["origins"] == {}


async def test_judgements_of_all_workers_are_shown_in_order() -> None:
    async with proxy(NOBODY, KEYS, CLOCK) as here:
        gauges = dict.fromkeys(("waiting", "held", "connections"), int)
        mine, theirs, began = here.app.meter, Meter(CLOCK), CLOCK()
        theirs.register(gauges=gauges, counters={})
        for n in range(30):
            judgement = Judgement(began + n, MODEL, "permission denied", "why", str(n))
            (mine, theirs)[n % 2].judged(RequestBlamed(Origin.HERE, judgement))
        processes = json.loads(json.dumps([theirs.now(), mine.now()]))
        shown = snapshot(
            here.app.rotator,
            here.app.pool.limiter,
            Figures(mine.counters, processes),
            StateFileStatus(StateFileUse.OFF),
            clock=CLOCK,
            redact=str,
        )["judgements"]
        assert [one["id"] for one in shown] == [str(n) for n in range(10, 30)]
