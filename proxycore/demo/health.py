"""What Google says about a key: the states that a key of the stand-in can be in, and the error of each.

The bodies are Google's own as public reports show them, each named here as owner/repository#issue.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import cycle

from proxycore.demo.refusal import FORBIDDEN, METHOD, SERVICE, TYPE, UNSUPPORTED_TOKEN, Json, Refusal

_CONSUMER = "projects/$project"
_ACTIVATION = f"https://console.developers.google.com/apis/api/{SERVICE}/overview?project=$project"


def _because(reason: str, **metadata: str) -> tuple[Json, Json]:
    """Return the two details that say why a key is refused."""
    about = {"reason": reason, "domain": "googleapis.com", "metadata": {"service": SERVICE, **metadata}}
    return (
        {"@type": f"{TYPE}ErrorInfo", **about},
        {"@type": f"{TYPE}LocalizedMessage", "locale": "en-US", "message": "$message"},
    )


def _help(description: str, url: str) -> Json:
    return {"@type": f"{TYPE}Help", "links": [{"description": description, "url": url}]}


_REQUESTS = f"{SERVICE}/generate_content_free_tier_requests"
_TOKENS = f"{SERVICE}/generate_content_free_tier_input_token_count"
_PER_DAY = (_REQUESTS, "GenerateRequestsPerDayPerProjectPerModel-FreeTier")
_PER_MINUTE = (_REQUESTS, "GenerateRequestsPerMinutePerProjectPerModel-FreeTier")
_TOKENS_PER_MINUTE = (_TOKENS, "GenerateContentInputTokensPerModelPerMinute-FreeTier")


def _limited(consumer: str) -> Json:
    """Return the detail that says whose quota it is (continuedev/continue#10062 has one)."""
    about = {"service": SERVICE, "consumer": consumer, "quota_metric": _PER_MINUTE[0]}
    return {
        "@type": f"{TYPE}ErrorInfo",
        "reason": "RATE_LIMIT_EXCEEDED",
        "domain": "googleapis.com",
        "metadata": about,
    }


def _exceeded(limit: str, wait: str, delay: str, *quotas: tuple[str, str]) -> Refusal:
    """Return Google's 429 for quotas, each a metric and a quotaId (google-gemini/gemini-cli#8437)."""
    lines = [f"\n* Quota exceeded for metric: {m}, limit: {limit}, model: $model" for m, _ in quotas]
    # Protocol buffers leave zeros out of their JSON: only the message has it (googleapis/python-genai#2044).
    value = {} if limit == "0" else {"quotaValue": limit}
    where = {"quotaDimensions": {"location": "global", "model": "$model"}}
    violations = [{"quotaMetric": metric, "quotaId": name, **where, **value} for metric, name in quotas]
    return Refusal(
        429,
        "You exceeded your current quota, please check your plan and billing details. For more information on"
        " this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits. To monitor your current"
        f" usage, head to: https://ai.dev/rate-limit. {''.join(lines)}\nPlease retry in {wait}.",
        (
            _help("Learn more about Gemini API quotas", "https://ai.google.dev/gemini-api/docs/rate-limits"),
            {"@type": f"{TYPE}QuotaFailure", "violations": violations},
            {"@type": f"{TYPE}RetryInfo", "retryDelay": delay},
        ),
    )


def _digits(number: float) -> str:
    return f"{number:.9f}".rstrip("0").rstrip(".")


class _Window:
    """A quota that is really counted: so many requests in any ``window`` seconds, per project and model."""

    def __init__(self, requests: int, window: float, project: str) -> None:
        self._requests = requests
        self._window = window
        self._project = project
        self._served: defaultdict[tuple[str, str], deque[float]] = defaultdict(deque)

    def __call__(self, key: str, model: str, now: float) -> Refusal | None:
        served = self._served[self._project or key, model]
        while served and served[0] <= now - self._window:
            served.popleft()
        if len(served) < self._requests:
            served.append(now)
            return None
        seconds = (served[0] if served else now) + self._window - now
        # Google's messages go over to milliseconds below one second; retryDelay never does.
        wait = f"{_digits(seconds)}s" if seconds >= 1 else f"{_digits(seconds * 1000)}ms"
        refusal = _exceeded(str(self._requests), wait, f"{_digits(seconds)}s", _PER_MINUTE)
        if self._project:
            consumer = f"projects/{self._project}"
            refusal = replace(refusal, details=(*refusal.details, _limited(consumer)))
        return refusal.about(key, model)


Rule = Callable[[str, str, float], Refusal | None]


def _always(refusal: Refusal) -> staticmethod[[], Health]:
    def rule(key: str, model: str, _now: float) -> Refusal | None:
        return refusal.about(key, model)

    return staticmethod(lambda: Health(rule, is_quota=refusal.code == 429))


def _named(code: int, text: str, *details: Json, **fields: str) -> staticmethod[[], Health]:
    return _always(Refusal(code, text, details, **fields))


class Health:
    """The state that a key is in: says of each request whether Google refuses it, and how.

    ``Health()`` is a healthy key. ``models`` gives single models a health of their own. A ``rule`` takes key,
    model and time in seconds; the `refusal` method of another health is one, so healths can be put together.
    With ``is_quota`` the rule is about a quota or money, so that requests which cost neither are served.
    """

    def __init__(
        self, rule: Rule | None = None, *, models: Mapping[str, Health] | None = None, is_quota: bool = False
    ) -> None:
        self._rule = rule
        self._models = dict(models or {})
        self._is_quota = is_quota

    def refusal(self, key: str, model: str, now: float, *, is_free: bool = False) -> Refusal | None:
        """Return Google's refusal of one request, or None when it is served.

        ``model`` is empty for a request that asks no model anything, such as the list of models. That costs
        no quota and no money, and neither does one that ``is_free``.
        """
        if model in self._models:
            return self._models[model].refusal(key, model, now, is_free=is_free)
        if self._rule is None or (self._is_quota and (is_free or not model)):
            return None
        return self._rule(key, model, now)

    @classmethod
    def healthy(cls) -> Health:
        """Return a key that is never refused."""
        return cls()

    @classmethod
    def quota(cls, requests: int, window: float = 60.0, project: str = "") -> Health:
        """Return a key with so many requests per model in any ``window`` seconds; Google says PerMinute.

        Keys that get the same health with a ``project`` (its number) share that, and refusals name it.
        """
        return cls(_Window(requests, window, project), is_quota=True)

    @classmethod
    def in_turn(cls, *healths: Health, repeat: bool = False) -> Health:
        """Return a key whose requests meet these healths one by one; the last stays, or all come again."""
        turns = cycle(healths) if repeat else iter(healths)
        return cls(lambda key, model, now: next(turns, healths[-1]).refusal(key, model, now))

    # 429. Spent until midnight in California, whatever its retryDelay says (google-gemini/gemini-cli#8437).
    day_spent = _always(_exceeded("20", "41.065029449s", "41s", _PER_DAY))
    # continuedev/continue#10062, googleapis/python-genai#2044
    not_entitled = _always(_exceeded("0", "20.04466179s", "20s", _PER_DAY, _PER_MINUTE, _TOKENS_PER_MINUTE))
    bare_429 = _named(429, "Resource has been exhausted (e.g. check quota).")  # google-gemini/gemini-cli#1841
    out_of_credit = _named(
        429,
        "Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects to manage"
        " your project and billing.",
    )
    over_spending_cap = _named(
        429,
        "Your project has exceeded its monthly spending cap. Please go to AI Studio at https://ai.studio/spend"
        " to manage your project spend cap.",
    )

    # 403. The leaked key is in continuedev/continue#11541.
    service_disabled = _named(  # google-gemini/deprecated-generative-ai-python#10
        403,
        "Generative Language API has not been used in project $project before or it is disabled. Enable it by"
        f" visiting {_ACTIVATION} then retry. If you enabled this API recently, wait a few minutes for the"
        " action to propagate to our systems and retry.",
        *_because(
            "SERVICE_DISABLED",
            consumer=_CONSUMER,
            containerInfo="$project",
            serviceTitle="Generative Language API",
            activationUrl=_ACTIVATION,
        ),
        _help("Google developers console API activation", _ACTIVATION),
    )
    service_blocked = _named(  # continuedev/continue#12781
        403,
        f"Requests to this API {SERVICE} method {METHOD} are blocked.",
        *_because("API_KEY_SERVICE_BLOCKED", consumer=_CONSUMER, apiName=SERVICE, methodName=METHOD),
    )
    referrer_blocked = _named(  # mhawksey/GeminiApp#10
        403,
        "Requests from referer <empty> are blocked.",
        *_because("API_KEY_HTTP_REFERRER_BLOCKED", consumer=_CONSUMER, httpReferrer="<empty>"),
    )
    ip_blocked = _named(
        403,
        "The provided API key has an IP address restriction. The originating IP address of the call"
        " (203.0.113.7) violates this restriction.",
        *_because("API_KEY_IP_ADDRESS_BLOCKED", consumer=_CONSUMER),
    )
    suspended = _named(  # continuedev/continue#10902, and google/timesketch#3703 for the DebugInfo
        403,
        "Permission denied: Consumer 'api_key:$key' has been suspended.",
        *_because("CONSUMER_SUSPENDED", consumer=_CONSUMER, containerInfo="api_key:$key"),
        {"@type": f"{TYPE}DebugInfo", "detail": "Suspended API key: $key"},
    )
    leaked = _named(403, "Your API key was reported as leaked. Please use another API key.")
    forbidden = _always(FORBIDDEN)

    # 400 and 401. continuedev/continue#8516; the region is the caller's (google-gemini/gemini-cli#24641).
    invalid = _named(
        400,
        "API key not valid. Please pass a valid API key.",
        *_because("API_KEY_INVALID"),
        openai="Please pass a valid API key",
    )
    expired = _named(400, "API key expired. Please renew the API key.", *_because("API_KEY_INVALID"))
    bad_region = _named(400, "User location is not supported for the API use.", status="FAILED_PRECONDITION")
    unsupported_token = _always(UNSUPPORTED_TOKEN)

    @classmethod
    def lists_only(cls) -> Health:
        """Return a key that may list models, and no more, as fresh ones are at times."""
        return cls(lambda key, model, _now: UNSUPPORTED_TOKEN.about(key, model) if model else None)

    # 5xx. theopenco/llmgateway#3616
    internal_error = _named(500, "Internal error encountered.")
    overloaded = _named(
        503,
        "This model is currently experiencing high demand. Spikes in demand are usually temporary. Please try"
        " again later.",
    )
    timed_out = _named(504, "Deadline expired before operation could complete.")


def demo_keys() -> dict[str, tuple[str, Health]]:
    """Return keys to try the proxy with, by a name that says how each does: its secret and its health."""
    # Only when it is to think: what a request was to make is not made again with another key.
    models = ("gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.0-flash", "gemini-3-flash-preview")
    overloaded = Health.in_turn(*[Health.healthy()] * 3, Health.overloaded(), repeat=True)
    healths = {
        "HEALTHY_1": Health.healthy(),
        "HEALTHY_2": Health.healthy(),
        "THREE_PER_MINUTE": Health.quota(3),
        "PRO_SPENT_TODAY": Health(models={"gemini-2.5-pro": Health.day_spent()}),
        "SOMETIMES_OVERLOADED": Health(models=dict.fromkeys(models, overloaded)),
        "SUSPENDED": Health.suspended(),
        "INVALID": Health.invalid(),
    }
    return {name: (f"AQ.demo-{name.lower()}", health) for name, health in healths.items()}
