"""What a client may do: the rates, the concurrency, the models and the end date of a `CLIENT_*`. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from proxycore.gemini.verdict import DAY, end_of_google_date


class Counted(StrEnum):
    """What a rate limits."""

    REQUESTS = "requests"
    TOKENS = "tokens"


class Period(StrEnum):
    """The time for which a rate holds. All slide but the day, which is Google's."""

    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"

    @property
    def seconds(self) -> float:
        """Its length."""
        return _SECONDS[self]


_MOST_EARLY = 0.45  # seconds: more than most gaps between requests at three times 2 per second
_SECONDS = {Period.SECOND: 1.0, Period.MINUTE: 60.0, Period.HOUR: 3600.0, Period.DAY: DAY}


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests or tokens in any such period; in each of Google's days for a day."""

    counted: Counted
    amount: int
    period: Period

    @property
    def topic(self) -> str:
        """Its name, whatever its amount."""
        return f"{self.counted}/{self.period}"

    @property
    def early(self) -> float:
        """Seconds by which a request may come before there is room for it: it waits, and is not refused.

        So the room is used at once, not only when the next request comes: at 5 per second and three times as
        many requests, that would lose a fifteenth. It is at most the mean time between two requests at this
        rate, so that one or two wait. When tokens leave the window, or a day ends, nobody waits.
        """
        if self.counted is Counted.TOKENS or self.period is Period.DAY:
            return 0.0
        return min(self.period.seconds / self.amount, _MOST_EARLY)

    @property
    def quota_id(self) -> str:
        """Its name in the manner of Google's `quotaId`s."""
        return f"{self.counted.title()}Per{self.period.title()}PerClient"

    def __str__(self) -> str:
        return f"{self.counted}={self.amount}/{self.period}"


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """The limits of one client. `weight` is its share of the wait queues.

    `concurrent` are requests and Live sessions in progress, None for any number; `models` are globs, none for
    all models. `until` is the last of Google's days on which it may send requests; it `ends` by the wall
    clock, in seconds since the epoch.
    """

    rates: tuple[Rate, ...] = ()
    concurrent: int | None = None
    models: tuple[str, ...] = ()
    until: date | None = None
    weight: float = 1.0
    ends: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ends", end_of_google_date(self.until) if self.until else math.inf)

    @property
    def counts(self) -> bool:
        """Whether its requests have to be counted."""
        return bool(self.rates) or self.concurrent is not None

    @property
    def counts_tokens(self) -> bool:
        """Whether its tokens have to be counted."""
        return any(rate.counted is Counted.TOKENS for rate in self.rates)

    def early(self, topic: str) -> float:
        """Seconds by which a request may come before there is room for it within the rate of this topic."""
        return next((rate.early for rate in self.rates if rate.topic == topic), 0.0)

    def snapshot(self, used: Mapping[str, int]) -> dict[str, Any]:
        """The limits as JSON, and what is `used` of each rate, by its topic."""
        return {
            "rates": [
                {
                    "of": rate.counted,
                    "per": rate.period,
                    "limit": rate.amount,
                    "used": used.get(rate.topic, 0),
                }
                for rate in self.rates
            ],
            "concurrent": self.concurrent,
            "models": list(self.models),
            "until": self.until.isoformat() if self.until else None,
            "weight": self.weight,
        }

    def allows(self, model: str) -> bool:
        """Whether the model may be used; what names no model may."""
        if not self.models or not model:
            return True
        return any(fnmatchcase(model.lower(), glob) for glob in self.models)
