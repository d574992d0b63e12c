"""`/metrics` and the figures of `/status.json`: what was sent is what is counted."""

import asyncio
import json
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxycore import __version__
from proxycore.demo import Health, MockServer
from proxycore.rotation.key_state import USABLE, KeyState
from tests.relay.test_live import SETUP, echo, session
from tests.relay.test_live import upstream as live_upstream
from tests.support.clocks import TurnedClock
from tests.support.proxy import KEYS, Proxy, proxy, settings
from tests.support.waiting import until
from tests.support.wire import HOME, RawUpstream, Seen, always, answer, ask, connect

pytestmark = pytest.mark.usefixtures("io_loop")
MODEL = "gemini-2.5-flash"
GENERATE = f"/v1beta/models/{MODEL}:generateContent"
STREAM = f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse"
BODY = b'{"contents": [{"parts": [{"text": "hi"}]}]}'
NOBODY = "http://127.0.0.1:9"

Samples = dict[tuple[str, ...], float]


async def scrape(here: Proxy) -> dict[str, Samples]:
    """The samples of each name, less its prefix, by their labels' values in order of the labels' names."""
    got = await ask(here.port, "GET", "/metrics", HOME)
    assert got.status == 200
    assert got.one("content-type").startswith("text/plain; version=")
    found: dict[str, Samples] = {}
    for family in text_string_to_metric_families(got.body.decode()):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name.removeprefix("gemini_proxy_"), {})[labels] = sample.value
    return found


async def generate(here: Proxy, count: int = 1, target: str = GENERATE) -> set[int]:
    return {(await ask(here.port, "POST", target, body=BODY)).status for _ in range(count)}


async def test_requests_attempts_failovers_and_benches_add_up() -> None:
    mock = MockServer(
        {"AQ.fine": Health.healthy(), "AQ.off": Health.service_disabled(), "AQ.bad": Health.suspended()}
    )
    keys = {"GOOGLE_API_KEY_fine": "AQ.fine", "GOOGLE_API_KEY_off": "AQ.off", "GOOGLE_API_KEY_bad": "AQ.bad"}
    async with proxy(mock.listen(), keys, TurnedClock()) as here:  # on which no rest ends
        assert await generate(here, 50) == {200}
        found = await scrape(here)
    await mock.stop()
    assert found["requests_total"] == {("fine", MODEL, "served"): 50}
    assert found["attempts_total"] == {("2xx", "fine"): 50, ("403", "off"): 1, ("403", "bad"): 1}
    assert found["failovers_total"] == {("off",): 1, ("bad",): 1}
    assert found["benches_total"] == {
        ("off", "SERVICE_DISABLED", "key"): 1,
        ("bad", "suspended or leaked", "key"): 1,
    }
    assert {state: n for state, n in found["keys"].items() if n} == {("ready",): 1, ("benched",): 2}
    assert found["client_requests_total"] == {("none",): 50}
    assert found["time_to_first_byte_seconds_count"] == {(MODEL,): 50}
    assert found["request_duration_seconds_count"] == {(MODEL,): 50}
    assert found["received_bytes_total"] == {(): 50 * len(BODY)}
    assert found["workers"] == {(): 1}
    assert found["build_info"] == {(__version__,): 1}


@pytest.mark.parametrize(
    ("status", "target", "outcome", "model"),
    [
        (400, GENERATE, "client_error", MODEL),
        (404, "/v1beta/models/gemini-9.9-nonsense:generateContent", "client_error", "gemini-9.9"),
        (404, "/v1beta/models/invented:generateContent", "client_error", "other"),
        (500, "/v1beta/files/abc:create", "failed", "none"),
        (200, "/v1beta/models", "served", "none"),
    ],
)
async def test_every_outcome_has_its_word(status: int, target: str, outcome: str, model: str) -> None:
    async with RawUpstream(always(answer(status, b"{}"))) as upstream:
        async with proxy(upstream.url, {"GOOGLE_API_KEY_1": "one"}) as here:
            assert await generate(here, 1, target) == {status}
            found = await scrape(here)
    assert found["requests_total"] == {("1", model, outcome): 1}


