"""Refusals that are the request's fault: no other client is affected, and its client gets Google's error."""

import asyncio

import pytest

from tests.support.cases_clients import Beside, all_served
from tests.support.cases_support import CASES, FLASH, LITE, Answered, Pool, named, pool, prompt, target
from tests.support.scripted import BARE, CALLER, UNGROUNDED, Answer, Call, Script, error, first

pytestmark = CASES
SEARCH = prompt(tools=[{"google_search": {}}])
CACHED = {"model": f"models/{FLASH}", **prompt("a long text " * 50)}
BATCH = {"batch": {"display_name": "x", "input_config": {"requests": {"requests": [{"request": prompt()}]}}}}
NO_CACHE = error(
    429,
    "RESOURCE_EXHAUSTED",
    "TotalCachedContentStorageTokensPerModelFreeTier limit exceeded for model gemini-2.5-flash:"
    " limit=0, requested=10158",
)
# Called, the path, the body, what is in a call that is refused, and how.
POISON: dict[str, tuple[str, object, str, Answer]] = {
    "search": (target(), SEARCH, "google_search", UNGROUNDED),
    "search, streamed": (
        f"{target(method='streamGenerateContent')}?alt=sse",
        SEARCH,
        "google_search",
        UNGROUNDED,
    ),
    "search in camel case": (target(), prompt(tools=[{"googleSearch": {}}]), "googleSearch", UNGROUNDED),
    "maps": (target(), prompt(tools=[{"google_maps": {}}]), "google_maps", UNGROUNDED),
    "caching": ("/v1beta/cachedContents", CACHED, "a long text", NO_CACHE),
    "a batch": (target(method="batchGenerateContent"), BATCH, "input_config", UNGROUNDED),
    "a batch of embeddings": (target(method="asyncBatchEmbedContent"), BATCH, "input_config", UNGROUNDED),
    "counting": (target(method="countTokens"), prompt("count me"), "count me", UNGROUNDED),
    "a prompt, bare 429": (target(), prompt("poison"), "poison", BARE),
    "a prompt, 403": (target(), prompt("poison"), "poison", CALLER),
    "openai": ("/v1beta/openai/chat/completions", {"model": FLASH, "tag": "poison"}, "poison", UNGROUNDED),
}


def poisoned(text: str, refusal: Answer) -> Script:
    return lambda call: refusal if call.has(text) else None


async def every(here: Pool, seconds: float, times: int, path: str, body: object) -> list[Answered]:
    """One request, repeated so often whatever it is told."""
    answers = []
    for _ in range(times):
        begun = here.now
        answers.append(await here.ask("POST", path, body))
        await asyncio.sleep(max(0.0, begun + seconds - here.now))
    return answers


# 4.1 and 4.2


@pytest.mark.parametrize("name", POISON)
async def test_what_one_client_asks_for_in_vain_leaves_the_others_unmoved(name: str) -> None:
    path, body, text, refusal = POISON[name]
    async with pool(6, poisoned(text, refusal)) as here:
        async with Beside(here) as plain:
            answers = await every(here, 1.0, 8, path, body)
        assert [(answer.status, answer.body) for answer in answers] == [(refusal.status, refusal.body)] * 8
        plain.assert_unmoved()
        assert len([call for call in here.upstream.calls if call.has(text)]) <= 8 * 6


@pytest.mark.parametrize("keys", [1, 2, 3, 20])
async def test_however_many_keys_there_are(keys: int) -> None:
    async with pool(keys, poisoned("google_search", UNGROUNDED)) as here:
        async with Beside(here) as plain:
            answers = await every(here, 1.0, 5, target(), SEARCH)
        assert [(answer.status, answer.body) for answer in answers] == [(429, UNGROUNDED.body)] * 5
        plain.assert_unmoved()


async def test_a_client_who_never_stops_moves_nobody() -> None:
    async with pool(6, poisoned("google_search", UNGROUNDED)) as here:
        async with Beside(here, clients=2, every=0.5) as plain:
            answers = await every(here, 0.5, 120, target(), SEARCH)
        assert {answer.status for answer in answers} == {429}
        plain.assert_unmoved()
        searches = [call for call in here.upstream.calls if call.has("google_search")]
        assert len(searches) <= 3 * 120
        assert all(FLASH not in left for left in (await here.rests()).values())


