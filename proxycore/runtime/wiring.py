"""Makes the program's parts from settings, connects them, and gives them new settings at a reload."""

import asyncio
import random
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from proxycore.admin.handlers import AdminParts, MetricsHandler, SnapshotHandler
from proxycore.admin.pages import (
    PAGE_PATHS,
    AliveHandler,
    NotRelayedHandler,
    PageHandler,
    ReadyHandler,
    page_files,
)
from proxycore.admin.record_handlers import (
    EventsHandler,
    HistoryHandler,
    RequestsHandler,
    UsageCsvHandler,
    UsageJsonHandler,
)
from proxycore.clock import Clock
from proxycore.gemini.list_pages import LIST_PATHS
from proxycore.gemini.paths import MISTAKEN, RELAYED
from proxycore.gemini.verdict import Backoff
from proxycore.http.application import PathRoute
from proxycore.http.auth import Admin, ClientKeys
from proxycore.http.context import InFlight, ServingContext
from proxycore.http.cors import Cors
from proxycore.http.credential_limiter import CredentialLimiter
from proxycore.http.redaction import Redactor, with_former
from proxycore.relay.handler import RelayHandler
from proxycore.relay.lists import ListHandler
from proxycore.relay.live import LIVE_PATHS, LiveHandler
from proxycore.relay.pool import Pool
from proxycore.relay.upload import UPLOAD_PATHS, UploadHandler
from proxycore.rotation.affinity import AffinityTable
from proxycore.rotation.bench import ExponentialBackoff
from proxycore.rotation.conversations import Conversations
from proxycore.rotation.events import BenchBegan, RequestBlamed
from proxycore.rotation.hedging import Hedging
from proxycore.rotation.key import KeySpec, keys_of
from proxycore.rotation.retry_budget import RetryBudget
from proxycore.rotation.rotator import Rotator
from proxycore.rotation.scheduler import LoopScheduler
from proxycore.rotation.token_ratios import TokenRatios
from proxycore.rotation.wait_queues import WaitQueues
from proxycore.runtime.credential_settings import with_proxies
from proxycore.runtime.keys_file import EditableKeysFile
from proxycore.runtime.logs import dropped_lines
from proxycore.runtime.settings import Settings
from proxycore.stats.key_log import KeyLog
from proxycore.stats.limits.client_limiter import ClientLimiter
from proxycore.stats.limits.ledger import Ledger
from proxycore.stats.meter import Meter
from proxycore.transport.body_budget import BodyBudget
from proxycore.transport.turns import Turns
from proxycore.transport.upstream import Route, Upstream

_REDACTED = 10_000  # texts for which the result of redaction is remembered


def make_pool(settings: Settings, meter: Meter, clock: Clock, source: random.Random) -> Pool:
    """Return the parts that requests share, connected. `source` is their random source."""
    rotator = Rotator(
        keys_of(settings.keys),
        _backoffs(settings),
        clock=clock,
        source=source,
        patience=settings.max_wait,
    )
    upstream = Upstream(route_of(settings))
    queues = WaitQueues(rotator, settings.max_wait, LoopScheduler(clock))
    queues.set_weights(_weights(settings))
    budget = BodyBudget(_budget(settings))
    meter.register(
        gauges={
            "waiting": lambda: queues.waiting,
            "held": lambda: budget.held,
            "connections": lambda: upstream.connections + meter.sessions,
        },
        counters={"dropped_lines": dropped_lines},
    )
    rotator.events.subscribe(BenchBegan, meter.benched)
    rotator.events.subscribe(RequestBlamed, meter.judged)
    KeyLog(rotator.events, clock)
    return Pool(
        rotator=rotator,
        queues=queues,
        affinity=AffinityTable(clock, events=rotator.events),
        conversations=Conversations(rotator, clock, enabled=settings.affinity),
        upstream=upstream,
        meter=meter,
        limiter=ClientLimiter(Ledger(settings.client_limits, clock), LoopScheduler(clock)),
        turns=Turns(),
        budget=budget,
        retries=RetryBudget(clock, settings.workers),
        hedging=Hedging(settings.hedge_share, clock),
        token_ratios=TokenRatios(),
        max_attempts=settings.max_attempts,
        clock=clock,
        source=source,
    )


