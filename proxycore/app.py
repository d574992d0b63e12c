"""The program: what it is made of."""

import asyncio
import random
import secrets
import ssl
from functools import lru_cache
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.web import Application

from proxycore.admin import Desk, MetricsHandler, SnapshotHandler
from proxycore.auth import Admin, ClientKeys
from proxycore.bench import Doubling
from proxycore.body_budget import BodyBudget
from proxycore.bulletin import Bulletin
from proxycore.chronicle import Chronicle
from proxycore.clock import Clock
from proxycore.control import Control
from proxycore.cors import Cors
from proxycore.credential_limiter import CredentialLimiter
from proxycore.events import BenchBegan, RequestBlamed
from proxycore.figures import FiguresSource, LocalFigures
from proxycore.handler import CLIENT_SILENCE
from proxycore.head_limit import LimitedConnection, LimitedServer
from proxycore.herald import Herald
from proxycore.key import keys_of
from proxycore.line import Lines
from proxycore.lists import ListHandler
from proxycore.live import LIVE_PATHS, LiveHandler
from proxycore.log import dropped_lines, logger
from proxycore.meter import Meter
from proxycore.metrics import Metrics
from proxycore.owners import Owners
from proxycore.pages import LIST_PATHS
from proxycore.passage import Pool
from proxycore.paths import MISTAKEN, RELAYED
from proxycore.redaction import Redactor, with_former
from proxycore.relay import RelayHandler
from proxycore.retrial import Retrial
from proxycore.retry_budget import RetryBudget
from proxycore.rotator import Rotator
from proxycore.session import LARGEST_MESSAGE
from proxycore.settings import Settings
from proxycore.site import Presence, Site
from proxycore.snapshot import snapshot
from proxycore.status import (
    PAGE_PATHS,
    AliveHandler,
    NotRelayedHandler,
    PageHandler,
    ReadyHandler,
    page_files,
)
from proxycore.turns import Turns
from proxycore.updates import Updates
from proxycore.upload import UPLOAD_PATHS, UploadHandler
from proxycore.upstream import Route, Upstream
from proxycore.verdict import Backoff

_LOOK = 1.0  # seconds between two looks at the wall clock
_GOODBYES = 100  # times 10 ms
_REDACTED = 10_000  # names that are remembered to have no secret in them


