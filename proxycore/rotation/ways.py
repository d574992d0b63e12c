"""The ways to the upstream: outbound proxies, or none; and which of them fail at present. Pure.

A response about the way (the region, a gateway), or none at all, says nothing about keys behind another way.
So its own way *fails* from then on: keys behind other ways are used first, as long as any is ready. After a
pause, which doubles with every failure in a row, one call at a time goes that way again, until a response
from Google shows that it works. Where all keys have the same way, none is ever avoided.

Times are the clock's moments, in seconds.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from proxycore.clock import Clock
from proxycore.gemini.verdict import Reaction, Verdict
from proxycore.rotation.key import Key

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_NONE: frozenset[Key] = frozenset()


@dataclass(slots=True)
class _Failure:
    """Failures in a row: how many, the last one's moment, and until when the way is avoided."""

    failed_at: float
    until: float
    pause: float = _FIRST_PAUSE
    times: int = 1


class Ways:
    """The keys by their outbound proxies, and the proxies that fail."""

    def __init__(self, keys: Iterable[Key], clock: Clock) -> None:
        self.failing: dict[str | None, _Failure] = {}  # by proxy; others may only look whether there is any
        self._clock = clock
        self.change(keys)

    def change(self, keys: Iterable[Key]) -> None:
        """Replace the keys, whose proxies may have changed."""
        ways: dict[str | None, list[Key]] = {}
        for key in keys:
            ways.setdefault(key.proxy, []).append(key)
        self._keys = {proxy: frozenset(behind) for proxy, behind in ways.items()}
        self._since = self._clock()  # a call that was sent before may have gone another way
        kept = self._keys if self.several else {}
        self.failing = {proxy: failure for proxy, failure in self.failing.items() if proxy in kept}

    @property
    def several(self) -> bool:
        """Whether the keys have several ways."""
        return len(self._keys) > 1

    @property
    def avoided(self) -> frozenset[Key]:
        """The keys behind ways that fail: others that are ready are better."""
        if not self.failing:
            return _NONE
        now = self._clock()
        return _NONE.union(*(self._keys[proxy] for proxy, one in self.failing.items() if one.until > now))

    def behind(self, key: Key) -> frozenset[Key]:
        """Return the keys that have the same way as this one."""
        return self._keys.get(key.proxy, _NONE)

    def elsewhere(self, key: Key) -> Iterator[Key]:
        """Yield the keys that have another way than this one, which does not fail."""
        avoided = self.avoided
        for proxy, keys in self._keys.items():
            if proxy != key.proxy:
                yield from (one for one in keys if one not in avoided)

    def failures(self, key: Key) -> int:
        """Return how often in a row the key's way failed; 0 if there is no other one."""
        failure = self.failing.get(key.proxy)
        return failure.times if failure else 0

    def sent(self, key: Key, at: float) -> None:
        """A call was sent: if that is to show whether a failing way works, others wait for its response."""
        failure = self.failing.get(key.proxy)
        if failure and failure.until <= at:
            failure.until = at + failure.pause

    def note(self, key: Key, sent_at: float, verdict: Verdict) -> None:
        """Apply what the response to a call with this key says about the key's way."""
        if not self.several or sent_at < self._since:
            return
        failure = self.failing.get(key.proxy)
        if failure and sent_at < failure.failed_at:
            return  # calls that were under way together fail together
        if verdict.way:
            self._fail(key.proxy, failure)
        elif verdict.then is not Reaction.RETRY:
            self.failing.pop(key.proxy, None)

    def _fail(self, proxy: str | None, failure: _Failure | None) -> None:
        now = self._clock()
        if failure is None:
            self.failing[proxy] = _Failure(now, now + _FIRST_PAUSE)
            return
        failure.times, failure.failed_at = failure.times + 1, now
        failure.pause = min(2 * failure.pause, _LONGEST_PAUSE)
        failure.until = now + failure.pause


def shown(proxy: str) -> str:
    """Return the host and port of an outbound proxy, without its credentials."""
    return urlsplit(proxy).netloc.rpartition("@")[2]
