"""The states that a key of the mock can be in, and how they are combined.

Google's errors for each are in `denials`, `quotas`, `tiers` and `server_errors`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import cycle

from proxycore.demo import denials, quotas, server_errors, tiers
from proxycore.demo.asked import Asked, Stage
from proxycore.demo.quotas import Wording
from proxycore.demo.refusal import FORBIDDEN, UNSUPPORTED_TOKEN, Refusal
from proxycore.demo.server_errors import Gateway

Rule = Callable[[Asked], Refusal | None]
Condition = Callable[[Asked], bool]

_LIVE_MODEL = "gemini-2.5-flash-live-preview"  # the model of a session before its setup


def _always(refusal: Refusal, when: Condition | None = None) -> staticmethod[[], Health]:
    """Return the factory of a health that refuses all that costs anything, or all that meets a condition."""

    def rule(asked: Asked) -> Refusal | None:
        return None if when and not when(asked) else refusal.about(asked)

    return staticmethod(lambda: Health(rule, is_quota=refusal.code in {402, 429}))


class Health:
    """The state of a key: decides for each request whether Google refuses it, and how.

    ``Health()`` is a healthy key. ``models`` gives single models a health of their own. A ``rule`` takes what
    is asked; the `refusal` method of another health is one, so healths can be combined. With ``is_quota``
    the rule is about a quota or money, so that requests which cost neither are served.

    A Live session is judged twice: at its handshake, where it asks no model anything yet, and at its setup
    message, where a refusal closes it.
    """

    def __init__(
        self, rule: Rule | None = None, *, models: Mapping[str, Health] | None = None, is_quota: bool = False
    ) -> None:
        self._rule = rule
        self._models = dict(models or {})
        self._is_quota = is_quota

    def refusal(self, asked: Asked) -> Refusal | None:
        """Return Google's refusal of one request, or None when it is served."""
        if asked.model in self._models:
            return self._models[asked.model].refusal(asked)
        if self._rule is None or (self._is_quota and not asked.costs):
            return None
        return self._rule(asked)

    # Combinations

    @classmethod
    def healthy(cls) -> Health:
        """Return a key that is never refused."""
        return cls()

    @classmethod
    def together(cls, *healths: Health) -> Health:
        """Return a key that is refused by the first of these healths that refuses."""
        return cls(lambda asked: next(filter(None, (each.refusal(asked) for each in healths)), None))

    @classmethod
    def only(cls, when: Condition, health: Health) -> Health:
        """Return a key that has this health for the requests that meet a condition."""
        return cls(lambda asked: health.refusal(asked) if when(asked) else None)

    @classmethod
    def in_turn(cls, *healths: Health, repeat: bool = False) -> Health:
        """Return a key whose requests meet these healths one by one; the last stays, or all are repeated.

        A Live session takes two turns.
        """
        turns = cycle(healths) if repeat else iter(healths)
        return cls(lambda asked: next(turns, healths[-1]).refusal(asked))

    @classmethod
    def sometimes(cls, share: float, health: Health, seed: int = 0) -> Health:
        """Return a key that has this health for a share of its requests, 0 to 1, drawn by a seed."""
        drawn = random.Random(seed)  # noqa: S311 - repeatable, and no secret
        return cls(lambda asked: health.refusal(asked) if drawn.random() < share else None)

    @classmethod
    def until(cls, moment: float, health: Health, then: Health | None = None) -> Health:
        """Return a key with one health until a moment of the clock, and another (healthy) from then on."""
        later = then or cls()
        return cls(lambda asked: (health if asked.now < moment else later).refusal(asked))

    @classmethod
    def _changed(cls, health: Health, change: Callable[[Refusal], Refusal]) -> Health:
        def rule(asked: Asked) -> Refusal | None:
            refusal = health.refusal(asked)
            return refusal and change(refusal)

        return cls(rule)

    @classmethod
    def slow(cls, seconds: float, health: Health) -> Health:
        """Return a key with this health, whose refusals take so many seconds."""
        return cls._changed(health, lambda refusal: replace(refusal, after=seconds))

    @classmethod
    def in_stream(cls, health: Health, pieces: int = 0, *, raw: bool = False) -> Health:
        """Return a key with this health, that is an error in a stream whose status is 200.

        After so many pieces of content comes an event (ankit373/hydra#869), or with ``raw`` bare JSON over
        many lines (theopenco/llmgateway#3616). What is not streamed is refused by its status.
        """
        return cls._changed(health, lambda refusal: replace(refusal, pieces=pieces, raw=raw))

    @classmethod
    def at_setup(cls, health: Health) -> Health:
        """Return a key with this health, refused by Live after its setup message, not at the handshake."""
        return cls.only(lambda asked: asked.stage is not Stage.HANDSHAKE, health)

    @classmethod
    def at_handshake(cls, health: Health) -> Health:
        """Return a key with this health, refused by Live at the handshake, even for a model.

        A 429 on the upgrade is in kazunori279/interpretab#13.
        """

        def rule(asked: Asked) -> Refusal | None:
            early = asked.stage is Stage.HANDSHAKE
            return health.refusal(replace(asked, model=_LIVE_MODEL) if early else asked)

        return cls(rule)

    # Quotas that are counted

    @classmethod
    def quota(
        cls, requests: int, window: float = 60.0, project: str = "", *, wording: Wording | None = None
    ) -> Health:
        """Return a key with so many requests per model in any ``window`` seconds; Google calls it PerMinute.

        Keys that get the same health with a ``project`` (its number) share it, and refusals name it.
        ``wording`` changes how refusals word it.
        """
        window_of_requests = quotas.Window(requests, window, project, wording=wording or Wording())
        return cls.only(quotas.of_the_model, cls(window_of_requests, is_quota=True))

    @classmethod
    def tokens(
        cls, limit: int, window: float = 60.0, project: str = "", *, wording: Wording | None = None
    ) -> Health:
        """Return a key with so many tokens per model in any ``window`` seconds: 4 bytes of body each."""
        name, cost = quotas.TOKENS_PER_MINUTE, quotas.tokens
        counted = quotas.Window(limit, window, project, wording=wording or Wording(), quota=name, cost=cost)
        return cls.only(quotas.of_the_model, cls(counted, is_quota=True))

    @classmethod
    def day_quota(cls, requests: int, late: float = 0.0) -> Health:
        """Return a key with so many requests per model a day, which begins ``late`` seconds late."""
        return cls.only(quotas.of_the_model, cls(quotas.Day(requests, late), is_quota=True))

    # 429, and 402
    day_spent = _always(quotas.DAY_SPENT, quotas.of_the_model)
    not_entitled = _always(quotas.NOT_ENTITLED, quotas.of_the_model)
    bare_429 = _always(quotas.BARE)
    consumer_spent = _always(quotas.CONSUMER_SPENT, quotas.of_the_model)
    consumer_not_entitled = _always(quotas.CONSUMER_NOT_ENTITLED, quotas.of_the_model)
    out_of_credit = _always(quotas.OUT_OF_CREDIT)
    payment_required = _always(quotas.PAYMENT_REQUIRED)
    over_spending_cap = _always(quotas.OVER_PROJECT_CAP)
    over_account_cap = _always(quotas.OVER_ACCOUNT_CAP)
    spending_too_fast = _always(quotas.SPENDING_TOO_FAST)

    # What another tier includes
    billed_images = _always(tiers.BILLED_IMAGES, tiers.draws)
    no_billing_here = _always(tiers.NO_BILLING_HERE, tiers.asks_a_model)
    no_free_tier_here = _always(tiers.NO_FREE_TIER_HERE, tiers.asks_a_model)
    no_video = _always(tiers.NOT_FOUND, tiers.films)
    no_new_users = _always(tiers.NO_NEW_USERS, tiers.asks_a_model)
    no_search = _always(tiers.NO_SEARCH, tiers.searches)
    no_caching = _always(tiers.NO_CACHING, tiers.caches)
    no_batches = _always(tiers.NO_BATCHES, tiers.batches)

    @classmethod
    def free_tier(cls) -> Health:
        """Return a key of a project without billing: no search, no caching, no batches, images or videos."""
        missing = (cls.no_search, cls.no_caching, cls.no_batches, cls.billed_images, cls.no_video)
        return cls.together(*(each() for each in missing))

    # 403
    denied = _always(denials.DENIED)
    service_disabled = _always(denials.SERVICE_DISABLED)
    service_blocked = _always(denials.SERVICE_BLOCKED)
    billing_country = _always(denials.BILLING_COUNTRY)
    referrer_blocked = _always(denials.REFERRER_BLOCKED)
    ip_blocked = _always(denials.IP_BLOCKED)
    android_blocked = _always(denials.ANDROID_BLOCKED)
    ios_blocked = _always(denials.IOS_BLOCKED)
    scopes = _always(denials.SCOPES)
    user_project = _always(denials.USER_PROJECT)
    suspended = _always(denials.SUSPENDED)
    leaked = _always(denials.LEAKED)
    forbidden = _always(FORBIDDEN)

    @classmethod
    def for_referrers(cls, *patterns: str) -> Health:
        """Return a key for pages alone whose address is one of these patterns: ``https://shop.example/*``."""

        def elsewhere(asked: Asked) -> bool:
            return not any(fnmatchcase(asked.referrer, pattern) for pattern in patterns)

        return cls.only(elsewhere, cls.referrer_blocked())

    @classmethod
    def for_addresses(cls, *addresses: str) -> Health:
        """Return a key that only connections from these addresses may use."""
        return cls.only(lambda asked: asked.address not in addresses, cls.ip_blocked())

    # 400 and 401
    invalid = _always(denials.INVALID)
    unknown = _always(denials.UNKNOWN)
    expired = _always(denials.EXPIRED)
    bad_region = _always(denials.REGION)
    unsupported_token = _always(UNSUPPORTED_TOKEN)
    lists_only = _always(UNSUPPORTED_TOKEN, tiers.asks_a_model)  # as fresh keys are at times

    # 5xx, and what is not Google's
    internal_error = _always(server_errors.INTERNAL)
    overloaded = _always(server_errors.HIGH_DEMAND)
    model_overloaded = _always(server_errors.OVERLOADED)
    too_late = _always(server_errors.TOO_LATE)
    cancelled = _always(server_errors.CANCELLED)
    aborted = _always(server_errors.ABORTED)
    timed_out = _always(server_errors.DEADLINE)

    @classmethod
    def gateway(cls, kind: Gateway, code: int = 401) -> Health:
        """Return a key that something between here and Google refuses, whatever is asked."""
        refusal = kind.refusal(code)
        return cls(refusal.about)
