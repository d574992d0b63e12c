"""Resource affinity: which key's project owns a file, a cached content, an upload, ... Pure.

Owners are learned from responses. If the owner of a resource is not known (it was made before a restart,
say), a request that names it tries one key after another, and the key that serves it is the owner.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import islice

from proxycore.gemini.request_scope import RequestScope
from proxycore.rotation.events import Events, Origin, OwnerLearned
from proxycore.rotation.key import Key
from proxycore.rotation.ownership import Ownership

_CAPACITY = 100_000  # names that are remembered; one takes about 250 bytes
_LONGEST_NAME = 2100  # characters that are remembered; a Live session's handle has up to 2,055
_SHOWN = 8  # names that a message lists
# Seconds: files are deleted after 48 hours (ai.google.dev/gemini-api/docs/files), and nobody goes on with an
# upload, a generation or a group after that. Others may last for good.
_LIFETIMES = dict.fromkeys(("files", "upload", "group", "continuation"), 48 * 3600.0)


class AffinityConflictError(Exception):
    """A request names resources of different keys. The message lists them and tells what to do."""

    def __init__(self, names: "dict[str, Key]") -> None:
        shown = islice(_of_different_keys_first(names).items(), _SHOWN)
        listed = ", ".join(f"{name} (key {key.name})" for name, key in shown)
        listed += f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        super().__init__(
            f"These resources belong to different Gemini projects, so no key can use all of them: {listed}."
            " Create them again with the same X-Resource-Group header on each request: then one key owns all."
        )


class AffinityTable:
    """The owners of up to `capacity` resources; beyond that, the least recently used are forgotten.

    `clock` returns the moment, in seconds. What is learned is published to `events`.
    """

    def __init__(
        self, clock: Callable[[], float], capacity: int = _CAPACITY, events: Events | None = None
    ) -> None:
        self._clock = clock
        self._capacity = capacity
        self._entries: OrderedDict[str, Ownership] = OrderedDict()  # the longest unused first
        self._current_keys: frozenset[Key] | None = None  # None: any
        self._events = events or Events()

    def __len__(self) -> int:
        return len(self._entries)

    def of(self, name: str) -> Key | None:
        """Return the owner of a resource; None when it is not known, or paused."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        if entry.until <= self._clock():
            del self._entries[name]
            return None
        self._entries.move_to_end(name)
        return None if entry.key.paused else entry.key

    def learn_mentioned(self, names: Iterable[str], key: Key) -> None:
        """Learn that a key owns the resources that a response with it mentions.

        A model may have made the names up, so known owners stay.
        """
        self.learn([name for name in names if self.of(name) is None], key)

    def learn(self, names: Iterable[str], key: Key) -> None:
        """Learn that a key owns the resources that it has made or used."""
        for name in names:
            self._remember(Ownership(name, key, math.inf), Origin.HERE)

    def learn_from_peer(self, ownership: Ownership) -> None:
        """Learn the owner of a resource from a peer."""
        self._remember(ownership, Origin.PEER)

    def _remember(self, found: Ownership, origin: Origin) -> None:
        name, key = found.name, found.key
        if len(name) > _LONGEST_NAME or (self._current_keys is not None and key not in self._current_keys):
            return  # a key that is not configured was removed meanwhile
        longest = self._clock() + _LIFETIMES.get(name.partition("/")[0], math.inf)
        entry, known = Ownership(name, key, min(found.until, longest)), self._entries.get(name)
        self._entries[name] = entry
        self._entries.move_to_end(name)
        if known is None or known.key is not key:
            self._events.publish(OwnerLearned(origin, key, entry))
        if len(self._entries) > self._capacity:
            self._entries.popitem(last=False)

    def keep(self, keys: Iterable[Key]) -> None:
        """Forget the resources of all other keys: these are the ones that are configured now."""
        self._current_keys = frozenset(keys)
        kept = [(name, entry) for name, entry in self._entries.items() if entry.key in self._current_keys]
        self._entries = OrderedDict(kept)

    def owner(self, scope: RequestScope) -> Key | None:
        """Return the key that a request with this scope has to use; None when it is not known.

        A retired key counts as unknown: its project may have another key. Raises AffinityConflictError when
        the resources belong to different keys.
        """
        known = {name: self.of(name) for name in (*scope.resources, *scope.possible_resources)}
        owners = {name: key for name, key in known.items() if key and not key.retired}
        if len(set(owners.values())) > 1:
            raise AffinityConflictError(owners)
        return next(iter(owners.values()), None)


def _of_different_keys_first(names: "dict[str, Key]") -> "dict[str, Key]":
    one_each = {key: name for name, key in reversed(names.items())}
    return {name: key for key, name in reversed(one_each.items())} | names
