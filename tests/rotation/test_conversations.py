"""Which project the next turn of a conversation prefers."""

import random
from collections import Counter

from proxycore.gemini.request_scope import RequestScope
from proxycore.gemini.verdict import Backoff
from proxycore.rotation.bench import Bench, BenchPlace, ExponentialBackoff
from proxycore.rotation.conversations import Conversations
from proxycore.rotation.events import ConversationServed, Origin
from proxycore.rotation.key import Key, KeySpec, keys_of
from proxycore.rotation.rotator import Rotator
from tests.support.clocks import TurnedClock

MODEL = "gemini-2.5-flash"
BACKOFFS = {backoff: ExponentialBackoff(10.0, 600.0) for backoff in Backoff}
PATH = f"/v1beta/models/{MODEL}:generateContent"
BODY = b'{"contents": [{"role": "user", "parts": [{"text": "' + b"a" * 8000 + b'"}]}]}'


class Pool:
    """Some keys, each of a project of its own, and the conversations with them."""

    def __init__(self, count: int = 10, capacity: int = 1000) -> None:
        self.clock = TurnedClock()
        source = random.Random(1)  # noqa: S311 - the same every time
        self.rotator = Rotator(self.specified(range(count)), BACKOFFS, clock=self.clock, source=source)
        self.conversations = Conversations(self.rotator, self.clock, capacity=capacity)

    def specified(self, numbers: range) -> list[Key]:
        former = self.rotator.keys if hasattr(self, "rotator") else ()
        return keys_of([KeySpec(f"{n}", f"secret-{n}") for n in numbers], former)

    def turn(self, conversation: str = "c", avoid: tuple[Key, ...] = ()) -> Key:
        scope = RequestScope(MODEL, lane=MODEL, conversation=conversation)
        prefer = self.conversations.prefer(scope, avoid)
        call = self.rotator.acquire(MODEL, avoid, prefer=prefer, spends=True)
        assert call
        self.conversations.served(scope, call.key)
        return call.key

    def bench(self, key: Key, seconds: float) -> None:
        self.rotator.set_bench(key, BenchPlace.WHOLE, Bench("a test", self.clock() + seconds))


def test_the_turns_of_a_conversation_go_to_one_project() -> None:
    here = Pool()
    assert len({here.turn() for _ in range(10)}) == 1


def test_a_request_without_a_conversation_prefers_none() -> None:
    here = Pool()
    assert here.conversations.prefer(RequestScope(MODEL, lane=MODEL)) is None
    here.conversations.served(RequestScope(MODEL, lane=MODEL), here.rotator.keys[0])
    assert len(here.conversations) == 0


def test_while_its_project_is_benched_another_serves_and_goes_on_until_that_is_benched_too() -> None:
    here = Pool()
    first = here.turn()
    here.bench(first, 60)
    second = here.turn()
    assert second is not first
    here.clock.turn(61)
    assert here.turn() is second  # which knows more of the conversation
    here.bench(second, 60)
    assert here.turn() is first


def test_a_key_that_failed_the_request_is_not_preferred() -> None:
    here = Pool()
    first = here.turn()
    assert here.turn(avoid=(first,)) is not first


def test_conversations_are_spread_more_evenly_than_by_chance() -> None:
    here = Pool()
    used = Counter(here.turn(f"conversation {n}") for n in range(100))
    assert max(used.values()) <= 13


def test_a_conversation_is_forgotten_minutes_after_its_last_turn() -> None:
    here = Pool(count=100)
    first = here.turn()
    for _ in range(3):
        here.clock.turn(500)
        assert here.turn() is first
    here.clock.turn(601)
    assert here.turn() is not first  # by chance it is in one of a hundred runs; the source is seeded


def test_the_longest_unused_conversation_is_forgotten_for_another() -> None:
    here = Pool(capacity=2)
    for name in ("a", "b", "a", "c"):
        here.turn(name)
    assert len(here.conversations) == 2
    events: list[ConversationServed] = []
    here.rotator.events.subscribe(ConversationServed, events.append)
    for name in ("a", "c", "b"):
        here.turn(name)
    assert [event.name for event in events] == ["b"]  # which is new again


def test_others_are_told_where_a_conversation_begins_and_again_while_it_goes_on() -> None:
    here = Pool()
    events: list[ConversationServed] = []
    here.rotator.events.subscribe(ConversationServed, events.append)
    key = here.turn()
    for _ in range(9):
        here.turn()
    assert events == [ConversationServed(Origin.HERE, key, "c", here.clock() + 600)]
    here.clock.turn(301)
    here.turn()
    assert len(events) == 2


def test_what_others_tell_is_followed() -> None:
    here = Pool()
    here.turn()
    theirs = here.rotator.keys[7]
    here.rotator.events.publish(ConversationServed(Origin.PEER, theirs, "c", here.clock() + 1e9))
    assert here.turn() is theirs


def test_after_a_reload_only_keys_that_are_configured_are_preferred() -> None:
    here = Pool(count=4)
    names = [f"conversation {n}" for n in range(30)]
    served = {name: here.turn(name) for name in names}
    kept = here.specified(range(2))
    here.rotator.change(kept, BACKOFFS, 10.0)
    for name in names:
        key = here.turn(name)
        assert key in kept
        assert key is served[name] or served[name] not in kept


def test_a_request_has_a_name_unless_conversations_are_not_led_or_it_is_small() -> None:
    here = Pool()
    assert len(here.conversations.name_of(PATH, BODY)) == 16
    assert here.conversations.name_of(PATH, BODY[:2000] + b'"}]}]}') == ""
    here.conversations.enable(enabled=False)
    assert here.conversations.name_of(PATH, BODY) == ""


def test_processes_with_the_same_keys_agree_on_names_and_others_do_not() -> None:
    one, other, third = Pool(), Pool(), Pool()
    third.rotator.change(third.specified(range(5, 9)), BACKOFFS, 10.0)
    names = [here.conversations.name_of(PATH, BODY) for here in (one, other, third)]
    assert names[0] == names[1] != names[2]
