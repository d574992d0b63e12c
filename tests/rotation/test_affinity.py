"""Whose resource is whose, for how long that is remembered, and what a request's owner is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxycore.gemini.request_scope import RequestScope
from proxycore.rotation.affinity import AffinityConflictError, AffinityTable
from proxycore.rotation.bench import Bench
from proxycore.rotation.key import Key
from tests.support.clocks import TurnedClock

HOUR = 3600.0
FILE, CACHE, AGENT = "files/abc", "cachedContents/def", "agents/mine"


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def affinity(clock: TurnedClock) -> AffinityTable:
    return AffinityTable(clock)


@pytest.fixture
def ours() -> Key:
    return Key("ours", "secret-1")


@pytest.fixture
def theirs() -> Key:
    return Key("theirs", "secret-2")


def test_what_was_never_learned_has_no_owner(affinity: AffinityTable, ours: Key) -> None:
    affinity.learn([FILE], ours)
    assert affinity.of("files/ab") is None
    assert affinity.owner(RequestScope("", ("files/ab",))) is None


def test_what_was_learned_last_counts(affinity: AffinityTable, ours: Key, theirs: Key) -> None:
    affinity.learn([FILE, CACHE], ours)
    affinity.learn([FILE], theirs)
    assert (affinity.of(FILE), affinity.of(CACHE), len(affinity)) == (theirs, ours, 2)


def test_a_mention_does_not_change_a_known_owner(affinity: AffinityTable, ours: Key, theirs: Key) -> None:
    affinity.learn([FILE], ours)
    affinity.learn_mentioned([FILE, CACHE], theirs)
    assert (affinity.of(FILE), affinity.of(CACHE)) == (ours, theirs)


def test_what_is_asked_for_is_in_use(ours: Key) -> None:
    affinity = AffinityTable(TurnedClock(), 2)
    affinity.learn([AGENT, FILE], ours)
    assert affinity.owner(RequestScope("", (), (AGENT,))) is ours
    affinity.learn([CACHE], ours)
    assert (affinity.of(AGENT), affinity.of(FILE)) == (ours, None)


def test_a_retired_owner_does_not_stand_against_another(
    affinity: AffinityTable, ours: Key, theirs: Key
) -> None:
    affinity.learn([FILE], ours)
    affinity.learn([CACHE], theirs)
    ours.retired = Bench("suspended", 0.0)
    assert affinity.owner(RequestScope("", (FILE, CACHE))) is theirs


@pytest.mark.parametrize("name", [FILE, "upload/xyz", "group/one"])
def test_a_file_and_an_upload_are_forgotten_after_48_hours(
    name: str, affinity: AffinityTable, clock: TurnedClock, ours: Key
) -> None:
    affinity.learn([name], ours)
    clock.turn(48 * HOUR - 1)
    assert affinity.of(name) is ours
    assert affinity.owner(RequestScope("", (name,))) is ours
    clock.turn(1)
    assert affinity.owner(RequestScope("", (name,))) is None
    assert affinity.of(name) is None
    assert len(affinity) == 0


def test_a_file_that_is_learned_again_is_remembered_from_then_on(
    affinity: AffinityTable, clock: TurnedClock, ours: Key
) -> None:
    affinity.learn([FILE], ours)
    clock.turn(47 * HOUR)
    affinity.learn([FILE], ours)
    clock.turn(47 * HOUR)
    assert affinity.of(FILE) is ours


@pytest.mark.parametrize("collection", ["cachedContents", "interactions", "fileSearchStores", "filesystem"])
def test_anything_else_may_last_for_good(
    collection: str, affinity: AffinityTable, clock: TurnedClock, ours: Key
) -> None:
    affinity.learn([f"{collection}/abc"], ours)
    clock.turn(24 * 365 * HOUR)
    assert affinity.of(f"{collection}/abc") is ours


def test_an_expired_owner_differs_from_nobody(
    affinity: AffinityTable, clock: TurnedClock, ours: Key, theirs: Key
) -> None:
    affinity.learn([FILE], ours)
    clock.turn(48 * HOUR)
    affinity.learn([CACHE], theirs)
    assert affinity.owner(RequestScope("", (FILE, CACHE))) is theirs


def test_the_longest_unused_goes_first(clock: TurnedClock, ours: Key, theirs: Key) -> None:
    affinity = AffinityTable(clock, capacity=3)
    affinity.learn(["files/1", "files/2", "files/3"], ours)
    affinity.learn(["files/1"], theirs)  # as a request does that could use it
    affinity.learn(["files/4"], ours)
    known = {name: affinity.of(name) for name in ("files/1", "files/2", "files/3", "files/4")}
    assert known == {"files/1": theirs, "files/2": None, "files/3": ours, "files/4": ours}


@given(st.integers(1, 6), st.lists(st.integers(0, 9)))
@settings(max_examples=200, deadline=None)
def test_never_more_is_remembered_than_allowed_and_always_the_last(capacity: int, steps: list[int]) -> None:
    affinity, key = AffinityTable(TurnedClock(), capacity), Key("ours", "secret")
    expected: list[str] = []
    for number in steps:
        name = f"files/{number}"
        affinity.learn([name], key)
        expected = [*(other for other in expected if other != name), name][-capacity:]
        assert len(affinity) == len(expected)
    assert [f"files/{n}" for n in range(10) if affinity.of(f"files/{n}")] == sorted(expected)


def test_by_default_a_hundred_thousand_are_remembered(affinity: AffinityTable, ours: Key) -> None:
    affinity.learn((f"interactions/{number}" for number in range(100_001)), ours)
    assert len(affinity) == 100_000
    assert affinity.of("interactions/0") is None
    assert affinity.of("interactions/1") is ours


SCOPES = {
    "one resource": RequestScope("m", (FILE,)),
    "two of one key": RequestScope("m", (FILE, "files/other")),
    "one that is known and one that is not": RequestScope("m", ("files/unknown", FILE)),
    "perhaps one, and it is known": RequestScope("m", (), (AGENT,)),
    "both": RequestScope("m", (FILE,), (AGENT,)),
    "perhaps one, and it is not known": RequestScope("m", (FILE,), ("agents/googles",)),
}


@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES)
def test_a_request_goes_to_the_owner_of_what_it_names(
    scope: RequestScope, affinity: AffinityTable, ours: Key
) -> None:
    affinity.learn([FILE, "files/other", AGENT], ours)
    assert affinity.owner(scope) is ours


@pytest.mark.parametrize(
    "scope", [RequestScope("m"), RequestScope("m", ("files/unknown",)), RequestScope("", (), ("agents/a",))]
)
def test_a_request_that_names_nothing_that_is_known_goes_anywhere(
    scope: RequestScope, affinity: AffinityTable, ours: Key
) -> None:
    affinity.learn([FILE], ours)
    assert affinity.owner(scope) is None


@pytest.mark.parametrize(
    "scope", [RequestScope("", (FILE, CACHE, "files/unknown")), RequestScope("", (FILE,), (CACHE,))]
)
def test_owners_that_differ_are_named_with_what_they_own(
    scope: RequestScope, affinity: AffinityTable, ours: Key, theirs: Key
) -> None:
    affinity.learn([FILE], ours)
    affinity.learn([CACHE], theirs)
    with pytest.raises(AffinityConflictError) as caught:
        affinity.owner(scope)
    message = str(caught.value)
    assert f"{FILE} (key ours), {CACHE} (key theirs)." in message
    assert "unknown" not in message
    assert "secret" not in message


def test_of_many_owners_that_differ_a_few_are_named(affinity: AffinityTable, ours: Key, theirs: Key) -> None:
    names = [f"files/{number}" for number in range(200)]
    affinity.learn(names, ours)
    affinity.learn([CACHE], theirs)
    with pytest.raises(AffinityConflictError) as caught:
        affinity.owner(RequestScope("", (*names, CACHE)))
    message = str(caught.value)
    assert f"{CACHE} (key theirs)" in message
    assert "files/0 (key ours)" in message
    assert "and 193 more" in message
    assert len(message) < 1000


def test_a_name_that_is_too_long_to_be_one_is_not_remembered(affinity: AffinityTable, ours: Key) -> None:
    affinity.learn(["files/" + "x" * 3000, FILE], ours)
    assert len(affinity) == 1


def test_a_retired_owner_counts_as_unknown_until_it_is_back(affinity: AffinityTable, ours: Key) -> None:
    affinity.learn([FILE], ours)
    ours.retired = Bench("suspended", 1e12)
    assert affinity.owner(RequestScope("", (FILE,))) is None
    ours.retired = None
    assert affinity.owner(RequestScope("", (FILE,))) is ours


def test_a_benched_owner_is_still_the_owner(affinity: AffinityTable, ours: Key) -> None:
    affinity.learn([FILE], ours)
    ours.whole = Bench("refused", 1e12)
    ours.project.limiter("m").bench = Bench("quota exhausted", 1e12)
    assert affinity.owner(RequestScope("m", (FILE,))) is ours
