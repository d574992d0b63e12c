"""`problems` in `/status.json`: what is wrong, since when, and what to do."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxycore.demo import Health, MockServer
from proxycore.gemini.verdict import NO_CREDIT
from proxycore.rotation.bench import Bench, BenchPlace
from proxycore.runtime.app import make_app
from proxycore.stats.alert import AlertKind, advice_on
from tests.support.cases_support import FLASH, target
from tests.support.clocks import TurnedClock
from tests.support.process import program
from tests.support.proxy import KEYS, Proxy, proxy, served, settings
from tests.support.storing import NOW, storage
from tests.support.waiting import PATIENCE, until
from tests.support.wire import HOME, ask

pytestmark = pytest.mark.usefixtures("io_loop")
BODY = b'{"contents": [{"parts": [{"text": "hi"}]}]}'
EVENING = 1_800_007_200.0  # two hours after midnight at Google
NOBODY = "http://127.0.0.1:9"


class Pool:
    """A proxy in front of a mock, on a clock that is turned."""

    def __init__(self, here: Proxy, clock: TurnedClock) -> None:
        self.app, self.port, self.clock = here.app, here.port, clock
        self.keys = {key.name: key for key in here.app.rotator.keys}

    async def generate(self, count: int = 1, every: float = 0.2) -> set[int]:
        statuses = set()
        for _ in range(count):
            statuses.add((await ask(self.port, "POST", target(), body=BODY)).status)
            self.clock.turn(every)
        return statuses

    async def problems(self) -> list[dict[str, Any]]:
        return await problems(self.port)

    async def act(self, **action: object) -> None:
        fields = (("Content-Type", "application/json"), ("Origin", "http://localhost"))
        body = json.dumps(action).encode()
        assert (await ask(self.port, "POST", "/status.json", HOME, *fields, body=body)).status == 200


async def problems(port: int) -> list[dict[str, Any]]:
    shown = json.loads((await ask(port, "GET", "/status.json", HOME)).body)
    return list(shown["problems"])


@asynccontextmanager
async def pool(healths: dict[str, Health], **variables: str) -> AsyncIterator[Pool]:
    clock = TurnedClock(EVENING)
    mock = MockServer({f"AQ.{name}": health for name, health in healths.items()}, clock=clock)
    keys = {f"GOOGLE_API_KEY_{name}": f"AQ.{name}" for name in healths}
    async with proxy(mock.listen(), keys, clock, **({"MAX_WAIT": "0"} | variables)) as here:
        yield Pool(here, clock)
    await mock.stop()


async def test_a_healthy_pool_has_no_problem_nor_are_keys_one_that_rest_by_hand_or_for_a_guess() -> None:
    async with pool({"1": Health.healthy(), "2": Health.healthy()}) as here:
        await here.generate(4)
        assert await here.problems() == []
        await here.act(action="rest", key="1", seconds=60)
        assert await here.problems() == []
        guess = Bench("refused", here.clock() + 60, 0, suspected=True, since=here.clock())
        here.app.rotator.set_bench(here.keys["2"], BenchPlace.WHOLE, guess)
        assert {problem["kind"] for problem in await here.problems()} == {"model exhausted"}


async def test_a_key_that_is_dead_is_told_until_it_is_accepted_again() -> None:
    health = Health.until(EVENING + 3600, Health.suspended())
    async with pool({"fine": Health.healthy(), "dead__777": health}) as here:
        key = here.keys["dead"]
        while not key.retired:
            await here.generate()
        (problem,) = await here.problems()
        assert key.retired.since < key.retired.benched_until
        assert problem == {
            "kind": "key dead",
            "severity": "failure",
            "subject": "suspended or leaked",
            "text": f"Key dead (project {key.project.name}) is dead: suspended or leaked",
            "advice": advice_on(AlertKind.KEY_DEAD),
            "reason": "suspended or leaked",
            "since": key.retired.since,
            "until": key.retired.benched_until,
            "keys": ["dead"],
            "key_count": 1,
            "model": None,
            "account": None,
        }
        here.clock.turn(3600)
        await here.act(action="try", key="dead")
        assert await here.problems() == []


async def test_keys_that_are_dead_for_one_reason_are_one_problem() -> None:
    names = [f"{n:02}" for n in range(60)]
    async with pool(dict.fromkeys([*names, "other", "fine"], Health.healthy())) as here:
        for n, name in enumerate(names):
            bench = Bench("suspended or leaked", EVENING + 100 - n, 3, since=EVENING - 100 + n)
            here.app.rotator.set_bench(here.keys[name], BenchPlace.RETIRED, bench)
        invalid = Bench("API key not valid or expired", EVENING + 9, 3, since=EVENING - 9)
        here.app.rotator.set_bench(here.keys["other"], BenchPlace.RETIRED, invalid)
        many, one = await here.problems()
        assert many["text"] == "60 keys are dead: suspended or leaked"
        assert (many["keys"], many["key_count"]) == (names[:50], 60)
        assert (many["since"], many["until"]) == (EVENING - 100, EVENING + 41)
        assert one["text"] == "Key other is dead: API key not valid or expired"


async def test_each_billing_account_without_credit_is_one_problem_until_it_has_some() -> None:
    spent = Health.until(EVENING + 1000, Health.out_of_credit())
    healths = {"fine": Health.healthy(), "a__1__acme": spent, "b__2__acme": spent, "c": spent}
    async with pool(healths) as here:
        while not all(here.keys[name].whole for name in "abc"):
            await here.generate()
        others, acme = sorted(await here.problems(), key=lambda one: one["account"] or "")
        assert acme["kind"] == others["kind"] == "no credit"
        assert acme["text"] == f"Billing account acme: {NO_CREDIT}"
        assert (acme["account"], acme["keys"]) == ("acme", ["a", "b"])
        assert (others["text"], others["account"], others["keys"]) == (f"Key c: {NO_CREDIT}", None, ["c"])
        assert acme["advice"] == others["advice"] == advice_on(AlertKind.NO_CREDIT)
        here.clock.turn(3600)
        assert await here.generate(12) == {200}
        assert await here.problems() == []


async def test_keys_that_are_benched_as_a_whole_are_one_problem_for_each_reason() -> None:
    healths = {
        "fine": Health.healthy(),
        "off": Health.service_disabled(),
        "idle": Health.service_disabled(),
        "blocked": Health.service_blocked(),
    }
    async with pool(healths) as here:
        began = here.clock()
        while not all(here.keys[name].whole for name in ("off", "idle", "blocked")):
            await here.generate()
        disabled, blocked = await here.problems()
        assert disabled["kind"] == blocked["kind"] == "key benched"
        assert disabled["text"] == "Keys idle and off are benched: SERVICE_DISABLED"
        assert disabled["advice"].startswith("Enable the Gemini API in its project")
        assert began <= disabled["since"] < here.clock() < disabled["until"]
        assert blocked["text"].startswith("Key blocked (project")
        assert blocked["text"].endswith(") is benched: API_KEY_SERVICE_BLOCKED")
        await here.act(action="release", key="blocked")
        assert [problem["reason"] for problem in await here.problems()] == ["SERVICE_DISABLED"]


async def test_a_model_that_no_key_can_serve_is_a_problem_while_clients_ask_for_it() -> None:
    async with pool({"1": Health.day_quota(2), "2": Health.day_quota(3)}) as here:
        assert await here.generate(5) == {200}
        served_at = here.clock() - 0.2
        assert await here.generate(3) == {429}
        (problem,) = await here.problems()
        assert (problem["kind"], problem["subject"], problem["model"]) == ("model exhausted", FLASH, FLASH)
        assert problem["text"] == f"{FLASH}: none of 2 keys is available"
        assert problem["since"] == pytest.approx(served_at, abs=0.2)
        assert problem["until"] == pytest.approx(here.keys["1"].ready_at(FLASH), abs=0.1)
        here.clock.turn(590)
        assert len(await here.problems()) == 1
        here.clock.turn(20)
        assert await here.problems() == []
        assert await here.generate() == {429}
        assert len(await here.problems()) == 1
        here.clock.turn(24 * 3600)
        assert await here.generate() == {200}
        assert "model exhausted" not in {one["kind"] for one in await here.problems()}


async def test_a_model_whose_keys_are_all_dead_is_exhausted_until_nobody_knows_when() -> None:
    async with pool({"1": Health.healthy()}) as here:
        await here.generate()
        dead = Bench("suspended or leaked", EVENING + 9000, 3, since=EVENING)
        here.app.rotator.set_bench(here.keys["1"], BenchPlace.RETIRED, dead)
        exhausted, _ = await here.problems()
        assert exhausted["text"] == f"{FLASH}: none of 1 keys is available; all are disabled"
        assert (exhausted["kind"], exhausted["until"]) == ("model exhausted", None)


async def test_a_quota_that_is_in_full_use_is_no_problem() -> None:
    async with pool({"1": Health.quota(5, window=8.0)}) as here:
        for _ in range(12):
            await here.generate(every=0.5)
            assert await here.problems() == []


async def test_an_outage_is_a_problem_and_no_lack_of_keys() -> None:
    mock = MockServer({f"AQ.{n}": Health.bare_429() for n in range(5)})
    keys = {f"GOOGLE_API_KEY_{n}": secret for n, secret in enumerate(mock.keys)}
    async with proxy(mock.listen(), keys, MAX_WAIT="30") as here:
        waiting = [asyncio.ensure_future(ask(here.port, "POST", target(), body=BODY)) for _ in range(3)]
        await until(lambda: any(search.outage for search in here.app.rotator.searches.values()))
        (problem,) = await problems(here.port)
        assert (problem["kind"], problem["model"], problem["key_count"]) == ("outage", FLASH, 0)
        assert problem["text"].startswith(f"Upstream outage suspected for {FLASH}")
        assert problem["advice"] == advice_on(AlertKind.OUTAGE)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await until(lambda: here.app.queues.waiting == 0)
    await mock.stop()


async def test_an_outage_of_server_errors_is_over_with_the_first_response() -> None:
    overloaded = Health.until(EVENING + 100, Health.overloaded())
    async with pool({str(n): overloaded for n in range(3)}) as here:
        while not list(here.app.rotator.outages):
            await here.generate()
        (problem,) = await here.problems()
        assert problem["text"] == f"Upstream outage for {FLASH}: only server errors, no request succeeds"
        assert (problem["subject"], problem["until"]) == (FLASH, None)
        here.clock.turn(200)
        assert await here.generate() == {200}
        assert await here.problems() == []


async def test_a_state_file_that_cannot_be_used_is_a_problem_since_it_cannot(tmp_path: Path) -> None:
    clock, path = TurnedClock(NOW), tmp_path / "state.db"
    path.mkdir()
    async with storage(path, clock) as kept:
        async with served(make_app(settings(NOBODY, KEYS), clock, records=kept)) as here:
            clock.turn(50)
            await kept.flush()
            (problem,) = await problems(here.port)
            assert problem["kind"] == "state file"
            assert problem["text"] == "STATE_FILE can't be used: it is a directory; name a file"
            assert (problem["reason"], problem["since"]) == ("it is a directory; name a file", NOW)
            path.rmdir()
            await kept.flush()
            assert await problems(here.port) == []


async def test_a_daily_quota_that_will_not_last_is_a_warning() -> None:
    async with pool({"1": Health.day_quota(100)}) as here:
        await here.generate(101, every=1.0)
        here.clock.now = EVENING + 24 * 3600
        await here.generate(1)
        assert await here.problems() == []
        await here.generate(60, every=10.0)
        (problem,) = await here.problems()
        assert (problem["kind"], problem["severity"]) == ("spent soon", "warning")
        assert problem["text"] == f"{FLASH}: the daily quota will be exhausted before it is renewed"
        assert here.clock() < problem["until"] < here.clock() + 2 * 3600
        assert problem["until"] % 60 == 0


async def test_the_worst_is_first_and_nothing_changes_while_nothing_happens() -> None:
    healths = {"fine": Health.healthy(), "dead": Health.healthy(), "off": Health.service_disabled()}
    async with pool(healths | {"paid": Health.out_of_credit()}) as here:
        while not (here.keys["off"].whole and here.keys["paid"].whole):
            await here.generate()
        dead = Bench("suspended or leaked", EVENING + 9000, 3, since=EVENING)
        here.app.rotator.set_bench(here.keys["dead"], BenchPlace.RETIRED, dead)
        first = await here.problems()
        assert [problem["kind"] for problem in first] == ["no credit", "key dead", "key benched"]
        for _ in range(5):
            here.clock.turn(1.0)
            assert await here.problems() == first


async def test_problems_are_shown_without_secrets() -> None:
    async with pool({"1": Health.healthy()}) as here:
        bench = Bench("refused AQ.1", EVENING + 9, since=EVENING)
        here.app.rotator.set_bench(here.keys["1"], BenchPlace.WHOLE, bench)
        assert "AQ.1" not in json.dumps(await here.problems())


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_problems_are_known_right_after_a_restart(tmp_path: Path, workers: str) -> None:
    healths = {
        "AQ.fine": Health.healthy(),
        "AQ.off": Health.service_disabled(),
        "AQ.paid": Health.out_of_credit(),
    }
    mock = MockServer(healths)
    keys = {f"GOOGLE_API_KEY_{secret.removeprefix('AQ.')}": secret for secret in healths}
    environment = keys | {"UPSTREAM_URL": mock.listen(), "STATE_FILE": "state.db", "WORKERS": workers}
    with program(folder=tmp_path, environment=environment) as started:
        port = await asyncio.to_thread(lambda: started.port)
        before = await problems(port)
        async with asyncio.timeout(PATIENCE):
            while [one["kind"] for one in before] != ["no credit", "key benched"]:
                assert (await ask(port, "POST", target(), HOME, body=BODY)).status == 200
                await asyncio.sleep(0.05)
                before = await problems(port)
        started.signal(signal.SIGTERM)
        assert await asyncio.to_thread(started.exit_status) == 0
    calls = len(mock.calls)
    with program(folder=tmp_path, environment=environment) as started:
        port = await asyncio.to_thread(lambda: started.port)
        after = await problems(port)
        assert len(mock.calls) == calls
    await mock.stop()
    assert [one["text"] for one in after] == [one["text"] for one in before]
    for one, other in zip(before, after, strict=True):
        assert other["since"] == pytest.approx(one["since"], abs=2)
