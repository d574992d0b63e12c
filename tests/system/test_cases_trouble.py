"""Server errors: retried on other keys, within a retry budget for the pool, and nothing is created twice."""

import asyncio
import random

import pytest

from tests.support.cases_clients import all_served, loops, statuses
from tests.support.cases_support import (
    CASES,
    CHAT,
    FLASH,
    IMAGES,
    INTERACTIONS,
    STREAMED,
    Answered,
    Pool,
    chat,
    interaction,
    named,
    pool,
    prompt,
    takes_minutes,
    target,
)
from tests.support.scripted import DENIED, OVERLOADED, Answer, Call, Script, error, everyone, first, healthy

pytestmark = CASES
INTERNAL = error(500, "INTERNAL", "Internal error encountered.")
DEADLINE = error(504, "DEADLINE_EXCEEDED", "Deadline expired before operation could complete.")
BAD_GATEWAY = Answer(502, b"<html>502 Bad Gateway</html>", (("Content-Type", "text/html"),))
UPSTREAM_FAILURE = [OVERLOADED, INTERNAL, BAD_GATEWAY]


def at_first(times: int, refusal: Answer) -> Script:
    """So many calls are refused, then all are served."""
    left = iter(range(times))
    return lambda _: refusal if next(left, None) is not None else None


