"""Whose resource is whose, for how long that is remembered, and what a request's owner is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxycore.gemini.request_scope import Scope
from proxycore.rotation.affinity import Owners, OwnersDifferError
from proxycore.rotation.bench import Bench
from proxycore.rotation.key import Key
from tests.support.clocks import TurnedClock

HOUR = 3600.0
FILE, CACHE, AGENT = "files/abc", "cachedContents/def", "agents/mine"


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def owners(clock: TurnedClock) -> Owners:
    return Owners(clock)


@pytest.fixture
def ours() -> Key:
    return Key("ours", "secret-1")


@pytest.fixture
def theirs() -> Key:
    return Key("theirs", "secret-2")


def test_what_was_never_learned_has_no_owner(owners: Owners, ours: Key) -> None:
    owners.learn([FILE], ours)
    assert owners.of("files/ab") is None
    assert owners.owner(Scope("", ("files/ab",))) is None


def test_what_was_learned_last_counts(owners: Owners, ours: Key, theirs: Key) -> None:
    owners.learn([FILE, CACHE], ours)
    owners.learn([FILE], theirs)
    assert (owners.of(FILE), owners.of(CACHE), len(owners)) == (theirs, ours, 2)


def test_what_is_only_heard_of_does_not_change_a_known_owner(owners: Owners, ours: Key, theirs: Key) -> None:
    owners.learn([FILE], ours)
    owners.hear([FILE, CACHE], theirs)
    assert (owners.of(FILE), owners.of(CACHE)) == (ours, theirs)


def test_what_is_asked_for_is_in_use(ours: Key) -> None:
    owners = Owners(TurnedClock(), 2)
    owners.learn([AGENT, FILE], ours)
    assert owners.owner(Scope("", (), (AGENT,))) is ours
    owners.learn([CACHE], ours)
    assert (owners.of(AGENT), owners.of(FILE)) == (ours, None)


def test_a_retired_owner_does_not_stand_against_another(owners: Owners, ours: Key, theirs: Key) -> None:
    owners.learn([FILE], ours)
    owners.learn([CACHE], theirs)
    ours.retired = Bench("suspended", 0.0)
    assert owners.owner(Scope("", (FILE, CACHE))) is theirs


@pytest.mark.parametrize("name", [FILE, "upload/xyz", "group/one"])
def test_a_file_and_an_upload_are_forgotten_after_48_hours(
    name: str, owners: Owners, clock: TurnedClock, ours: Key
) -> None:
    owners.learn([name], ours)
    clock.turn(48 * HOUR - 1)
    assert owners.of(name) is ours
    assert owners.owner(Scope("", (name,))) is ours
    clock.turn(1)
    assert owners.owner(Scope("", (name,))) is None
    assert owners.of(name) is None
    assert len(owners) == 0


def test_a_file_that_is_learned_again_is_remembered_from_then_on(
    owners: Owners, clock: TurnedClock, ours: Key
) -> None:
    owners.learn([FILE], ours)
    clock.turn(47 * HOUR)
    owners.learn([FILE], ours)
    clock.turn(47 * HOUR)
    assert owners.of(FILE) is ours


@pytest.mark.parametrize("collection", ["cachedContents", "interactions", "fileSearchStores", "filesystem"])
def test_anything_else_may_last_for_good(
    collection: str, owners: Owners, clock: TurnedClock, ours: Key
) -> None:
    owners.learn([f"{collection}/abc"], ours)
    clock.turn(24 * 365 * HOUR)
    assert owners.of(f"{collection}/abc") is ours


def test_an_expired_owner_differs_from_nobody(
    owners: Owners, clock: TurnedClock, ours: Key, theirs: Key
) -> None:
    owners.learn([FILE], ours)
    clock.turn(48 * HOUR)
    owners.learn([CACHE], theirs)
    assert owners.owner(Scope("", (FILE, CACHE))) is theirs


def test_the_longest_unused_goes_first(clock: TurnedClock, ours: Key, theirs: Key) -> None:
    owners = Owners(clock, capacity=3)
    owners.learn(["files/1", "files/2", "files/3"], ours)
    owners.learn(["files/1"], theirs)  # as a request does that could use it
    owners.learn(["files/4"], ours)
    known = {name: owners.of(name) for name in ("files/1", "files/2", "files/3", "files/4")}
    assert known == {"files/1": theirs, "files/2": None, "files/3": ours, "files/4": ours}


@given(st.integers(1, 6), st.lists(st.integers(0, 9)))
@settings(max_examples=200, deadline=None)
def test_never_more_is_remembered_than_allowed_and_always_the_last(capacity: int, steps: list[int]) -> None:
    owners, key = Owners(TurnedClock(), capacity), Key("ours", "secret")
    expected: list[str] = []
    for number in steps:
        name = f"files/{number}"
        owners.learn([name], key)
        expected = [*(other for other in expected if other != name), name][-capacity:]
        assert len(owners) == len(expected)
    assert [f"files/{n}" for n in range(10) if owners.of(f"files/{n}")] == sorted(expected)


def test_by_default_a_hundred_thousand_are_remembered(owners: Owners, ours: Key) -> None:
    owners.learn((f"interactions/{number}" for number in range(100_001)), ours)
    assert len(owners) == 100_000
    assert owners.of("interactions/0") is None
    assert owners.of("interactions/1") is ours


SCOPES = {
    "one resource": Scope("m", (FILE,)),
    "two of one key": Scope("m", (FILE, "files/other")),
    "one that is known and one that is not": Scope("m", ("files/unknown", FILE)),
    "perhaps one, and it is known": Scope("m", (), (AGENT,)),
    "both": Scope("m", (FILE,), (AGENT,)),
    "perhaps one, and it is not known": Scope("m", (FILE,), ("agents/googles",)),
}


@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES)
def test_a_request_goes_to_the_owner_of_what_it_names(scope: Scope, owners: Owners, ours: Key) -> None:
    owners.learn([FILE, "files/other", AGENT], ours)
    assert owners.owner(scope) is ours


@pytest.mark.parametrize("scope", [Scope("m"), Scope("m", ("files/unknown",)), Scope("", (), ("agents/a",))])
def test_a_request_that_names_nothing_that_is_known_goes_anywhere(
    scope: Scope, owners: Owners, ours: Key
) -> None:
    owners.learn([FILE], ours)
    assert owners.owner(scope) is None


@pytest.mark.parametrize("scope", [Scope("", (FILE, CACHE, "files/unknown")), Scope("", (FILE,), (CACHE,))])
def test_owners_that_differ_are_named_with_what_they_own(
    scope: Scope, owners: Owners, ours: Key, theirs: Key
) -> None:
    owners.learn([FILE], ours)
    owners.learn([CACHE], theirs)
    with pytest.raises(OwnersDifferError) as caught:
        owners.owner(scope)
    message = str(caught.value)
    assert f"{FILE} (key ours), {CACHE} (key theirs)." in message
    assert "unknown" not in message
    assert "secret" not in message


def test_of_many_owners_that_differ_a_few_are_named(owners: Owners, ours: Key, theirs: Key) -> None:
    names = [f"files/{number}" for number in range(200)]
    owners.learn(names, ours)
    owners.learn([CACHE], theirs)
    with pytest.raises(OwnersDifferError) as caught:
        owners.owner(Scope("", (*names, CACHE)))
    message = str(caught.value)
    assert f"{CACHE} (key theirs)" in message
    assert "files/0 (key ours)" in message
    assert "and 193 more" in message
    assert len(message) < 1000


def test_a_name_that_is_too_long_to_be_one_is_not_remembered(owners: Owners, ours: Key) -> None:
    owners.learn(["files/" + "x" * 3000, FILE], ours)
    assert len(owners) == 1


def test_a_retired_owner_counts_as_unknown_until_it_is_back(owners: Owners, ours: Key) -> None:
    owners.learn([FILE], ours)
    ours.retired = Bench("suspended", 1e12)
    assert owners.owner(Scope("", (FILE,))) is None
    ours.retired = None
    assert owners.owner(Scope("", (FILE,))) is ours


def test_an_owner_that_rests_is_still_the_owner(owners: Owners, ours: Key) -> None:
    owners.learn([FILE], ours)
    ours.whole = Bench("refused", 1e12)
    ours.project.allowance("m").bench = Bench("quota spent", 1e12)
    assert owners.owner(Scope("m", (FILE,))) is ours
