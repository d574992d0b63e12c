"""`KEY_ORDER`: free keys are used until they are spent, then paid ones, then free ones again."""

import asyncio
from collections import Counter

from tests.support.cases_clients import all_served
from tests.support.cases_support import CASES, Pool, pool
from tests.support.scripted import Answer, Call, error, retry

pytestmark = CASES
KEYS = ["free1", "free2", "paid1__shop__acme", "unnamed"]
ORDER = "free* > shop"


class Quota:
    """Each free key serves so many calls in a minute, counted from the first."""

    def __init__(self, calls: int) -> None:
        self.calls = calls
        self.spent: dict[str, list[float]] = {}

    def __call__(self, call: Call) -> Answer | None:
        if not call.key.startswith("free"):
            return None
        spent = [at for at in self.spent.get(call.key, []) if at > call.at - 60.0]
        if len(spent) < self.calls:
            self.spent[call.key] = [*spent, call.at]
            return None
        wait = spent[0] + 60.0 - call.at
        return error(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota.", retry(f"{wait:.3f}s"))


def served(here: Pool) -> Counter[str]:
    """How many calls each key served since the last look."""
    counts = Counter(call.key for call in here.upstream.calls if call.status == 200)
    here.upstream.calls.clear()
    return counts


async def test_free_keys_are_used_until_they_are_spent_and_again_once_they_are_back() -> None:
    async with pool(KEYS, Quota(5), KEY_ORDER=ORDER) as here:
        assert all_served(await here.in_turn(10))
        assert served(here) == {"free1": 5, "free2": 5}
        assert all_served(await here.in_turn(10))
        assert served(here) == {"paid1": 10}
        await asyncio.sleep(62)
        assert all_served(await here.in_turn(10))
        assert served(here) == {"free1": 5, "free2": 5}


async def test_keys_that_are_not_named_come_last() -> None:
    credit = error(402, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted.")
    async with pool(KEYS, lambda call: None if call.key == "unnamed" else credit, KEY_ORDER=ORDER) as here:
        assert all_served(await here.in_turn(5))
        asked = [call.key for call in here.upstream.calls if call.is_work]
        assert sorted(asked[:2]) == ["free1", "free2"]
        assert asked[2:] == ["paid1"] + ["unnamed"] * 5


async def test_without_a_wait_a_request_does_not_wait_for_a_free_key_either() -> None:
    async with pool(["free", "paid"], Quota(1), KEY_ORDER="free > paid", MAX_WAIT="0") as here:
        assert all_served(await here.in_turn(2))
        assert served(here) == {"free": 1, "paid": 1}
        await asyncio.sleep(59.5)  # the free key is ready within a second
        assert all_served(await here.in_turn(1))
        assert served(here) == {"paid": 1}