async def four_at_a_time(here: Pool, count: int) -> list[Answered]:
    """So many plain requests, by four clients."""
    answers = await asyncio.gather(*(here.in_turn(count // 4) for _ in range(4)))
    return [answer for each in answers for answer in each]


# 10.1


@pytest.mark.parametrize(
    ("keys", "bad", "refusal"),
    [(10, 6, OVERLOADED), (10, 8, OVERLOADED), (5, 2, INTERNAL), (6, 4, BAD_GATEWAY)],
    ids=named,
)
async def test_keys_that_always_fail_where_others_serve_are_left(
    keys: int, bad: int, refusal: Answer
) -> None:
    async with pool(keys, first(bad, refusal)) as here:
        await four_at_a_time(here, 40)
        here.upstream.calls.clear()
        answers = await four_at_a_time(here, 40)
        assert all_served(answers)
        assert len(here.upstream.calls) <= 1.5 * len(answers)
        assert await here.outages() == []


async def test_a_key_that_failed_serves_again_when_it_is_well() -> None:
    async with pool(4, first(2, OVERLOADED)) as here:
        await here.in_turn(40)
        here.upstream.script = lambda _: None
        await loops(here, 2, 60.0, pause=0.5)
        here.upstream.calls.clear()
        assert all_served(await loops(here, 2, 60.0, pause=0.5))
        assert set(here.upstream.asked) == {"1", "2", "3", "4"}


# 10.2

COMPUTING = {
    "images": (IMAGES, {"model": "imagen-4.0-generate-001", "prompt": "x"}),
    "edits": ("/v1beta/openai/images/edits", {"model": "m", "prompt": "x"}),
    "chat": (CHAT, chat()),
    "embeddings": ("/v1beta/openai/embeddings", {"model": "gemini-embedding-001", "input": "x"}),
    "speech": ("/v1beta/openai/audio/speech", {"model": "m", "input": "x"}),
    "transcriptions": ("/v1beta/openai/audio/transcriptions", {"model": "m"}),
    "another name": ("/openai/v1/images/generations", {"model": "m", "prompt": "x"}),
    "predict": (target("imagen-4.0-generate-001", "predict"), {"instances": [{"prompt": "x"}]}),
    "stream": (STREAMED, prompt()),
    "count": (target(method="countTokens"), prompt()),
    "batch of embeddings": (target("gemini-embedding-001", "batchEmbedContents"), {"requests": []}),
}


@pytest.mark.parametrize("name", COMPUTING)
async def test_what_only_computes_is_tried_again(name: str) -> None:
    path, body = COMPUTING[name]
    async with pool(4, at_first(1, OVERLOADED)) as here:
        assert (await here.ask("POST", path, body)).status == 200
        assert len(here.upstream.calls) == 2
        assert len(here.upstream.asked) == 2, "another key is tried first"


CREATING = {
    "interactions": (INTERACTIONS, interaction()),
    "batch": (target(method="batchGenerateContent"), {"batch": {}}),
    "caching": ("/v1beta/cachedContents", {"model": f"models/{FLASH}"}),
    "video": (target("veo-2.0-generate-001", "predictLongRunning"), {"instances": [{"prompt": "x"}]}),
    "openai batches": ("/v1beta/openai/batches", {"input_file_id": "x"}),
    "store": ("/v1beta/fileSearchStores", {"displayName": "x"}),
}


@pytest.mark.parametrize("name", CREATING)
@pytest.mark.parametrize("refusal", [*UPSTREAM_FAILURE, DEADLINE], ids=named)
async def test_what_creates_something_is_not_repeated(name: str, refusal: Answer) -> None:
    path, body = CREATING[name]
    async with pool(4, everyone(refusal)) as here:
        answer = await here.ask("POST", path, body)
        assert (answer.status, answer.body) == (refusal.status, refusal.body)
        assert len(here.upstream.calls) == 1


@pytest.mark.parametrize("name", CREATING)
async def test_what_creates_something_goes_to_another_key_when_it_is_refused(name: str) -> None:
    path, body = CREATING[name]
    async with pool(3, first(2, DENIED)) as here:
        assert (await here.ask("POST", path, body)).status == 200


# Pauses and budgets.


@pytest.mark.parametrize("refusal", UPSTREAM_FAILURE, ids=named)
@pytest.mark.parametrize("times", [2, 3])
async def test_trouble_is_tried_several_times_with_growing_pauses(times: int, refusal: Answer) -> None:
    async with pool(6, at_first(times, refusal)) as here:
        answer = await here.plain()
        assert answer.status == 200
        assert len(here.upstream.calls) == times + 1
        assert len(here.upstream.asked) == times + 1
        assert answer.seconds < 10.0


async def test_a_deadline_is_tried_once_more_only() -> None:
    async with pool(4, everyone(DEADLINE)) as here:
        answer = await here.plain()
        assert (answer.status, answer.body) == (504, DEADLINE.body)
        assert len(here.upstream.calls) == 2


async def test_in_a_model_s_outage_retries_stay_within_a_budget() -> None:
    async with pool(12) as here:
        assert all_served(await here.in_turn(24))
        here.upstream.script = lambda call: OVERLOADED if call.model == FLASH else None
        here.upstream.calls.clear()
        answers: list[Answered] = []

        async def request() -> Answered:
            answers.append(await here.plain())
            return answers[-1]

        await loops(here, 50, 12.0, request, pause=1.0)
        calls = [call for call in here.upstream.calls if call.model == FLASH]
        assert len(calls) <= 1.2 * len(answers) + 10 * 12
        assert {answer.body for answer in answers if answer.status == 503} == {OVERLOADED.body}
        assert all_served(await here.at_once(8, lambda: here.plain("gemini-2.5-pro")))
        assert all("*" not in left for left in (await here.rests()).values())
        here.upstream.script = lambda _: None
        await asyncio.sleep(2.0)
        assert all_served(await here.at_once(24))


@pytest.mark.parametrize("rate", [1.0, 50.0], ids=["1 a second", "50 a second"])
@pytest.mark.parametrize(("share", "least"), [(0.45, 0.98), (0.6, 0.93)], ids=["45 %", "60 %"])
@takes_minutes
async def test_when_a_share_of_a_model_s_calls_fails_nearly_all_requests_are_served(
    share: float, least: float, rate: float
) -> None:
    draw = random.Random(3)  # noqa: S311 - the same failures every time

    def script(call: Call) -> Answer:
        return (OVERLOADED if draw.random() < share else healthy(call)).after(0.3)

    async with pool(10, script) as here:
        requests = []
        for _ in range(200):
            requests.append(asyncio.ensure_future(here.plain()))
            await asyncio.sleep(draw.expovariate(rate))
        answers = await asyncio.gather(*requests)
        served = statuses(answers).count(200)
        assert served >= least * len(answers)
        assert len(here.upstream.calls) <= 3.2 * served


@pytest.mark.parametrize("rate", [1.0, 50.0], ids=["1 a second", "50 a second"])
@takes_minutes
async def test_when_every_call_fails_a_request_costs_two_calls_at_most(rate: float) -> None:
    async with pool(10, lambda _: OVERLOADED.after(0.3)) as here:
        await here.at_once(50)  # what was saved up is spent
        here.upstream.calls.clear()
        requests = []
        for _ in range(100):
            requests.append(asyncio.ensure_future(here.plain()))
            await asyncio.sleep(1.0 / rate)
        await asyncio.gather(*requests)
        assert len(here.upstream.calls) <= 2 * len(requests) + 10


async def test_with_no_wait_allowed_trouble_is_told_at_once() -> None:
    async with pool(4, everyone(OVERLOADED), MAX_WAIT="0") as here:
        answer = await here.plain()
        assert (answer.status, answer.body) == (503, OVERLOADED.body)
        assert answer.seconds < 0.5


# MAX_ATTEMPTS


@pytest.mark.parametrize("most", [1, 2, 3])
@pytest.mark.parametrize("refusal", [DENIED, OVERLOADED], ids=named)
async def test_attempts_can_be_limited(most: int, refusal: Answer) -> None:
    async with pool(6, everyone(refusal), MAX_ATTEMPTS=str(most)) as here:
        answer = await here.plain()
        assert 1 <= len(here.upstream.calls) <= most
        assert (answer.status, answer.body) == (refusal.status, refusal.body)


async def test_a_slow_answer_is_no_trouble() -> None:
    def script(call: Call) -> Answer:
        return healthy(call).after(120.0)

    async with pool(3, script) as here:
        assert statuses(await here.at_once(6)) == [200] * 6
        assert len(here.upstream.calls) == 6
