"""Refusals about quotas and money, Google's 402 and 429, and quotas that are counted.

The bodies are Google's own as public reports show them, each named here as owner/repository#issue.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from proxycore.demo.asked import OWN_QUOTAS, Asked
from proxycore.demo.refusal import SERVICE, TYPE, Json, Refusal, help_link

_REQUESTS = f"{SERVICE}/generate_content_free_tier_requests"
_TOKENS = f"{SERVICE}/generate_content_free_tier_input_token_count"
PER_DAY = (_REQUESTS, "GenerateRequestsPerDayPerProjectPerModel-FreeTier")
PER_MINUTE = (_REQUESTS, "GenerateRequestsPerMinutePerProjectPerModel-FreeTier")
TOKENS_PER_MINUTE = (_TOKENS, "GenerateContentInputTokensPerModelPerMinute-FreeTier")
PLAN = (
    "You exceeded your current quota, please check your plan and billing details. For more information on"
    " this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits."
)
HELP = help_link("Learn more about Gemini API quotas", "https://ai.google.dev/gemini-api/docs/rate-limits")
_PACIFIC = ZoneInfo("America/Los_Angeles")
_BYTES_PER_TOKEN = 4

# The Interactions API's own words; that each stands for these is a guess.
_DAILY = Refusal(429, "You have exceeded your daily quota.", word="quota_exceeded")
_RATE = Refusal(429, "You have exceeded the requests per minute limit.", word="rate_limit_exceeded")
_MANY = Refusal(429, "Too many requests.", word="too_many_requests")


def exceeded(
    limit: str, wait: str, delay: str | Json | None, *quotas: tuple[str, str], known_as: str = "$model"
) -> Refusal:
    """Return Google's 429 for quotas, each a metric and a quotaId (google-gemini/gemini-cli#8437).

    Without a ``delay`` it has no RetryInfo. ``known_as`` is the model that the quota is of,
    which can be another than the one asked for.
    """
    lines = [f"\n* Quota exceeded for metric: {m}, limit: {limit}, model: {known_as}" for m, _ in quotas]
    # Protocol buffers leave zeros out of their JSON: only the message has it (googleapis/python-genai#2044).
    value = {} if limit == "0" else {"quotaValue": limit}
    where = {"quotaDimensions": {"location": "global", "model": known_as}}
    violations = [{"quotaMetric": metric, "quotaId": name, **where, **value} for metric, name in quotas]
    failure = {"@type": f"{TYPE}QuotaFailure", "violations": violations}
    retry = {"@type": f"{TYPE}RetryInfo", "retryDelay": delay}
    return Refusal(
        429,
        f"{PLAN} To monitor your current usage, head to: https://ai.dev/rate-limit. {''.join(lines)}"
        + (f"\nPlease retry in {wait}." if delay else ""),
        (HELP, failure, retry) if delay else (HELP, failure),
        interactions=_DAILY if PER_DAY in quotas else _RATE,
    )


def _limited(consumer: str, **more: str) -> Json:
    """Return the detail with the owner of the quota (continuedev/continue#10062 has one)."""
    about = {"service": SERVICE, "consumer": consumer, "quota_metric": _REQUESTS, **more}
    return {
        "@type": f"{TYPE}ErrorInfo",
        "reason": "RATE_LIMIT_EXCEEDED",
        "domain": "googleapis.com",
        "metadata": about,
    }


def _of_consumer(value: str) -> Refusal:
    """Return the 429 that names its consumer, and its limit in an ErrorInfo.

    It is in google-gemini/deprecated-generative-ai-python#244.
    """
    text = (
        "Quota exceeded for quota metric 'Generate Content API requests per minute' and limit"
        " 'GenerateContent request limit per minute for a region' of service"
        f" '{SERVICE}' for consumer 'project_number:$project'."
    )
    limits = {
        "quota_limit": "GenerateContentRequestsPerMinutePerProjectPerRegion",
        "quota_limit_value": value,
        "quota_location": "us-east1",
        "quota_unit": "1/min/{project}/{region}",
    }
    return Refusal(429, text, (_limited("projects/$project", **limits),), interactions=_RATE)


# Spent until midnight in California, whatever its retryDelay says (google-gemini/gemini-cli#8437).
DAY_SPENT = exceeded("20", "41.065029449s", "41s", PER_DAY)
# continuedev/continue#10062, googleapis/python-genai#2044
NOT_ENTITLED = exceeded("0", "20.04466179s", "20s", PER_DAY, PER_MINUTE, TOKENS_PER_MINUTE)
BARE = Refusal(429, "Resource has been exhausted (e.g. check quota).", interactions=_MANY)  # gemini-cli#1841
CONSUMER_SPENT = _of_consumer("15")
CONSUMER_NOT_ENTITLED = _of_consumer("0")

# Money. The status of used-up credit was 429 until about September 2026.
_CREDIT = (
    "Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects to manage"
    " your project and billing."
)
_PAY = Refusal(402, _CREDIT, word="payment_required")
OUT_OF_CREDIT = Refusal(429, _CREDIT, interactions=_PAY)
PAYMENT_REQUIRED = Refusal(402, _CREDIT, interactions=_PAY)
_CAP = "has exceeded its monthly spending cap. Please go to AI Studio at https://ai.studio/spend to manage"
OVER_PROJECT_CAP = Refusal(429, f"Your project {_CAP} your project spend cap.", interactions=_PAY)
OVER_ACCOUNT_CAP = Refusal(429, f"Your billing account {_CAP} your spend cap.", interactions=_PAY)
SPENDING_TOO_FAST = Refusal(  # since 2026-06-23: ten minutes, all projects of the billing account
    429,
    "You exceeded your spend-based rate limit. Your spending rate has exceeded the allowed limit for your"
    " account's billing history and tier.",
)


def of_the_model(asked: Asked) -> bool:
    """Return whether a request counts in its model's quotas; caching and batches have quotas of their own."""
    return asked.method not in OWN_QUOTAS


def _digits(number: float) -> str:
    return f"{number:.9f}".rstrip("0").rstrip(".")


@dataclass(frozen=True)
class Wording:
    """How the refusal of a spent quota is worded.

    ``delay`` is the delay in seconds that it names, if not the true one; ``in_object`` writes it as seconds
    and nanos, and ``without_delay`` leaves it out. ``known_as`` is the model that the refusal names, and
    ``tier`` the end of the quotaId.
    """

    delay: float | None = None
    in_object: bool = False
    without_delay: bool = False
    known_as: str = "$model"
    tier: str = "FreeTier"

    def refusal(self, limit: int, seconds: float, quota: tuple[str, str]) -> Refusal:
        """Return the 429 of a quota that is free again in so many seconds."""
        seconds = seconds if self.delay is None else self.delay
        # Google's messages go over to milliseconds below one second; retryDelay never does.
        wait = f"{_digits(seconds)}s" if seconds >= 1 else f"{_digits(seconds * 1000)}ms"
        delay: str | Json | None = None if self.without_delay else f"{_digits(seconds)}s"
        if self.in_object:
            delay = {"seconds": int(seconds), "nanos": round(seconds % 1 * 1e9)}
        metric, name = quota
        named = (metric, name.replace("FreeTier", self.tier))
        return exceeded(str(limit), wait, delay, named, known_as=self.known_as)


def one(_asked: Asked) -> int:
    """Count a request as one."""
    return 1


def tokens(asked: Asked) -> int:
    """Count a request by the approximate tokens of its body."""
    return asked.size // _BYTES_PER_TOKEN


class Window:
    """A quota that is counted: so much in any ``window`` seconds, per project and model."""

    def __init__(
        self,
        limit: int,
        window: float,
        project: str,
        *,
        wording: Wording,
        quota: tuple[str, str] = PER_MINUTE,
        cost: Callable[[Asked], int] = one,
    ) -> None:
        self._limit = limit
        self._window = window
        self._project = project
        self._wording = wording
        self._quota = quota
        self._cost = cost
        self._served: defaultdict[tuple[str, str], deque[tuple[float, int]]] = defaultdict(deque)
        self._used: Counter[tuple[str, str]] = Counter()

    def __call__(self, asked: Asked) -> Refusal | None:
        """Refuse a request that the quota has no room for; count any other."""
        now, cost = asked.now, self._cost(asked)
        counted = (self._project or asked.key, asked.model)
        served = self._served[counted]
        while served and served[0][0] <= now - self._window:
            self._used[counted] -= served.popleft()[1]
        over = self._used[counted] + cost - self._limit
        if over <= 0:
            served.append((now, cost))
            self._used[counted] += cost
            return None
        refusal = self._wording.refusal(self._limit, self._seconds(served, over, now), self._quota)
        if self._project:
            refusal = replace(refusal, details=(*refusal.details, _limited(f"projects/{self._project}")))
        return refusal.about(asked)

    def _seconds(self, served: deque[tuple[float, int]], over: int, now: float) -> float:
        """Return how long it takes until so much less is counted; a whole window where that never is."""
        for moment, each in served:
            over -= each
            if over <= 0:
                return moment + self._window - now
        return self._window


class Day:
    """A quota of so many requests a day, from midnight in California, or ``late`` seconds after it."""

    def __init__(self, requests: int, late: float) -> None:
        self._requests = requests
        self._late = late
        self._served: Counter[tuple[str, str, str]] = Counter()

    def __call__(self, asked: Asked) -> Refusal | None:
        """Refuse a request once the day's are used; count any other."""
        date = datetime.fromtimestamp(asked.now - self._late, _PACIFIC).date().isoformat()
        if self._served[asked.key, asked.model, date] >= self._requests:
            return exceeded(str(self._requests), "41.065029449s", "41s", PER_DAY).about(asked)
        self._served[asked.key, asked.model, date] += 1
        return None
