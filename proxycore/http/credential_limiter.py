"""Rate limits for failed authentication: responses are delayed by address, and log entries summarised.

Requests with valid credentials are not limited, so clients that share an attacker's address are not slowed.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, IPv6Network, ip_address

logger = logging.getLogger(__name__)


LONGEST_DELAY = 10.0
"""Seconds by which the response to a failure is delayed at most."""

_RATE, _BURST = 3.0, 5.0  # failures of one address: responses per second, and at once
_LINE_RATE, _LINE_BURST = 5.0, 50.0  # log entries for all addresses: per second, and at once
_ADDRESSES = 4096  # addresses that are remembered
_SUMMARY = 10.0  # seconds between two summaries of failures without an entry of their own
_NAMED = 5  # addresses that a summary names one by one
_NETWORK_BITS = 64  # of an IPv6 address that one host may choose (RFC 7934)

Schedule = Callable[[float, Callable[[], None]], object]
"""Schedules a call: takes the delay in seconds and the callback."""


@dataclass(frozen=True, slots=True)
class Failure:
    """How to respond to a failure: `delay` in seconds, None if the address has too many failures.

    `logged` is whether the failure gets a log entry of its own; else it is part of a summary.
    """

    delay: float | None
    logged: bool


@dataclass(slots=True)
class _Bucket:
    """A token bucket: `burst` tokens at once, and `rate` tokens a second. Times are seconds of one clock.

    Tokens can be acquired in advance: `tokens` is negative then.
    """

    rate: float
    burst: float
    at: float
    tokens: float = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = self.burst

    def acquire(self, now: float, max_wait: float = 0.0) -> float | None:
        """Acquire a token that is available within `max_wait` seconds; return in how many, or None."""
        self.tokens = min(self.burst, self.tokens + self.rate * max(0.0, now - self.at))
        self.at = max(self.at, now)
        delay = max(0.0, (1.0 - self.tokens) / self.rate)
        if delay > max_wait:
            return None
        self.tokens -= 1.0
        return delay


class CredentialLimiter:
    """Counts failures by IPv4 address or IPv6 network. `clock` returns seconds, from any starting point."""

    def __init__(self, clock: Callable[[], float], schedule: Schedule) -> None:
        self._clock = clock
        self._schedule = schedule
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()  # the latest last
        self._lines = _Bucket(_LINE_RATE, _LINE_BURST, clock())
        self._unlogged: dict[str, int] = {}
        self._scheduled = False  # whether a summary is scheduled

    def count_failure(self, address: str) -> Failure:
        """Count a request with a wrong or missing credential, and return how to respond to it."""
        now, network = self._clock(), _network(address)
        bucket = self._buckets.get(network)
        if bucket is None:
            bucket = self._buckets[network] = _Bucket(_RATE, _BURST, now)
            if len(self._buckets) > _ADDRESSES:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(network)
        delay = bucket.acquire(now, LONGEST_DELAY)
        logged = delay is not None and self._lines.acquire(now) is not None
        if not logged:
            self._count(network)
        return Failure(delay, logged)

    def summarise(self) -> None:
        """Log how many failures had no log entry of their own."""
        counts, self._unlogged, self._scheduled = self._unlogged, {}, False
        most = sorted(counts, key=lambda network: counts[network], reverse=True)
        for network in most[:_NAMED]:
            fields = {"address": network, "count": counts[network]}
            logger.warning("more credentials refused", extra={"fields": fields})
        if others := most[_NAMED:]:
            fields = {"addresses": len(others), "count": sum(counts[network] for network in others)}
            logger.warning("more credentials refused", extra={"fields": fields})

    def _count(self, network: str) -> None:
        if network not in self._unlogged and len(self._unlogged) >= _ADDRESSES:
            network = "others"
        self._unlogged[network] = self._unlogged.get(network, 0) + 1
        if not self._scheduled:
            self._scheduled = True
            self._schedule(_SUMMARY, self.summarise)


def _network(address: str) -> str:
    """The part of an address that a host can't change: an IPv6 network, or the whole IPv4 address."""
    try:
        found = ip_address(address)
    except ValueError:
        return address  # a Unix socket has none
    if not isinstance(found, IPv6Address):
        return address
    if found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return str(IPv6Network((int(found), _NETWORK_BITS), strict=False))
