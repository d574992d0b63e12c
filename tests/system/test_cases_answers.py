"""Final responses: Google's own when all keys were refused alike, else the proxy's with Google's reason."""

import json
from dataclasses import replace

import pytest

from tests.support.cases_clients import all_served
from tests.support.cases_support import (
    CASES,
    CHAT,
    FLASH,
    INTERACTIONS,
    Pool,
    chat,
    named,
    pool,
    prompt,
    target,
)
from tests.support.scripted import (
    BARE,
    CALLER,
    DENIED,
    HELP,
    INVALID,
    LEAKED,
    UNGROUNDED,
    Answer,
    Q,
    Script,
    as_array,
    error,
    info,
    quota,
    retry,
)

pytestmark = CASES
ZERO = error(
    429,
    "RESOURCE_EXHAUSTED",
    f"{Q}\n* Quota exceeded for metric: x, limit: 0, model: gemini-3-pro\nPlease retry in 10s.",
    quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "gemini-3-pro", "0"),
    retry("10s"),
)
MINUTE = error(
    429,
    "RESOURCE_EXHAUSTED",
    f"{Q}\n* Quota exceeded for metric: requests, limit: 10, model: {FLASH}",
    HELP,
    quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", FLASH, "10"),
    retry("30s"),
)
CREDIT = error(402, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted.")
DISABLED = error(403, "PERMISSION_DENIED", "Gemini API is disabled.", info("SERVICE_DISABLED"))
ALIKE = [ZERO, CALLER, BARE, DENIED, UNGROUNDED, INVALID, LEAKED, CREDIT, DISABLED]
OWN = (("Content-Type", "application/json; charset=UTF-8"), ("X-Upstream", "one"), ("X-Upstream", "two"))


def by_key(answers: dict[str, Answer]) -> Script:
    return lambda call: answers[call.key]


# 4.5 and 4.6


@pytest.mark.parametrize("keys", [1, 2, 5])
@pytest.mark.parametrize("refusal", ALIKE, ids=named)
async def test_when_all_refused_alike_it_is_the_upstream_s_answer(keys: int, refusal: Answer) -> None:
    answers = {str(n + 1): replace(refusal, body=refusal.body + b" " * n, fields=OWN) for n in range(keys)}
    async with pool(keys, by_key(answers), MAX_WAIT="0") as here:
        got = await here.plain("gemini-3-pro")
        assert (got.status, got.body) == (refusal.status, answers[here.upstream.calls[-1].key].body)
        assert got.all("x-upstream") == ["one", "two"]
        assert got.all("content-type") == [OWN[0][1]]


@pytest.mark.parametrize("wait", ["0", "2", "10"])
async def test_so_however_long_may_be_waited(wait: str) -> None:
    async with pool(2, lambda _: CALLER, MAX_WAIT=wait) as here:
        got = await here.plain()
        assert (got.status, got.body) == (403, CALLER.body)
        assert got.seconds <= int(wait) + 1.0


@pytest.mark.parametrize("refusal", [ZERO, CALLER, BARE], ids=named)
async def test_compressed_as_it_was(refusal: Answer) -> None:
    packed = refusal.compressed()
    async with pool(2, lambda _: packed, MAX_WAIT="0") as here:
        got = await here.ask(
            "POST", target(), prompt(), ("Content-Type", "application/json"), ("Accept-Encoding", "gzip")
        )
        assert (got.status, got.body, got.all("content-encoding")) == (refusal.status, packed.body, ["gzip"])


@pytest.mark.parametrize("refusal", [BARE, CALLER, ZERO], ids=named)
async def test_so_on_the_openai_path(refusal: Answer) -> None:
    async with pool(3, lambda _: as_array(refusal), MAX_WAIT="0") as here:
        got = await here.ask("POST", CHAT, chat("gemini-3-pro"))
        assert (got.status, got.body) == (refusal.status, as_array(refusal).body)


async def test_no_key_is_shown_in_it() -> None:
    def script(_: object) -> Answer:
        text = "API key not valid: AQ.secret-of-1, AQ.secret-of-2"
        return error(400, "INVALID_ARGUMENT", text, info("API_KEY_INVALID"))

    async with pool(2, script, MAX_WAIT="0") as here:
        got = await here.plain()
        assert b"AQ.secret" not in got.body


# Quotas that are merely spent are told in our own words: when to come back is then true.


def reason_in(error: dict[str, object], text: str) -> bool:
    return text in str(error["message"])


async def test_spent_quotas_are_told_by_us_with_google_s_reason() -> None:
    async with pool(2, lambda _: MINUTE, MAX_WAIT="0") as here:
        got = await here.plain()
        assert got.status == 429
        assert 28 <= got.retry_after <= 31
        assert got.body != MINUTE.body
        assert reason_in(got.error, "current quota") or reason_in(got.error, "Quota exceeded for metric")
        assert any("retryDelay" in detail for detail in got.error["details"])
        assert len(got.error["details"]) > 1, "Google's own reason is in the details, too"
        again = await here.plain()
        assert again.status == 429
        assert reason_in(again.error, "uota"), "who comes later is told why as well"
        assert len(here.upstream.calls) == 2


async def test_an_answer_about_the_request_is_shown_rather_than_one_about_a_key() -> None:
    tier = error(400, "INVALID_ARGUMENT", "Imagen API is only accessible to billed users at this time.")
    path, body = target("imagen-4.0-generate-001", "predict"), {"instances": [{"prompt": "x"}]}
    for dead in ("1", "2", "3"):
        answers = dict.fromkeys(("1", "2", "3"), tier) | {dead: INVALID}
        async with pool(3, by_key(answers), MAX_WAIT="0") as here:
            got = await here.ask("POST", path, body)
            assert (got.status, got.body) == (400, tier.body)


@pytest.mark.parametrize("about_a_key", [DENIED, INVALID], ids=named)
async def test_so_with_a_resource_that_nobody_has(about_a_key: Answer) -> None:
    missing = error(
        403, "PERMISSION_DENIED", "You do not have permission to access the File abc or it may not exist."
    )
    async with pool(3, lambda call: about_a_key if call.key == "2" else missing, MAX_WAIT="0") as here:
        got = await here.ask("GET", "/v1beta/files/abc")
        assert (got.status, got.body) == (403, missing.body)


async def test_refused_unlike_each_other_the_client_is_told_something_true() -> None:
    async with pool(2, lambda call: DENIED if call.key == "1" else MINUTE, MAX_WAIT="0") as here:
        got = await here.plain()
        assert got.status in {403, 429}
        assert json.loads(got.body)["error"]["code"] == got.status
        assert reason_in(got.error, "denied access") or reason_in(got.error, "uota")


# A client's own mistakes are told at once.


@pytest.mark.parametrize(
    "mistake",
    [
        error(400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
        error(400, "FAILED_PRECONDITION", "Precondition check failed."),
        error(404, "NOT_FOUND", "Requested entity was not found."),
        error(413, "INVALID_ARGUMENT", "Request payload size exceeds the limit: 20971520 bytes."),
        error(409, "ABORTED", "The operation was aborted."),
    ],
    ids=named,
)
async def test_a_client_s_mistake_costs_one_call(mistake: Answer) -> None:
    async def mistaken(here: Pool) -> None:
        got = await here.ask("POST", INTERACTIONS, {"model": FLASH, "input": "x"})
        assert (got.status, got.body) == (mistake.status, mistake.body)

    async with pool(3, lambda _: mistake) as here:
        await mistaken(here)
        assert len(here.upstream.calls) == 1
        assert await here.rests() == {}
        here.upstream.script = lambda _: None
        assert all_served(await here.at_once(3))
