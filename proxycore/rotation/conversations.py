"""Conversations: which keys served the beginning of a prompt lately, so that Google has it cached. Pure.

The next turn of a conversation prefers the projects of those keys, the latest first, as long as one is free
for it. If none is, or a conversation begins, the least used of a few random projects is preferred: so long
conversations are spread as evenly as single requests. It is a preference at the choice of a key and nothing
else: no request waits or is refused for it.

    name_of      the conversation that a request continues, "" for none       (gemini/conversation)
    prefer       the project that is preferred for its next call
    served       a call was served: published to the peers, whose turns prefer this project then, too

Requests that only begin alike (a job with the same examples in each) look like one conversation. So where no
quota limits a project, it is preferred only while it has served not much more than the others.

Times are the clock's moments, in seconds.
"""

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, replace
from hashlib import blake2b

from proxycore.clock import Clock
from proxycore.gemini.conversation import SMALLEST, Body, conversation_in
from proxycore.gemini.request_scope import RequestScope
from proxycore.rotation.events import ConversationServed, Event, KeysReplaced, Origin, ProjectAssigned
from proxycore.rotation.key import Key, Project
from proxycore.rotation.rotator import Rotator

_CAPACITY = 20_000  # conversations that are remembered; one takes about 400 bytes
_LIFETIME = 600.0  # seconds after the last turn; Google's cache lasts some minutes
_PUBLISHED_AGAIN = 300.0  # seconds after which peers are told of a conversation that goes on
_KEYS = 3  # that are remembered for a conversation: each knows the beginning up to its last turn there
_DRAWS = 4  # random projects of which the least used is preferred
_HALF_LIFE = 60.0  # seconds in which half of a project's turns are forgotten
_MORE_THAN_OTHERS = 1.25  # times the average of turns that a project may have served, and
_ALLOWANCE = 12.0  # so many more: one conversation with eight turns a minute


@dataclass(slots=True)
class _Turns:
    """A number of turns that decays. `count` is the number at the moment `at`."""

    count: float = 0.0
    at: float = 0.0

    def now(self, now: float) -> float:
        return self.count * float(0.5 ** ((now - self.at) / _HALF_LIFE))

    def add(self, now: float) -> None:
        self.count, self.at = self.now(now) + 1.0, now


@dataclass(frozen=True, slots=True)
class _Conversation:
    """The keys that served a conversation, the latest first; remembered `until`, published at a moment."""

    keys: tuple[Key, ...]
    until: float
    published_at: float


class Conversations:
    """The conversations of late; `enabled` is whether they are led at all."""

    def __init__(
        self, rotator: Rotator, clock: Clock, *, enabled: bool = True, capacity: int = _CAPACITY
    ) -> None:
        self._rotator = rotator
        self._clock = clock
        self._enabled = enabled
        self._capacity = capacity
        self._entries: OrderedDict[str, _Conversation] = OrderedDict()  # the longest unused first
        self._turns: dict[Project, _Turns] = {}
        self._all_turns = _Turns()
        self._set_keys()
        rotator.events.subscribe(KeysReplaced, self._keys_replaced)
        rotator.events.subscribe(ProjectAssigned, self._count_projects)
        rotator.events.subscribe(ConversationServed, self._served_elsewhere)

    def __len__(self) -> int:
        return len(self._entries)

    def enable(self, *, enabled: bool) -> None:
        """Lead the turns of conversations from now on, or do not."""
        self._enabled = enabled

    def name_of(self, path: str, body: Body) -> str:
        """Return the conversation that a request belongs to; empty if it is too small to be led, or none."""
        if len(body) < SMALLEST or not self._enabled:
            return ""
        return conversation_in(path, body, self._hash_key)

    def prefer(self, scope: RequestScope, avoid: Collection[Key] = ()) -> Project | None:
        """Return the project for the next call of a request; None if none is preferred."""
        if not scope.conversation:
            return None
        lane, now, known = scope.lane, self._clock(), self._entries.get(scope.conversation)
        for key in known.keys if known and known.until > now else ():
            if key not in avoid and self._is_free(key.project, lane, now):
                return key.project
        return self._least_used(lane, avoid, now)

    def served(self, scope: RequestScope, key: Key) -> None:
        """Remember that a key served a request, if it belongs to a conversation."""
        if not (name := scope.conversation):
            return
        now, project = self._clock(), key.project
        turns = self._turns.get(project)
        if turns is None:
            turns = self._turns[project] = _Turns()
        turns.add(now)
        self._all_turns.add(now)
        known = self._entries.get(name)
        is_news = known is None or known.keys[0] is not key or known.published_at < now - _PUBLISHED_AGAIN
        self._remember(name, key, now + _LIFETIME, now if known is None or is_news else known.published_at)
        if is_news:
            self._rotator.events.publish(ConversationServed(Origin.HERE, key, name, now + _LIFETIME))

    def _served_elsewhere(self, event: ConversationServed) -> None:
        if event.origin is Origin.PEER and event.key in self._keys:
            now = self._clock()
            self._remember(event.name, event.key, min(event.until, now + _LIFETIME), now)

    def _remember(self, name: str, key: Key, until: float, published_at: float) -> None:
        known = self._entries.get(name)
        others = [one for one in known.keys if one is not key] if known else []
        self._entries[name] = _Conversation((key, *others[: _KEYS - 1]), until, published_at)
        self._entries.move_to_end(name)
        if len(self._entries) > self._capacity:
            self._entries.popitem(last=False)

    def _least_used(self, lane: str, avoid: Collection[Key], now: float) -> Project | None:
        """Return the least used of a few random projects that are ready; None if none is, or in a search."""
        if self._rotator.searches.holding(lane):
            return None
        drawn = [key.project for _ in range(_DRAWS) if (key := self._rotator.pick(lane, avoid))]
        return min(drawn, key=lambda project: self._used(project, now), default=None)

    def _used(self, project: Project, now: float) -> float:
        turns = self._turns.get(project)
        return turns.now(now) if turns else 0.0

    def _is_free(self, project: Project, lane: str, now: float) -> bool:
        """Return whether a project may serve one more turn now, and has not served much more than others."""
        if project.free_at(lane) > now:
            return False
        used = self._used(project, now)
        if used <= _ALLOWANCE or project.prospect(lane, now) is not None:
            return True  # a quota that is known limits it
        average = self._all_turns.now(now) / self._projects
        return used <= _MORE_THAN_OTHERS * average + _ALLOWANCE

    def _set_keys(self) -> None:
        self._keys = frozenset(self._rotator.keys)
        # Processes and replicas have the same keys, and nobody else knows them: a hash tells others nothing.
        secret = min((key.secret for key in self._keys), default="")
        self._hash_key = blake2b(secret.encode(), digest_size=32, person=b"conversations").digest()
        self._count_projects()

    def _count_projects(self, _: Event | None = None) -> None:
        projects = set(self._rotator.projects)
        self._projects = max(1, len(projects))
        self._turns = {project: turns for project, turns in self._turns.items() if project in projects}

    def _keys_replaced(self, _: KeysReplaced) -> None:
        self._set_keys()
        for name, known in list(self._entries.items()):
            if keys := tuple(key for key in known.keys if key in self._keys):
                self._entries[name] = replace(known, keys=keys)
            else:
                del self._entries[name]
