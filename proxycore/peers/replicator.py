"""Publishes what this process finds (rotator, queues, affinity) to its peers, and applies what they publish.

Times are the clock's moments, in seconds.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from proxycore.clock import Clock
from proxycore.gemini.verdict import DAY
from proxycore.peers.pool_facts import PoolFacts, lane_or_all
from proxycore.peers.update import Update, UpdateKind, fingerprint, proxy_fingerprint
from proxycore.rotation.affinity import AffinityTable
from proxycore.rotation.all_benches import benches_of
from proxycore.rotation.bench import Bench, BenchPlace
from proxycore.rotation.call_log import REMEMBERED
from proxycore.rotation.events import (
    BenchChanged,
    CallCounted,
    CallUncounted,
    ConversationServed,
    KeyEvent,
    KeysReplaced,
    Origin,
    OutageChanged,
    OwnerLearned,
    ProjectAssigned,
    QuotaLearned,
    ReturnExpected,
    SearchChanged,
)
from proxycore.rotation.key import Key
from proxycore.rotation.ownership import Ownership
from proxycore.rotation.rotator import Rotator
from proxycore.rotation.wait_queues import WaitQueues

_REMEMBER_STRIKES = 600.0  # seconds after a bench for which its strikes are known
_REMEMBER_SEARCH = 60.0  # seconds without a change of a search
_LONGEST = 2 * DAY  # seconds for which any other update holds
_NONE: tuple[None, list[float]] = (None, [])  # it no longer holds
_PLACES: dict[str, BenchPlace] = {place.value: place for place in BenchPlace}


class Replicator:
    """Publishes changes with `publish`, and applies updates of peers.

    `snapshot` returns all updates that still hold, for keys that are configured later. `process_id` is unique
    among the peers. Single calls are neither published nor expected of others until `share_calls`.
    """

    def __init__(
        self,
        rotator: Rotator,
        queues: WaitQueues,
        affinity: AffinityTable,
        *,
        publish: Callable[[Update], None],
        snapshot: Callable[[], Iterable[Update]] = tuple,
        clock: Clock,
        process_id: str,
    ) -> None:
        self._rotator = rotator
        self._queues = queues
        self._affinity = affinity
        self._publish = publish
        self._snapshot = snapshot
        self._clock = clock
        self._process_id = process_id
        self._stamp = 0.0  # of the last update
        self._fingerprints: dict[Key, str] = {}
        self._keys: dict[str, Key] = {}
        self._pool_facts = PoolFacts(rotator, queues)
        self._set_fingerprints(rotator.keys)
        self._shares_calls = False
        events = rotator.events
        events.subscribe(KeysReplaced, self._keys_replaced)
        events.subscribe(BenchChanged, self._bench_changed)
        events.subscribe(QuotaLearned, self._quota_learned)
        events.subscribe(ProjectAssigned, self._project_assigned)
        events.subscribe(OutageChanged, self._outage_changed)
        events.subscribe(SearchChanged, self._search_changed)
        events.subscribe(OwnerLearned, self._owner_learned)
        events.subscribe(ConversationServed, self._conversation_served)

    def share_calls(self) -> None:
        """Publish single calls as well, from now on: other processes use these keys at the same time."""
        if self._shares_calls:
            return
        self._shares_calls = True
        self._rotator.join_peers()
        events = self._rotator.events
        events.subscribe(CallCounted, self._call_counted)
        events.subscribe(CallUncounted, self._call_uncounted)
        events.subscribe(ReturnExpected, self._return_expected)

    def publish_all(self) -> None:
        """Publish what is known already, when this process joins its peers."""
        for key in self._rotator.keys:
            for place, about, bench in benches_of(key):
                self._post_bench(key, place, about, bench)
            for lane, limiter in key.project.limiters.items():
                if limiter.quotas or limiter.today:
                    self._post_quotas(key, lane)

    def _set_fingerprints(self, keys: Iterable[Key]) -> None:
        """Set the fingerprints of the keys that are configured now."""
        self._fingerprints = {key: self._fingerprints.get(key) or fingerprint(key.secret) for key in keys}
        self._keys = {name: key for key, name in self._fingerprints.items()}
        # The keys' outbound proxies; without one, a way has no name.
        self._proxies = {proxy_fingerprint(key.proxy): key.proxy for key in self._keys.values()}

    # Published: what was found here. A key without a fingerprint was removed, and completes its last calls.

    def _is_ours(self, event: KeyEvent) -> bool:
        return event.origin is Origin.HERE and event.key in self._fingerprints

    def _keys_replaced(self, _: KeysReplaced) -> None:
        new_keys = {key for key in self._rotator.keys if key not in self._fingerprints}
        self._set_fingerprints(self._rotator.keys)
        self.apply([update for update in self._snapshot() if self._keys.get(update.key) in new_keys])

    def _bench_changed(self, event: BenchChanged) -> None:
        if self._is_ours(event):
            self._post_bench(event.key, event.place, event.about, event.bench)
            if event.place is BenchPlace.MODEL:
                self._publish_calls(event.key, event.about)

    def _post_bench(self, key: Key, place: BenchPlace, about: str, bench: Bench | None) -> None:
        until = bench.benched_until if bench else self._clock()
        self._post(
            UpdateKind(place.value),
            key,
            about,
            bench.to_json() if bench else _NONE,
            until + _REMEMBER_STRIKES,
        )

    def _quota_learned(self, event: QuotaLearned) -> None:
        if self._is_ours(event):
            self._post_quotas(event.key, event.lane)

    def _post_quotas(self, key: Key, lane: str) -> None:
        quotas = key.project.limiters[lane].quotas_to_json()
        self._post(UpdateKind.QUOTA, key, lane, quotas, self._clock() + _LONGEST)

    def _call_counted(self, event: CallCounted) -> None:
        if self._is_ours(event) and not self._publish_calls(event.key, event.lane):
            self._post_call(event.key, event.lane, event.at, event.tokens)

    def _call_uncounted(self, event: CallUncounted) -> None:
        if self._is_ours(event) and not self._publish_calls(event.key, event.lane):
            self._post_call(event.key, event.lane, event.at, None)

    def _publish_calls(self, key: Key, lane: str) -> bool:
        """Publish the calls so far, once peers have to know them; returns whether it did."""
        limiter = key.project.limiters.get(lane)
        if limiter is None or not self._shares_calls or not limiter.begin_sharing():
            return False
        for place, at in enumerate(limiter.log.moments):
            self._post_call(key, lane, at, limiter.log.tokens(place, place + 1))
        return True

    def _post_call(self, key: Key, lane: str, at: float, tokens: int | None) -> None:
        about = f"{lane} {self._process_id} {at!r}"
        self._post(UpdateKind.CALL, key, about, (tokens, [at]), at + REMEMBERED)

    def _project_assigned(self, event: ProjectAssigned) -> None:
        if self._is_ours(event):
            self._post(
                UpdateKind.PROJECT, event.key, "", (event.key.project.name, []), self._clock() + _LONGEST
            )

    def _outage_changed(self, event: OutageChanged) -> None:
        if event.origin is Origin.HERE:
            fact = event.outage.to_json() if event.outage else _NONE
            until = self._clock() + _REMEMBER_STRIKES
            way = proxy_fingerprint(event.proxy)
            self._post(UpdateKind.OUTAGE, None, lane_or_all(event.lane), fact, until, way=way)

    def _search_changed(self, event: SearchChanged) -> None:
        if event.origin is Origin.HERE:
            fact = event.search.to_json(self._fingerprints) if event.search else _NONE
            until = max(fact[1], default=self._clock()) + _REMEMBER_SEARCH
            self._post(UpdateKind.SEARCH, None, lane_or_all(event.lane), fact, until)

    def _return_expected(self, event: ReturnExpected) -> None:
        if event.origin is Origin.HERE:
            about, value = f"{event.lane} {event.at!r}", None if event.gone else event.client
            self._post(UpdateKind.EXPECT, None, about, (value, [event.at]), event.at + 1.0)

    def _owner_learned(self, event: OwnerLearned) -> None:
        if self._is_ours(event):
            owned = event.ownership
            self._post(
                UpdateKind.OWNER,
                event.key,
                owned.name,
                owned.to_json(),
                min(owned.until, self._clock() + _LONGEST),
            )

    def _conversation_served(self, event: ConversationServed) -> None:
        if self._is_ours(event):
            fact = (True, [event.until])
            self._post(UpdateKind.CONVERSATION, event.key, event.name, fact, event.until)

    def _post(
        self,
        kind: UpdateKind,
        key: Key | None,
        about: str,
        fact: tuple[Any, Sequence[float]],
        until: float,
        *,
        way: str = "",
    ) -> None:
        value, moments = fact
        name = self._fingerprints[key] if key else way
        # Of two updates about the same, the later one holds, even if the clock has not gone on.
        self._stamp = max(self._clock(), math.nextafter(self._stamp, math.inf))
        self._publish(Update(kind, name, about, value, self._stamp, until, tuple(moments)))

    # Applied: what peers found.

    def apply(self, updates: Sequence[Update]) -> None:
        """Apply what peers published. Malformed updates are skipped."""
        for update in updates:
            key = self._keys.get(update.key)
            try:
                if key:
                    self._apply_to_key(key, update)
                else:
                    self._pool_facts.apply(update, self._keys, self._proxies)
            except (AttributeError, LookupError, TypeError, ValueError):
                continue  # another version of this program, perhaps

    def _apply_to_key(self, key: Key, update: Update) -> None:
        match update.kind:
            case UpdateKind.CALL:
                self._apply_call(key, update)
            case UpdateKind.OWNER:
                ownership = Ownership.from_json(update.about, key, update.value, update.moments)
                self._affinity.learn_from_peer(ownership)
            case UpdateKind.CONVERSATION:
                served = ConversationServed(Origin.PEER, key, update.about, *update.moments)
                self._rotator.events.publish(served)
            case UpdateKind.PROJECT:
                self._rotator.assign(key, str(update.value), Origin.PEER)
            case UpdateKind.QUOTA:
                self._rotator.learn_quotas(key, update.about, update.value, update.moments)
                self._publish_calls(key, update.about)
            case kind if kind not in _PLACES:
                pass
            case kind if update.value is None:
                self._rotator.clear_bench(key, _PLACES[kind], update.about, Origin.PEER)
            case kind:
                bench = Bench.from_json(update.value, update.moments, self._clock)
                self._rotator.set_bench(key, _PLACES[kind], bench, update.about, Origin.PEER)
                self._publish_calls(key, update.about)

    def _apply_call(self, key: Key, update: Update) -> None:
        model, (at,) = update.about.rsplit(" ", 2)[0], update.moments
        key.project.limiter(model)
        self._publish_calls(key, model)  # before the first call of a peer is among them
        if update.value is None:
            self._rotator.uncount(key, model, at, Origin.PEER)
            return
        limiter, tokens = key.project.limiters[model], int(update.value)
        if limiter.log.place(at) >= 0:
            limiter.log.set_tokens(at, tokens)  # its response has told them
            return
        self._rotator.count(key, model, at, tokens, Origin.PEER)
        # Two processes may reserve the same room at once: the one with the later moment has to move.
        if limiter.overbooked(self._clock()):
            self._queues.refresh(model)