async def test_want_of_keys_is_a_refusal_and_want_of_a_client_key_the_clients_error() -> None:
    mock = MockServer({"AQ.spent": Health.day_spent()})
    async with proxy(mock.listen(), {"GOOGLE_API_KEY_1": "AQ.spent"}, OUTPUT_API_KEY="ours") as here:
        got = await ask(here.port, "POST", GENERATE, ("x-goog-api-key", "ours"), body=BODY)
        assert got.status == 429
        assert await generate(here) == {401}
        got = await ask(here.port, "GET", "/metrics", ("x-goog-api-key", "ours"))
        lines = [
            line for line in got.body.decode().splitlines() if line.startswith("gemini_proxy_requests_total")
        ]
    await mock.stop()
    assert sorted(lines) == [
        f'gemini_proxy_requests_total{{key="1",model="{MODEL}",outcome="refused"}} 1.0',
        'gemini_proxy_requests_total{key="none",model="none",outcome="client_error"} 1.0',
    ]


async def test_the_keys_are_counted_by_their_true_state() -> None:
    clock = TurnedClock(1_800_007_200.0)  # two hours after midnight at Google
    mock = MockServer(
        {
            "AQ.day": Health.day_spent(),
            "AQ.one": Health(models={MODEL: Health.day_spent()}),
            "AQ.dead": Health.suspended(),
        }
    )
    keys = {"GOOGLE_API_KEY_day": "AQ.day", "GOOGLE_API_KEY_one": "AQ.one"}

    async with proxy(url := mock.listen(), keys, clock) as here:

        async def states() -> dict[str, float]:
            return {state: n for (state,), n in (await scrape(here))["keys"].items() if n}

        assert set((await scrape(here))["keys"]) == {(state.value,) for state in KeyState}
        assert await states() == {"unproven": 2}
        assert await generate(here) == {429}
        assert await states() == {"exhausted": 2}
        assert not set(USABLE) & set(await states())  # so that the alert on an empty pool fires
        assert await generate(here, 30, GENERATE.replace("2.5", "2.0")) == {
            200
        }  # the other key is tried, too
        assert await states() == {"exhausted": 1, "partly_benched": 1}
        shown = json.loads((await ask(here.port, "GET", "/status.json", HOME)).body)["keys"]
        assert {key["name"]: (key["state"], key["health"]) for key in shown} == {
            "day": ("ready", "exhausted"),
            "one": ("ready", "partly_benched"),
        }
        clock.now += 601.0  # nobody asks for either model any more
        assert await states() == {"partly_benched": 2}
        clock.now += 90_000.0  # another day
        assert await states() == {"unproven": 1, "ready": 1}
        replaced = settings(url, {"GOOGLE_API_KEY_day": "AQ.day", "GOOGLE_API_KEY_one": "AQ.dead"})
        here.app.reload(replaced)
        assert await states() == {"unproven": 2}  # another key with the same name has not served yet
    await mock.stop()


async def test_clients_beyond_the_first_hundred_are_counted_together() -> None:
    names = [f"C{n}" for n in range(103)]
    clients = {f"OUTPUT_API_KEY_{name}": f"a-secret-of-{name}" for name in names}
    mock = MockServer({"AQ.fine": Health.healthy()})
    variables = {"GOOGLE_API_KEY_1": "AQ.fine", "OUTPUT_API_KEY": "boss"} | clients
    async with proxy(mock.listen(), variables) as here:
        for secret in clients.values():
            await ask(here.port, "POST", GENERATE, ("x-goog-api-key", secret), body=BODY)
        got = await ask(here.port, "GET", "/metrics", ("x-goog-api-key", "boss"))
    await mock.stop()
    samples = {
        sample.labels["client"]: sample.value
        for family in text_string_to_metric_families(got.body.decode())
        for sample in family.samples
        if sample.name == "gemini_proxy_client_requests_total"
    }
    assert samples == dict.fromkeys(names[:100], 1.0) | {"other": 3.0}


async def test_a_client_that_leaves_and_an_upstream_that_breaks_off_are_told_apart() -> None:
    mock = MockServer({"AQ.fine": Health.healthy()}, pace=0.05)
    async with proxy(mock.listen(), {"GOOGLE_API_KEY_1": "AQ.fine"}) as here:
        async with connect(here.port) as client:
            client.send("POST", STREAM, body=BODY)
            await client.head()
            found = await scrape(here)
            assert found["open_streams"] == {("stream",): 1, ("live",): 0}
            assert found["running_requests"] == {(): 1}
            assert found["sent_bytes_total"][()] >= 0
        await until(lambda: not here.app.context.running)
        mock.break_after = 2
        assert not (await ask(here.port, "POST", STREAM, body=BODY)).whole
        found = await scrape(here)
    await mock.stop()
    assert found["requests_total"] == {("1", MODEL, "left"): 1, ("1", MODEL, "cut"): 1}
    assert found["open_streams"] == {("stream",): 0, ("live",): 0}