async def test_two_clients_who_ask_in_vain_for_different_things() -> None:
    def script(call: Call) -> Answer | None:
        return UNGROUNDED if call.has("google_search") else CALLER if call.has("poison") else None

    async with pool(6, script) as here:
        async with Beside(here) as plain:
            searched, prompted = await asyncio.gather(
                every(here, 0.7, 8, target(), SEARCH), every(here, 0.9, 6, target(), prompt("poison"))
            )
        assert {answer.body for answer in searched} == {UNGROUNDED.body}
        assert {answer.body for answer in prompted} == {CALLER.body}
        plain.assert_unmoved()


async def test_refusals_that_take_a_while_move_nobody_either() -> None:
    async with pool(6, poisoned("google_search", UNGROUNDED.after(0.15))) as here:
        async with Beside(here) as plain:
            answers = await every(here, 1.0, 6, target(), SEARCH)
        assert {answer.status for answer in answers} == {429}
        plain.assert_unmoved()


async def test_where_keys_are_really_refused_a_poison_beside_them_loses_no_plain_request() -> None:
    bad = first(3, BARE)

    def script(call: Call) -> Answer | None:
        return UNGROUNDED if call.has("google_search") else bad(call)

    async with pool(8, script) as here:
        async with Beside(here) as plain:
            await every(here, 1.0, 6, target(), SEARCH)
        assert all_served(plain.answers)


# 4.3


@pytest.mark.parametrize("keys", [3, 6])
@pytest.mark.parametrize("refusal", [CALLER, BARE], ids=named)
async def test_a_model_that_nobody_may_use_right_after_the_start(keys: int, refusal: Answer) -> None:
    model = "gemini-3.1-pro-preview"
    async with pool(keys, lambda call: refusal if call.model == model else None, MAX_WAIT="2") as here:
        answer = await here.plain(model)
        assert (answer.status, answer.body) == (refusal.status, refusal.body)
        assert len(here.upstream.calls) <= 2 * keys
        answers = await here.at_once(6)
        assert all_served(answers)
        assert max(each.seconds for each in answers) < 1.0
        assert all("*" not in left for left in (await here.rests()).values())
        assert all(outage["model"] for outage in await here.outages())


async def test_a_model_that_nobody_may_use_beside_one_that_all_use() -> None:
    async with pool(6, lambda call: CALLER if call.model == LITE else None) as here:
        async with Beside(here) as plain:
            answers = await every(here, 1.0, 8, target(LITE), prompt())
        assert {answer.status for answer in answers} <= {403, 429}
        assert answers[0].body == CALLER.body
        plain.assert_unmoved()


# Words that a client puts into an error are a client's.


def unknown(name: str) -> Answer:
    text = f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.'
    field = {"field": "", "description": text}
    return error(
        400,
        "INVALID_ARGUMENT",
        text,
        {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [field]},
    )


def no_file(name: str) -> Answer:
    text = f"You do not have permission to access the File {name} or it may not exist."
    return error(403, "PERMISSION_DENIED", text)


@pytest.mark.parametrize(
    "refusal",
    [
        unknown("API key not valid"),
        unknown("API key not valid. Please pass a valid API key."),
        unknown("API key expired. Please renew the API key."),
        unknown("Imagen API is only accessible to billed users at this time."),
        no_file("has been suspended"),
        no_file("reported as leaked"),
        error(400, "INVALID_ARGUMENT", "Unsupported MIME type: API key not valid."),
        error(404, "NOT_FOUND", "Tool 'User location is not supported for the API use.' was not found"),
    ],
    ids=lambda refusal: refusal.body.decode()[36:90],
)
async def test_words_of_a_client_in_an_error_speak_of_no_key(refusal: Answer) -> None:
    body = prompt("poison") | {"file": {"file_data": {"file_uri": "https://x.example/v1beta/files/abc"}}}
    async with pool(6, poisoned("poison", refusal)) as here:
        for _ in range(3):
            answer = await here.ask("POST", target(), body)
            assert (answer.status, answer.body) == (refusal.status, refusal.body)
        assert await here.rests() == {}
        assert all_served(await here.at_once(6))
