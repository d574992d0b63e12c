"""The choice of a key for a model: a random one that is ready, or else the first to come back. Pure.

The clock and the random source come in. What changes is told to `listeners`.
"""

import random
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable

from proxycore.clock import Clock
from proxycore.key import Key, Project
from proxycore.outage import Outage, Outages
from proxycore.roster import Roster

_ROSTERS = 64  # models that have an index; that of another one is made when it is asked for

Listener = Callable[[str, Key | None, str, float], None]
"""Is told what has changed: its kind, the key and model that it is about, and a call's moment.

The kinds: `model`, `whole` and `retired` for benches that began or ended, `quota` for what was learned from
a refusal and `lesson` for what others' calls add to that, `project`, `outage`, `call` and `uncall` for calls
that count or don't any more, `room` if more calls may be open at once, `keys` if there are others now, `day`
if the ends of Google's days are other moments than was thought.
"""


class Choice:
    """Chooses among the keys. `outages` may hold all of them back but for a trial now and then."""

    def __init__(self, keys: Iterable[Key], *, clock: Clock, source: random.Random) -> None:
        self._set(keys)
        self.outages = Outages()
        self.listeners: list[Listener] = []
        self.hearsay = False  # whether what changes now was told by others
        self._clock = clock
        self._random = source
        self._rosters: OrderedDict[str, Roster] = OrderedDict()

    def _set(self, keys: Iterable[Key]) -> None:
        self.keys = tuple(keys)
        self._there = frozenset(self.keys)

    @property
    def projects(self) -> list[Project]:
        """The projects that the keys belong to."""
        return list(dict.fromkeys(key.project for key in self.keys))

    @property
    def usable(self) -> bool:
        """Whether at least one key can be used, for some model at least."""
        now = self._clock()
        return any(key.rests_until <= now for key in self.keys)

    def pick(self, model: str, avoid: Collection[Key] = (), only: Key | None = None) -> Key | None:
        """A random key that is ready for the model and not among `avoid`; None when there is none.

        It is of another project than those, if that is possible. With `only`, it is that one or none.
        """
        now = self._clock()
        outage = self.outages.holding(model)
        if outage and now < (outage.next_trial or 0.0):
            return None
        if only:
            key = None if only in avoid or only.ready_at(model) > now else only
        else:
            key = self._draw(model, now, avoid)
        if key and outage:
            self._try(outage, now)
        return key

    def claim(self, key: Key, model: str) -> bool:
        """Whether the call that was reserved on this key for now can be made."""
        now = self._clock()
        outage, allowance = self.outages.holding(model), key.project.allowances.get(model)
        moments = [key.rests_until, (outage and outage.next_trial) or 0.0]
        if allowance:
            moments += [allowance.bench.benched_until if allowance.bench else 0.0, allowance.open_until()]
        if max(moments) > now or key not in self._there:
            return False
        if outage:
            self._try(outage, now)
        return True

    def holds(self, key: Key, model: str, at: float) -> bool:
        """Whether a call that is reserved on this key for this moment could still be made then."""
        allowance = key.project.allowances.get(model)
        if allowance is None or key not in self._there:
            return False  # nothing holds it back any more
        benched_until = allowance.bench.benched_until if allowance.bench else 0.0
        return max(key.rests_until, benched_until) <= at and allowance.fits(at)

    def _try(self, outage: Outage, now: float) -> None:
        outage.try_now(now)
        self.changed("outage", None, outage.model or "")

    def next_turn(
        self, model: str, avoid: Collection[Key] = (), only: Key | None = None
    ) -> tuple[Key, float] | None:
        """The key that serves one more call for the model first, and when; None when none ever does."""
        now = self._clock()
        if only:
            first = None if only in avoid or only.retired else (only, max(only.ready_at(model), now))
        else:
            found = self._roster(model, now).first(
                now, lambda project: any(not key.retired and key not in avoid for key in project.keys)
            )
            first = (_first(found[0], avoid), found[1]) if found else None
        outage = self.outages.holding(model)
        return (first[0], max(first[1], outage.next_trial or 0.0)) if first and outage else first

    def ready_at(self, model: str, avoid: Collection[Key] = (), only: Key | None = None) -> float | None:
        """When the first key that is not retired is ready for the model; None when there is none."""
        turn = self.next_turn(model, avoid, only)
        return turn[1] if turn else None

    def _draw(self, model: str, now: float, avoid: Collection[Key]) -> Key | None:
        roster, source = self._roster(model, now), self._random
        tried = {key.project for key in avoid}
        project = roster.draw(source, now, lambda project: project not in tried)
        if project is None and avoid:
            project = roster.draw(source, now, lambda project: bool(_fit(project, now, avoid)))
        if project is None:
            return None
        fit = _fit(project, now, avoid)
        return fit[0] if len(fit) == 1 else source.choice(fit)

    def _roster(self, model: str, now: float) -> Roster:
        roster = self._rosters.get(model)
        if roster is None:
            roster = self._rosters[model] = Roster(self.projects, model, now)
            if len(self._rosters) > _ROSTERS:
                self._rosters.popitem(last=False)
        return roster

    def reconsider_all(self) -> None:
        """Any project may be ready earlier than was thought, or have left."""
        self._rosters.clear()

    def reconsider(self, project: Project, model: str | None = None) -> None:
        """A project may be ready earlier than was thought; without a model, any may be for any."""
        if not self._there.intersection(project.keys):
            return  # its last key was removed
        if model is None:
            self.reconsider_all()
        elif roster := self._rosters.get(model):
            roster.reconsider(project, self._clock())

    def changed(self, kind: str, key: Key | None, model: str = "", at: float = 0.0) -> None:
        """Tells all listeners."""
        for listener in self.listeners:
            listener(kind, key, model, at)


def _fit(project: Project, now: float, avoid: Collection[Key]) -> list[Key]:
    keys = project.keys
    if not avoid and len(keys) == 1:
        return keys
    return [key for key in keys if key.rests_until <= now and key not in avoid]


def _first(project: Project, avoid: Collection[Key]) -> Key:
    return min((key for key in project.keys if key not in avoid), key=lambda key: key.rests_until)
