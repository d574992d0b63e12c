"""How benches of requests that name no model are shown, and that they can be released by that name."""

import pytest

from tests.support.cases_support import CASES, INTERACTIONS, pool
from tests.support.scripted import HELP, Answer, Call, Q, error, retry

pytestmark = CASES
SPENT = error(429, "RESOURCE_EXHAUSTED", Q, HELP, retry("300s"))
NAMELESS: list[tuple[str, str, object]] = [
    ("GET", "/v1beta/models", None),
    ("GET", "/v1beta/files", None),
    ("POST", "/v1beta/auth_tokens", {"uses": 1}),
    ("POST", INTERACTIONS, {"agent": "deep-research", "input": "hi"}),
    ("POST", INTERACTIONS, {"model": "", "input": "hi"}),
    ("POST", "/v1beta/models/:generateContent", {"contents": []}),
]


# 12.1
@pytest.mark.parametrize("refused", [False, True])
async def test_no_model_has_an_empty_name(*, refused: bool) -> None:
    turns = iter(range(10**6))

    def script(_: Call) -> Answer | None:
        return SPENT if refused and next(turns) % 3 == 0 else None

    async with pool(4, script, MAX_WAIT="0") as here:
        for method, path, body in NAMELESS:
            await here.ask(method, path, body)
        shown = await here.status()
        names = [name for key in shown["keys"] for name in key["models"]]
        assert all(name.strip() for name in names), names


# 12.2
@pytest.mark.parametrize(("method", "path", "body"), NAMELESS[:4], ids=lambda value: str(value)[:20])
async def test_what_rests_is_shown_and_released_as_it_is_shown(method: str, path: str, body: object) -> None:
    async with pool(1, lambda _: SPENT, MAX_WAIT="0") as here:
        assert (await here.ask(method, path, body)).status == 429
        ((name, left),) = (await here.rests()).items()
        assert left, "what rests is shown"
        here.upstream.script = lambda _: None
        assert (await here.ask(method, path, body)).status == 429, "it rests"
        for what in left:
            done = await here.act(action="release", key=name, **({} if what == "*" else {"model": what}))
            assert done.status == 200, done.body
        assert await here.rests() == {}
        assert (await here.ask(method, path, body)).status == 200