async def test_bytes_of_a_stream_are_counted_while_it_runs() -> None:
    mock = MockServer({"AQ.fine": Health.healthy()}, pace=30)
    mock.chunk_bytes = 5000
    async with proxy(mock.listen(), {"GOOGLE_API_KEY_1": "AQ.fine"}) as here, connect(here.port) as client:
        client.send("POST", STREAM, body=BODY)
        await client.head()
        await anext(client.chunks())
        assert (await scrape(here))["sent_bytes_total"][()] >= 5000
    await mock.stop()


async def test_tokens_are_read_in_passing_from_answers_and_streams() -> None:
    mock = MockServer({"AQ.fine": Health.healthy()})
    async with proxy(mock.listen(), {"GOOGLE_API_KEY_1": "AQ.fine"}) as here:
        whole = json.loads((await ask(here.port, "POST", GENERATE, body=BODY)).body)["usageMetadata"]
        events = (await ask(here.port, "POST", STREAM, body=BODY)).body
        last = json.loads(re.findall(rb"^data: (.*?)\r?$", events, re.MULTILINE)[-1])["usageMetadata"]
        found = await scrape(here)
    await mock.stop()
    assert found["tokens_total"] == {
        ("input", MODEL): whole["promptTokenCount"] + last["promptTokenCount"],
        ("output", MODEL): whole["candidatesTokenCount"] + last["candidatesTokenCount"],
    }
    assert found["unread_answers_total"] == {(): 0}


async def test_cached_prompt_tokens_are_counted_for_each_key() -> None:
    usage = b'{"usageMetadata": {"promptTokenCount": 4000, "cachedContentTokenCount": 3000}}'
    async with (
        RawUpstream(always(answer(200, usage))) as upstream,
        proxy(upstream.url, {"GOOGLE_API_KEY_1": "one"}) as here,
    ):
        assert await generate(here, 2) == {200}
        found = await scrape(here)
        shown = json.loads((await ask(here.port, "GET", "/status.json", HOME)).body)
    assert found["prompt_tokens_total"] == {("1", MODEL): 8000}
    assert found["cached_prompt_tokens_total"] == {("1", MODEL): 6000}
    assert (shown["totals"]["input_tokens"], shown["totals"]["cached_tokens"]) == (8000, 6000)
    assert (shown["keys"][0]["prompt_tokens"], shown["keys"][0]["cached_tokens"]) == (8000, 6000)


async def test_a_live_session_is_seen_while_it_lasts_with_what_it_took() -> None:
    async with live_upstream(echo) as url, proxy(url, {"GOOGLE_API_KEY_1": "AQ.one"}) as here:
        async with session(here) as socket:
            await socket.send(json.dumps(SETUP))
            await socket.recv()
            await socket.send('{"usageMetadata": {"promptTokenCount": 7, "responseTokenCount": 5}}')
            await socket.recv()
            found = await scrape(here)
            assert found["open_streams"] == {("stream",): 0, ("live",): 1}
            assert found["upstream_connections"] == {(): 1}
            assert found["received_bytes_total"][()] > len(json.dumps(SETUP))
            shown = json.loads((await ask(here.port, "GET", "/status.json", HOME)).body)
            (stream,) = shown["streams"]
            assert (stream["kind"], stream["model"]) == ("live", "gemini-2.5-flash-live-preview")
        await until(lambda: not here.app.context.running)
        found = await scrape(here)
    assert found["open_streams"] == {("stream",): 0, ("live",): 0}
    assert found["tokens_total"] == {("input", MODEL): 7, ("output", MODEL): 5}
    assert found["requests_total"] == {("1", MODEL, "served"): 1}


async def test_an_answer_in_an_unknown_coding_passes_as_it_is_and_its_tokens_are_not_known() -> None:
    packed = b"(\xb5/\xfd" + b'{"usageMetadata": {"promptTokenCount": 5}}'
    reply = answer(200, packed, ("Content-Encoding", "zstd"))
    async with RawUpstream(always(reply)) as upstream, proxy(upstream.url) as here:
        assert (await ask(here.port, "POST", GENERATE, body=BODY)).body == packed
        found = await scrape(here)
    assert "tokens_total" not in found
    assert found["unread_answers_total"] == {(): 1}