def reload_pool(pool: Pool, settings: Settings) -> None:
    """Give the parts new settings."""
    keys = keys_of(settings.keys, pool.rotator.configured)
    pool.rotator.change(keys, _backoffs(settings), settings.max_wait)
    pool.affinity.keep(pool.rotator.configured)
    pool.conversations.enable(enabled=settings.affinity)
    pool.meter.keep(pool.rotator.configured)
    pool.upstream.set_route(route_of(settings))
    pool.queues.set_max_wait(settings.max_wait)
    pool.budget.resize(_budget(settings))
    pool.set_max_attempts(settings.max_attempts)
    pool.hedging.set_share(settings.hedge_share)
    pool.limiter.ledger.change(settings.client_limits)
    pool.queues.set_weights(_weights(settings))


class ContextFactory:
    """Makes what requests share under one set of settings. Belongs to the running event loop."""

    def __init__(self, clock: Clock) -> None:
        self.in_flight = InFlight()
        self.limiter = CredentialLimiter(clock, asyncio.get_running_loop().call_later)
        self._secrets: dict[str, str] = {}
        self._redact: Callable[[str], str] = str

    def context(self, settings: Settings) -> ServingContext:
        """Return what requests share from now on."""
        self._secrets = with_former(settings.secrets, self._secrets)
        # The same names of models and reasons are redacted many times.
        self._redact = lru_cache(_REDACTED)(Redactor(self._secrets).text)
        return ServingContext(
            clients=ClientKeys(settings.client_keys),
            admin=Admin(settings.admin_key, settings.one_time_admin_key),
            cors=Cors(settings.cors_allow_origins),
            limiter=self.limiter,
            redactor=Redactor(settings.key_names),
            max_body_bytes=settings.max_body_bytes,
            public_url=settings.public_url,
            in_flight=self.in_flight,
        )

    def redact(self, text: str) -> str:
        """Return the text without any secret of the latest settings or of former ones."""
        return self._redact(text)


def routes(pool: Pool, parts: AdminParts) -> list[PathRoute]:
    """Return which handler serves which paths; the first match counts."""
    relay, admin = {"pool": pool}, {"parts": parts}
    return [
        (MISTAKEN, NotRelayedHandler, {}),
        (LIVE_PATHS, LiveHandler, relay),
        (LIST_PATHS, ListHandler, relay),
        (RELAYED, RelayHandler, relay),
        (UPLOAD_PATHS, UploadHandler, relay),
        (PAGE_PATHS, PageHandler, {"files": page_files()}),
        (r"/healthz", AliveHandler, {}),
        (r"/readyz", ReadyHandler, {"rotator": pool.rotator}),
        (r"/status\.json", SnapshotHandler, admin),
        (r"/requests\.json", RequestsHandler, admin),
        (r"/events\.json", EventsHandler, admin),
        (r"/usage\.json", UsageJsonHandler, admin),
        (r"/usage\.csv", UsageCsvHandler, admin),
        (r"/history\.json", HistoryHandler, admin),
        (r"/metrics", MetricsHandler, admin),
    ]


def keys_file_of(settings: Settings) -> EditableKeysFile | None:
    """Return the file of keys that the admin may change; None if there is none."""
    if settings.keys_file is None:
        return None

    def proxy_of(name: str) -> str | None:
        new = [KeySpec(name, "")]
        return with_proxies(new, settings.upstream_proxies, settings.upstream_proxy)[0].proxy

    used = settings.secrets.keys() - settings.key_names.keys()
    return EditableKeysFile(Path(settings.keys_file), used, proxy_of)


def route_of(settings: Settings) -> Route:
    """Return how to reach the upstream."""
    return Route(
        url=settings.upstream_url,
        ca_file=settings.upstream_ca_file,
        proxy=settings.upstream_proxy,
        proxies=frozenset(key.proxy for key in settings.keys),
        connect_timeout=settings.connect_timeout,
        first_byte_timeout=settings.first_byte_timeout,
        idle_timeout=settings.idle_timeout,
    )


def _backoffs(settings: Settings) -> dict[Backoff, ExponentialBackoff]:
    return {
        Backoff.QUOTA: settings.bench,
        Backoff.FORBIDDEN: settings.forbidden_bench,
    }


def _weights(settings: Settings) -> dict[str, float]:
    """The weights of clients in the wait queues, where they are not 1."""
    rules = settings.client_limits
    return {name: limits.weight for name in settings.client_keys if (limits := rules.of(name))}


def _budget(settings: Settings) -> int:
    return settings.max_held_bytes // settings.workers  # an equal share for each process