class ProxyApplication(Application):
    """The routes, and the parts behind them. Belongs to the running event loop.

    `figures` is where those of all processes that serve are read; without it, this one serves alone.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        source: random.Random,
        figures: FiguresSource | None = None,
    ) -> None:
        self._clock = clock
        self._presence = Presence()
        self._secrets: dict[str, str] = {}
        self._limiter = CredentialLimiter(clock, asyncio.get_running_loop().call_later)
        self.rotator = Rotator(
            keys_of(settings.keys),
            _doublings(settings),
            clock=clock,
            source=source,
            patience=settings.max_wait,
        )
        self.upstream = Upstream(route_of(settings))
        self.lines = Lines(self.rotator, settings.max_wait, clock)
        self.owners = Owners(clock, events=self.rotator.events)
        self.budget = BodyBudget(_budget(settings))
        self._figures = figures or LocalFigures(Meter(clock))
        self.meter = self._figures.meter
        self.meter.gauges = {
            "waiting": lambda: self.lines.waiting,
            "held": lambda: self.budget.held,
            "connections": lambda: self.upstream.connections + self.meter.sessions,
        }
        self.meter.counters = {"dropped_lines": dropped_lines}
        self.rotator.events.subscribe(BenchBegan, self.meter.benched)
        self.rotator.events.subscribe(RequestBlamed, self.meter.judged)
        Chronicle(self.rotator.events, clock)
        self._pool = Pool(
            rotator=self.rotator,
            lines=self.lines,
            owners=self.owners,
            upstream=self.upstream,
            meter=self.meter,
            turns=Turns(),
            budget=self.budget,
            retries=RetryBudget(clock),
            max_attempts=settings.max_attempts,
            clock=clock,
            source=source,
        )
        self.retrial = Retrial(self._pool)
        self.updates = Updates(self._current)
        super().__init__(
            self._routes(),
            default_handler_class=NotRelayedHandler,
            log_function=lambda _: None,  # the handlers write their own line, for requests that broke as well
            site=self._site(settings),
            clock=clock,
            websocket_max_message_size=LARGEST_MESSAGE,
        )

    @property
    def site(self) -> Site:
        """What requests that come now share."""
        site: Site = self.settings["site"]
        return site

    def take(self, settings: Settings) -> None:
        """Goes on with these settings. What is under way ends under those that it began with."""
        keys = keys_of(settings.keys, self.rotator.keys)
        self.rotator.change(keys, _doublings(settings), settings.max_wait)
        self.owners.keep(self.rotator.keys)
        self.upstream.set_route(route_of(settings))
        self.lines.max_wait = settings.max_wait
        self.budget.resize(_budget(settings))
        self._pool.max_attempts = settings.max_attempts
        self.settings["site"] = self._site(settings)
        self.updates.end()

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:  # noqa: ANN401 - Tornado's
        """Called by Tornado for every request."""
        if isinstance(request.connection, LimitedConnection):
            request.connection.restore(request)
        return super().find_handler(request, **kwargs)

    def join(self, bulletin: Bulletin) -> None:
        """From now on, publishes what this process finds, and applies what others publish."""
        herald = Herald(
            self.rotator,
            self.lines,
            self.owners,
            tell=bulletin.publish,
            recall=bulletin.snapshot,
            clock=self._clock,
            me=secrets.token_hex(4),
        )
        bulletin.start(herald.hear)
        herald.tell_all()

    async def watch_wall_clock(self) -> None:
        """Looks at the wall clock every second, until it is cancelled."""
        while True:
            self.look_at_wall_clock()
            await asyncio.sleep(_LOOK)

    def look_at_wall_clock(self) -> None:
        """Goes by the wall clock where that is what counts, if it was set."""
        if step := self._clock.look():
            logger.info(
                "the system's clock was set %s by %.1f s; benches last as long as before, except those until"
                " Google's midnight, which end by the new time",
                "forward" if step > 0 else "back",
                abs(step),
            )
            self.rotator.reckon_days()

    def drain(self) -> None:
        """Begins to end: streams go on, but no new ones should come."""
        self._presence.draining = True
        self.updates.end()

    def server(self, tls: ssl.SSLContext | None = None) -> HTTPServer:
        """An HTTP server for the routes; HTTPS with `tls`."""
        return LimitedServer(
            self,
            fields=lambda: self.site.cors.fields(None),
            tls=tls,
            idle_timeout=CLIENT_SILENCE,
        )

    async def close(self) -> None:
        """Cuts what still runs, and lets go of the upstream."""
        self.updates.end()
        for handler in list(self.site.running):
            handler.cut()
        await asyncio.sleep(0)  # what was cut ends its attempts when it is next on
        # Live sessions say goodbye, if the other side listens; those who watch are told that it is the end.
        for _ in range(_GOODBYES):
            if not (self.site.running or self.updates.watched):
                break
            await asyncio.sleep(0.01)
        self._limiter.summarise()
        self.upstream.close()

    def _routes(self) -> list[Any]:
        relay = {"pool": self._pool}
        desk = {
            "desk": Desk(
                current=self._current,
                metrics=self._metrics,
                updates=self.updates,
                control=Control(self._pool),
            )
        }
        return [
            (MISTAKEN, NotRelayedHandler),
            (LIVE_PATHS, LiveHandler, relay),
            (LIST_PATHS, ListHandler, relay),
            (RELAYED, RelayHandler, relay),
            (UPLOAD_PATHS, UploadHandler, relay),
            (PAGE_PATHS, PageHandler, {"files": page_files()}),
            (r"/healthz", AliveHandler),
            (r"/readyz", ReadyHandler, {"rotator": self.rotator}),
            (r"/status\.json", SnapshotHandler, desk),
            (r"/metrics", MetricsHandler, desk),
        ]

    def _site(self, settings: Settings) -> Site:
        self._secrets = with_former(settings.secrets, self._secrets)
        # Names of models and reasons come again and again.
        self._redact = lru_cache(_REDACTED)(Redactor(self._secrets).text)
        return Site(
            clients=ClientKeys(settings.client_keys),
            admin=Admin(settings.admin_key, settings.one_time_admin_key),
            cors=Cors(settings.cors_allow_origins),
            limiter=self._limiter,
            redactor=Redactor(settings.key_names),
            max_body_bytes=settings.max_body_bytes,
            public_url=settings.public_url,
            presence=self._presence,
        )

    async def _current(self) -> dict[str, Any]:
        figures = await self._figures.read()
        self.look_at_wall_clock()
        return snapshot(self.rotator, figures, self._clock, self._redact)

    async def _metrics(self) -> Metrics:
        figures = await self._figures.read()
        self.look_at_wall_clock()
        return Metrics(self.rotator, figures, self._clock, self._redact)


def _doublings(settings: Settings) -> dict[Backoff, Doubling]:
    return {
        Backoff.QUOTA: settings.bench,
        Backoff.FORBIDDEN: settings.forbidden_bench,
    }


def _budget(settings: Settings) -> int:
    return settings.max_held_bytes // settings.workers  # each process has its part


def route_of(settings: Settings) -> Route:
    """How to reach the upstream, by these settings."""
    return Route(
        url=settings.upstream_url,
        ca_file=settings.upstream_ca_file,
        proxy=settings.upstream_proxy,
        connect_timeout=settings.connect_timeout,
        first_byte_timeout=settings.first_byte_timeout,
        idle_timeout=settings.idle_timeout,
    )


def make_app(
    settings: Settings,
    clock: Clock | None = None,
    bulletin: Bulletin | None = None,
    figures: FiguresSource | None = None,
) -> ProxyApplication:
    """The application that these settings make. Belongs to the running event loop.

    With a publisher it shares what it finds with other processes.
    """
    source = random.Random()  # noqa: S311 - a key is chosen, not made
    app = ProxyApplication(settings, clock or Clock(), source, figures)
    if bulletin:
        app.join(bulletin)
    return app
