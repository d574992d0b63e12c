"""What this process knows (rotator, lines, owners) as notices: told when it changes, and heard from others.

Times are the clock's moments, in seconds.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from proxycore.allowance import REMEMBERED, Allowance, Today
from proxycore.bench import Bench, end_of_day
from proxycore.choice import ALL
from proxycore.clock import Clock
from proxycore.key import Key
from proxycore.line import Lines
from proxycore.notice import Notice, fingerprint
from proxycore.outage import Outage
from proxycore.owners import Owners
from proxycore.quota import Quota
from proxycore.rotator import Rotator
from proxycore.search import Search
from proxycore.verdict import DAY

_EVERYTHING = "*"  # what an outage is about that is not about one model
_REMEMBER_STRIKES = 600.0
_REMEMBER_SEARCH = 60.0
_LONGEST = 2 * DAY


class Herald:
    """Tells what has changed here, and puts into effect what others tell. `me` is a name of our own.

    `recall` returns all that was told, for keys that come later.
    """

    def __init__(
        self,
        rotator: Rotator,
        lines: Lines,
        owners: Owners,
        *,
        tell: Callable[[Notice], None],
        recall: Callable[[], Iterable[Notice]] = tuple,
        clock: Clock,
        me: str,
    ) -> None:
        self._rotator = rotator
        self._lines = lines
        self._owners = owners
        self._tell = tell
        self._recall = recall
        self._clock = clock
        self._me = me
        self._stamp = 0.0  # of the last notice
        self._names: dict[Key, str] = {}
        self._keys: dict[str, Key] = {}
        self._meet(rotator.keys)
        rotator.alone = False
        rotator.listeners.append(self._changed)
        lines.on_expected = self._expected
        owners.on_learned = self._learned

    def tell_all(self) -> None:
        """Tells what is known already, by one who joins the others late."""
        for key in self._rotator.keys:
            for kind in ("whole", "retired"):
                if self._rotator.bench_of(key, kind):
                    self._changed(kind, key, "", 0.0)
            for lane in key.callers:
                self._changed("caller", key, lane, 0.0)
            for origin in key.origins:
                self._changed("origin", key, origin, 0.0)
            for model, allowance in key.project.allowances.items():
                if allowance.bench:
                    self._changed("model", key, model, 0.0)
                if allowance.quotas or allowance.today:
                    self._changed("quota", key, model, 0.0)

    def _meet(self, keys: Iterable[Key]) -> None:
        """These keys are there now."""
        self._names = {key: self._names.get(key) or fingerprint(key.secret) for key in keys}
        self._keys = {name: key for key, name in self._names.items()}

    # What is told.

    def _changed(self, kind: str, key: Key | None, model: str, at: float) -> None:
        # What is heard is not told, but for what follows from it.
        if kind in {"room", "day"} or (self._rotator.hearsay and kind != "lesson"):
            return
        if key and key not in self._names:
            return  # it was removed, and finishes what it is doing
        if key is None:
            self._tell_of_all(kind, model)
        elif kind in {"call", "uncall"}:
            if not self._share(key, model):
                self._tell_call(key, model, at, made=kind == "call")
        elif kind == "project":
            self._post(kind, key, "", key.project.name, self._clock() + _LONGEST)
        elif kind in {"quota", "lesson"}:
            allowance = key.project.allowances[model]
            today = [allowance.today.ends, allowance.today.moment] if allowance.today else []
            self._post("quota", key, model, _quotas(allowance), self._clock() + _LONGEST, *today)
        else:
            bench = self._rotator.bench_of(key, kind, model)
            # Not Google's words: they may quote the key.
            value = [bench.reason, bench.strikes, bench.suspected] if bench else None
            moments = _known(bench.benched_until, bench.day_of) if bench else []
            until = moments[0] if moments else self._clock()
            self._post(kind, key, model, value, until + _REMEMBER_STRIKES, *moments)
            if kind == "model":
                self._share(key, model)

    def _tell_of_all(self, kind: str, model: str) -> None:
        if kind == "keys":
            strangers = {key for key in self._rotator.keys if key not in self._names}
            self._meet(self._rotator.keys)
            self.hear([notice for notice in self._recall() if self._keys.get(notice.key) in strangers])
        elif kind == "search":
            self._tell_search(model)
        else:
            self._tell_outage(model)

    def _share(self, key: Key, model: str) -> bool:
        """Tells of the calls so far, once they may be of interest to others; returns whether it did."""
        allowance = key.project.allowances.get(model)
        if allowance is None or allowance.shared or not allowance.counted:
            return False
        allowance.shared = True
        for at in allowance.calls:
            self._tell_call(key, model, at, made=True)
        return True

    def _tell_call(self, key: Key, model: str, at: float, *, made: bool) -> None:
        about = f"{model} {self._me} {at!r}"
        self._post("call", key, about, made or None, at + REMEMBERED, at)

    def _tell_outage(self, model: str) -> None:
        outage = self._rotator.outages.current.get(model or None)
        moments = [outage.since] if outage else []
        until = max(self._clock(), *moments) + _REMEMBER_STRIKES
        self._post("outage", None, model or _EVERYTHING, outage and outage.reason, until, *moments)

    def _tell_search(self, lane: str) -> None:
        search = self._rotator.searches.get(None if lane == ALL else lane)
        if search is None:
            self._post("search", None, lane, None, self._clock() + _REMEMBER_SEARCH)
            return
        tried = {name: tries for key, name in self._names.items() if (tries := search.tries(key))}
        value = [search.reason, search.pause, search.longest, search.outage, sorted(search.requests), tried]
        moments = _known(search.since, search.next_try, search.open_until)
        self._post("search", None, lane, value, max(moments) + _REMEMBER_SEARCH, *moments)

    def _expected(self, model: str, at: float, *, gone: bool) -> None:
        if not self._rotator.hearsay:
            self._post("expect", None, f"{model} {at!r}", None if gone else True, at + 1.0, at)

    def _learned(self, name: str, key: Key, until: float) -> None:
        if not self._rotator.hearsay and key in self._names:
            self._post("owner", key, name, True, min(until, self._clock() + _LONGEST))

    def _post(
        self,
        kind: str,
        key: Key | None,
        about: str,
        value: Any,  # noqa: ANN401 - JSON
        until: float,
        *moments: float,
    ) -> None:
        name = self._names[key] if key else ""
        # Of two notices about the same, the later one holds, even if the clock has not gone on.
        self._stamp = max(self._clock(), math.nextafter(self._stamp, math.inf))
        self._tell(Notice(kind, name, about, value, self._stamp, until, moments))

    # What is heard.

    def hear(self, notices: Sequence[Notice]) -> None:
        """Puts into effect what others told. What makes no sense is passed over."""
        self._rotator.hearsay = True
        try:
            for notice in notices:
                key = self._keys.get(notice.key)
                try:
                    if key:
                        self._hear_of(key, notice)
                    elif not notice.key:
                        self._hear_of_all(notice)
                except (AttributeError, LookupError, TypeError, ValueError):
                    continue  # another version of this program, perhaps
        finally:
            self._rotator.hearsay = False

    def _hear_of(self, key: Key, notice: Notice) -> None:
        match notice.kind:
            case "call":
                self._hear_call(key, notice)
            case "owner":
                self._owners.learn([notice.about], key)
            case "project":
                self._rotator.assign(key, str(notice.value))
            case "quota":
                allowance = key.project.allowance(notice.about)
                self._set_quotas(allowance, notice)
                self._rotator.changed("quota", key, notice.about)
                self._share(key, notice.about)
            case "model" | "caller" | "origin" | "whole" | "retired" if notice.value is None:
                self._rotator.release(key, notice.kind, notice.about)
            case "model" | "caller" | "origin" | "whole" | "retired":
                (reason, strikes, suspected), (until, *day_of) = notice.value, notice.moments
                ends = self._end(until, *day_of)
                day = day_of[0] if day_of else None
                bench = Bench(str(reason), ends, int(strikes), day, suspected=bool(suspected))
                self._rotator.rest(key, notice.kind, bench, notice.about)
                self._share(key, notice.about)

    def _hear_call(self, key: Key, notice: Notice) -> None:
        model, (at,) = notice.about.rsplit(" ", 2)[0], notice.moments
        key.project.allowance(model)
        self._share(key, model)  # as long as all that are known here were made here
        if notice.value is None:
            self._rotator.uncount(key, model, at)
            return
        self._rotator.count(key, model, at)
        # Two who reserve at the same time reserve the same: who reserved the later moment has to move.
        if key.project.allowances[model].overbooked(self._clock()):
            self._lines.stir(model)

    def _hear_of_all(self, notice: Notice) -> None:
        if notice.kind == "expect":
            model, (at,) = notice.about.rpartition(" ")[0], notice.moments
            self._lines.expect(model, at, gone=notice.value is None)
        elif notice.kind == "outage":
            breadth = None if notice.about == _EVERYTHING else notice.about
            if notice.value is None:
                self._rotator.outages.current.pop(breadth, None)
            else:
                (since,) = notice.moments
                self._rotator.outages.current[breadth] = Outage(str(notice.value), breadth, since)
            self._rotator.changed("outage", None, breadth or "")
        elif notice.kind == "search":
            self._hear_of_search(None if notice.about == ALL else notice.about, notice)

    def _hear_of_search(self, lane: str | None, notice: Notice) -> None:
        known = self._rotator.searches.get(lane)
        if notice.value is None:
            if known:
                self._rotator.end_search(known)
            return
        reason, pause, longest, outage, requests, names = notice.value
        since, next_try, *open_until = notice.moments
        search = known or Search(lane, str(reason), since, next_try, mine=False)
        search.mine &= search.since <= since
        search.since, search.next_try = min(search.since, since), next_try
        search.pause, search.longest = float(pause), float(longest)
        search.outage, search.open_until = bool(outage), open_until[0] if open_until else None
        search.requests = set(requests)
        search.set_tries({self._keys[name]: int(n) for name, n in names.items() if name in self._keys})
        self._rotator.begin_search(search)

    def _set_quotas(self, allowance: Allowance, notice: Notice) -> None:
        now = self._clock()
        for name, (requests, period, allowed, window, shortest) in notice.value["quotas"].items():
            quota = allowance.quotas.setdefault(name, Quota(requests, period, self._rotator.since, allowed))
            quota.requests, quota.period, quota.allowed = requests, period, allowed
            quota.window, quota.shortest = window, shortest
            quota.widen_at = now + (window or period)
        if notice.value["today"]:
            (requests, used), (ends, day_of) = notice.value["today"], notice.moments
            allowance.today = Today(requests, day_of, self._end(ends, day_of), used)

    def _end(self, told: float, day_of: float | None = None) -> float:
        """When something ends that was told to end then, and with Google's day if it has a moment of that."""
        # The wall clock of another host may be wrong, or was when it told.
        return told if day_of is None else min(told, end_of_day(day_of, self._clock))


def _known(*moments: float | None) -> list[float]:
    return [moment for moment in moments if moment is not None]


def _quotas(allowance: Allowance) -> dict[str, Any]:
    today = allowance.today
    return {
        "quotas": {
            name: [quota.requests, quota.period, quota.allowed, quota.window, quota.shortest]
            for name, quota in allowance.quotas.items()
        },
        "today": [today.requests, today.used] if today else None,
    }
