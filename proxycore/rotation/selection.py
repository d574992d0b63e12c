"""The choice of a key for a lane: a random one that is ready, or else the first that will be. Pure.

If some projects go before others (`KEY_ORDER`), a later group is used only when no key of an earlier one can
serve within a second: a request waits for that one. During a search for a key that serves, one call at a time
is made, with the project that was tried least. The clock and the random source are arguments. Changes are
published as `events`.
"""

import random
from collections.abc import Collection, Iterable, Iterator

from proxycore.clock import Clock
from proxycore.gemini.lane import counted_as
from proxycore.rotation.events import Events
from proxycore.rotation.key import Key, Project
from proxycore.rotation.limiter import Limiter
from proxycore.rotation.outage import Outages
from proxycore.rotation.ready_index import ReadyIndex, Usable
from proxycore.rotation.ready_indexes import ReadyIndexes
from proxycore.rotation.search import Search
from proxycore.rotation.searches import Searches

_SOON = 1.0  # seconds that a key of an earlier group is waited for while one of a later group is ready


class Selector:
    """Chooses among the keys: `configured` are all, `keys` those that are not paused.

    `searches` hold calls back for a lane, or for all (None).
    """

    def __init__(self, keys: Iterable[Key], *, clock: Clock, source: random.Random) -> None:
        self._set(keys)
        self.outages = Outages()
        self.events = Events()
        self.searches = Searches(self.events, clock)
        self._clock = clock
        self._random = source
        self._counts_tokens: set[str] = set()  # lanes of which some project has a quota of tokens

    def _set(self, keys: Iterable[Key]) -> None:
        self.configured = tuple(keys)
        self.keys = tuple(key for key in self.configured if not key.paused)
        self._current_keys = frozenset(self.keys)
        self._indexes = ReadyIndexes(self.projects)

    @property
    def projects(self) -> list[Project]:
        """The projects that the keys belong to."""
        return list(dict.fromkeys(key.project for key in self.keys))

    @property
    def usable(self) -> bool:
        """Whether at least one key can be used, for some model at least."""
        now = self._clock()
        return any(key.usable_at <= now for key in self.keys)

    def pick(
        self,
        model: str,
        avoid: Collection[Key] = (),
        only: Key | None = None,
        prefer: Project | None = None,
        *,
        tokens: int = 0,
    ) -> Key | None:
        """Return a random key that is ready for the lane and not among `avoid`; None if there is none.

        It is ready for a prompt of so many `tokens`. If possible, it belongs to none of the projects of
        `avoid`. With `only`, it is that key or None; with `prefer`, it is of that project if that is ready
        and of the group whose turn it is.
        """
        return self._pick(model, self._clock(), avoid, only, prefer, tokens=tokens)

    def _pick(
        self,
        model: str,
        now: float,
        avoid: Collection[Key],
        only: Key | None,
        prefer: Project | None,
        *,
        tokens: int,
    ) -> Key | None:
        if search := self.searches.holding(model):
            return self._pick_in(search, model, now, avoid, only)
        tokens = self.counted_tokens(model, tokens)
        if only:
            return None if only in avoid or only.ready_at(model, tokens) > now else only
        for index in self._indexes.of(model):
            is_preferred = prefer and prefer in index.group and prefer.free_at(model, tokens) <= now
            if prefer and is_preferred and (fit := _fit(prefer, model, now, avoid)):
                return fit[0]
            if key := self._draw_from(index, model, now, avoid, tokens):
                return key
            if self._indexes.ordered and _can_serve(index, now, avoid, tokens):
                return None
        return None

    def counted_tokens(self, model: str, tokens: int) -> int:
        """Return the tokens, if any project has a quota of them; else 0, since they do not matter."""
        return tokens if tokens and counted_as(model) in self._counts_tokens else 0

    def _pick_in(
        self, search: Search, model: str, now: float, avoid: Collection[Key], only: Key | None
    ) -> Key | None:
        """Return the key for the next try of a search; None if that is not due, or no key is ready."""
        if not search.is_due(model, now):
            return None
        if only:
            key = None if only in avoid or only.ready_at(model) > now else only
        else:
            ready = self._indexes.ready(model, now)
            fit = [key for project in ready for key in _fit(project, model, now, avoid)]
            self._random.shuffle(fit)
            if self._indexes.ordered:
                fit.sort(key=lambda key: key.project.rank)
            key = search.least_tried(fit)
        if key:
            search.begin_try(key, now)
            self.searches.publish(search)
        return key

    def pick_spare(self, model: str, avoid: Collection[Key], *, tokens: int = 0) -> Key | None:
        """Return a ready key for a call that could be left out; None if no project has quota to spare.

        The key is drawn as by `pick`, which prefers projects with much left: one has to have half of it.
        """
        if self.searches.holding(model):
            return None
        now = self._clock()
        key = self._pick(model, now, avoid, None, None, tokens=tokens)
        return key if key and key.project.is_half_free(model, now) else None

    def can_redeem(self, key: Key, model: str) -> bool:
        """Return whether the call that was reserved with this key for now can be made."""
        if key not in self._current_keys or self.searches.holding(model):
            return False
        moments = [key.lane_usable_at(model)]
        for limiter in self._limiters(key, model):
            moments += [limiter.bench.benched_until if limiter.bench else 0.0, limiter.open_until()]
        return max(moments) <= self._clock()

    def holds(self, key: Key, model: str, at: float) -> bool:
        """Return whether a call that is reserved with this key for a moment could still be made then."""
        limiter = key.project.limiters.get(counted_as(model))
        if limiter is None or key not in self._current_keys:
            return False  # no limit is known any more, so it need not wait
        benches = [one.bench.benched_until for one in self._limiters(key, model) if one.bench]
        return max(key.lane_usable_at(model), *benches, 0.0) <= at and limiter.fits(at)

    @staticmethod
    def _limiters(key: Key, model: str) -> Iterator[Limiter]:
        known = key.project.limiters
        return (known[lane] for lane in {model, counted_as(model)} if lane in known)

    def next_turn(
        self, model: str, avoid: Collection[Key] = (), only: Key | None = None, tokens: int = 0
    ) -> tuple[Key, float] | None:
        """Return the key that can make one more call for the model next, and when; None if none can.

        `tokens` are those of its prompt.
        """
        now, tokens = self._clock(), self.counted_tokens(model, tokens)
        if only:
            first = None if only in avoid or only.retired else (only, max(only.ready_at(model, tokens), now))
        else:
            first = self._first(model, now, avoid, tokens)
        search = self.searches.holding(model)
        return (first[0], max(first[1], search.due(model))) if first and search else first

    def _first(self, model: str, now: float, avoid: Collection[Key], tokens: int) -> tuple[Key, float] | None:
        usable, turns = _usable(avoid), []
        for index in self._indexes.of(model):
            if found := index.first(now, usable, tokens):
                turns.append(found)
                if found[1] <= now:
                    break
        if len(turns) > 1:
            soon = min(at for _, at in turns) + _SOON
            turns = [turn for turn in turns if turn[1] <= soon]
        return (_first(turns[0][0], avoid), turns[0][1]) if turns else None

    def ready_at(self, model: str, avoid: Collection[Key] = (), only: Key | None = None) -> float | None:
        """Return when the first key that is not retired is ready for the model; None if there is none."""
        turn = self.next_turn(model, avoid, only)
        return turn[1] if turn else None

    def _draw(self, model: str, now: float, avoid: Collection[Key], tokens: int = 0) -> Key | None:
        """Return a random key that is ready, of whatever group; None if there is none."""
        drawn = (self._draw_from(index, model, now, avoid, tokens) for index in self._indexes.of(model))
        return next((key for key in drawn if key), None)

    def _draw_from(
        self, index: ReadyIndex, model: str, now: float, avoid: Collection[Key], tokens: int
    ) -> Key | None:
        source = self._random
        if not avoid and not tokens:
            project = index.draw(source, now)
        else:
            tried = {key.project for key in avoid}

            def takes(project: Project) -> bool:
                return not tokens or project.free_at(model, tokens) <= now

            project = index.draw(
                source, now, lambda project: project not in tried and takes(project), tokens
            ) or index.draw(
                source, now, lambda project: takes(project) and bool(_fit(project, model, now, avoid)), tokens
            )
        if project is None:
            return None
        fit = _fit(project, model, now, avoid)
        return fit[0] if len(fit) == 1 else source.choice(fit)

    def reconsider_all(self) -> None:
        """Make all indexes anew: any project may be ready earlier than indexed, or be removed."""
        self._indexes.set_projects(self.projects)

    def reconsider(self, project: Project, model: str | None = None) -> None:
        """Update the indexes: a project may be ready earlier than indexed, for a model or (None) any."""
        self._indexes.reconsider(project, model, self._clock())


def _fit(project: Project, model: str, now: float, avoid: Collection[Key]) -> list[Key]:
    keys = project.keys
    if not avoid and len(keys) == 1:
        return keys
    return [key for key in keys if key.lane_usable_at(model) <= now and key not in avoid]


def _can_serve(index: ReadyIndex, now: float, avoid: Collection[Key], tokens: int) -> bool:
    """Whether a key of these projects can serve soon."""
    first = index.first(now, _usable(avoid), tokens)
    return first is not None and first[1] <= now + _SOON


def _usable(avoid: Collection[Key]) -> Usable:
    return lambda project: any(not key.retired and key not in avoid for key in project.keys)


def _first(project: Project, avoid: Collection[Key]) -> Key:
    return min((key for key in project.keys if key not in avoid), key=lambda key: key.usable_at)