async def test_invented_models_make_no_series_of_their_own() -> None:
    async with RawUpstream(always(answer(404, b"{}"))) as upstream, proxy(upstream.url) as here:
        for n in range(200):
            await generate(here, 1, f"/v1beta/models/gemini-{n % 100}.{n % 7}-{n}:generateContent")
        found = await scrape(here)
    assert sum(found["requests_total"].values()) == 200
    assert len({model for _, model, _ in found["requests_total"]}) <= 50


async def test_connections_to_the_upstream_are_counted_while_they_are_open() -> None:
    async def keeps(_: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(200, b"{}"))
        await writer.drain()

    async with RawUpstream(keeps) as upstream, proxy(upstream.url) as here:
        assert (await scrape(here))["upstream_connections"] == {(): 0}
        await asyncio.gather(*(generate(here) for _ in range(3)))
        count = (await scrape(here))["upstream_connections"][()]
        assert 1 <= count <= 3
    assert here.app.upstream.connections == 0


async def test_a_key_that_was_removed_goes_on_under_one_name() -> None:
    mock = MockServer({"AQ.one": Health.healthy(), "AQ.two": Health.healthy()})
    url = mock.listen()
    async with proxy(url, {"GOOGLE_API_KEY_one": "AQ.one"}) as here:
        await generate(here, 3)
        here.app.reload(settings(url, {"GOOGLE_API_KEY_two": "AQ.two"}))
        await generate(here, 2)
        found = await scrape(here)
    await mock.stop()
    assert found["requests_total"] == {("removed", MODEL, "served"): 3, ("two", MODEL, "served"): 2}


async def test_only_the_admin_reads_them() -> None:
    async with proxy(NOBODY, KEYS, ADMIN_API_KEY="the-admin", OUTPUT_API_KEY="clients") as here:
        for field, status in (("clients", 401), ("the-admin", 200), ("", 401)):
            got = await ask(here.port, "GET", "/metrics", ("Authorization", f"Bearer {field}"))
            assert got.status == status
            assert (b"gemini_proxy" in got.body) == (status == 200)


async def test_the_status_has_the_same_figures_key_by_key_and_client_by_client() -> None:
    clock = TurnedClock()
    mock = MockServer({"AQ.fine": Health.healthy(), "AQ.off": Health.service_disabled()}, clock=clock)
    keys = {"GOOGLE_API_KEY_fine": "AQ.fine", "GOOGLE_API_KEY_off": "AQ.off"}
    clients = {"OUTPUT_API_KEY": "boss", "OUTPUT_API_KEY_ALICE": "alices"}
    async with proxy(mock.listen(), keys, clock, **clients) as here:
        for _ in range(20):
            await ask(here.port, "POST", GENERATE, ("x-goog-api-key", "alices"), body=BODY)
        clock.turn(60)
        async with connect(here.port) as client:
            mock.pace = 30
            client.send("POST", STREAM, ("x-goog-api-key", "boss"), body=BODY)
            await client.head()
            await until(lambda: bool(here.app.meter.now()["streams"]))
            content = json.loads(
                (await ask(here.port, "GET", "/status.json", ("x-goog-api-key", "boss"))).body
            )
        await until(lambda: not here.app.context.running)
    await mock.stop()
    fine, off = sorted(content["keys"], key=lambda key: str(key["name"]))
    assert (fine["requests"], fine["successes"], fine["last_used"]) == (21, 21, clock())
    assert fine["first_byte"] >= 0
    assert (off["requests"], off["status_403"], off["failovers"]) == (1, 1, 1)
    assert off["first_byte"] is None
    alice, boss = content["clients"]
    assert (alice["name"], alice["requests"], alice["open"]) == ("ALICE", 20, 0)
    assert alice["input_tokens"] > 0
    assert (boss["name"], boss["requests"], boss["open"]) == ("default", 0, 1)
    (stream,) = content["streams"]
    assert (stream["kind"], stream["client"], stream["key"], stream["model"]) == (
        "stream",
        "default",
        "fine",
        MODEL,
    )
    assert stream["since"] == clock()
    assert content["open"] == {"streams": 1, "live": 0}
    assert (content["totals"]["requests"], content["totals"]["served"], content["running"]) == (20, 20, 1)
    assert content["totals"]["failovers"] == 1
    assert [minute["requests"] for minute in content["history"]][-2:] == [20, 0]
    assert [minute["refusals"] for minute in content["history"]][-2:] == [1, 0]
