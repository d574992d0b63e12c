"""The application of one process: all its parts, and how it reloads, drains and closes."""

import asyncio
import logging
import random
import secrets
import ssl
from collections.abc import Callable, Sequence
from typing import Any

from proxycore.admin.actions import Actions
from proxycore.admin.event_stream import EventStream
from proxycore.admin.handlers import AdminParts
from proxycore.admin.history_ranges import HistoryRanges
from proxycore.admin.key_changes import KeyChanges
from proxycore.admin.pages import NotRelayedHandler
from proxycore.admin.records import Records
from proxycore.admin.snapshot import snapshot
from proxycore.clock import Clock
from proxycore.http.application import HandlerApplication
from proxycore.http.context import ServingContext
from proxycore.http.incoming_body import CLIENT_IDLE_TIMEOUT
from proxycore.peers.alert_link import AlertLink
from proxycore.peers.limit_facts import SeenUse
from proxycore.peers.limit_link import LimitLink
from proxycore.peers.publisher import Publisher
from proxycore.peers.replicator import Replicator
from proxycore.peers.store import Store
from proxycore.peers.update import Update
from proxycore.peers.worker_link import PATIENCE, WorkerLink
from proxycore.relay.open_requests import OpenRequests
from proxycore.relay.probe import Probe
from proxycore.runtime.alert_sender import AlertSender
from proxycore.runtime.settings import Settings
from proxycore.runtime.wiring import ContextFactory, keys_file_of, make_pool, reload_pool, routes
from proxycore.stats.alert_rules import AlertRules
from proxycore.stats.figures import FiguresSource, LocalFigures
from proxycore.stats.limits.remote_lender import RemoteLender
from proxycore.stats.meter import Meter
from proxycore.stats.prometheus import Metrics
from proxycore.storage.event_recorder import EventRecorder
from proxycore.storage.records import NoRecords, RecordsSource
from proxycore.storage.rows import Journal
from proxycore.transport.server import Server
from proxycore.transport.websocket import LARGEST_MESSAGE

logger = logging.getLogger(__name__)

_CLOCK_INTERVAL = 1.0  # seconds between two comparisons with the wall clock
_CLOSE_STEP, _CLOSE_STEPS = 0.01, 100  # seconds; a second in all for handlers that were cut


class ProxyApplication(HandlerApplication):
    """A Tornado application with all its parts. Belongs to the running event loop.

    `source` is the random source for the choice of keys and for pauses. `figures` has the figures of all
    processes that serve, with this one's own meter; without it, this process serves alone. `request_reload`
    makes the program read its settings again. `records` answers queries of the state file; without it, there
    is none.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        source: random.Random,
        figures: FiguresSource | None = None,
        request_reload: Callable[[], object] = lambda: None,
        *,
        records: RecordsSource | None = None,
    ) -> None:
        self._prices = settings.prices
        self._records = records or NoRecords()
        self._figures = figures or LocalFigures(Meter(clock))
        pool = self.pool = make_pool(settings, self._figures.meter, clock, source)
        self.rotator, self.queues, self.affinity = pool.rotator, pool.queues, pool.affinity
        self.upstream, self.budget, self.meter = pool.upstream, pool.budget, pool.meter
        self.probe = Probe(pool)
        self.updates = EventStream(self._snapshot)
        self._clock = clock
        self._workers = settings.workers
        self._contexts = ContextFactory(clock)
        self.alerts = AlertRules(
            self.rotator, self.meter.demands, clock, self._contexts.redact, secrets.token_hex(4)
        )
        self.alert_sender = AlertSender(self.alerts)
        self.alert_sender.set_addresses(settings.alert_urls)
        self._requests = OpenRequests(self._contexts.in_flight)
        self._key_changes = KeyChanges(pool, keys_file_of(settings), request_reload)
        parts = AdminParts(
            snapshot=self._snapshot,
            metrics=self._metrics,
            events=self.updates,
            actions=Actions(pool, self._key_changes, self._requests),
            records=Records(self._records, clock, self._contexts.redact, lambda: self._prices),
            history=HistoryRanges(self._records, self._figures.read, clock),
        )
        super().__init__(
            routes(pool, parts),
            NotRelayedHandler,
            context=self._contexts.context(settings),
            clock=clock,
            websocket_max_message_size=LARGEST_MESSAGE,
        )

    @property
    def context(self) -> ServingContext:
        """What requests that arrive now share."""
        context: ServingContext = self.settings["context"]
        return context

    def record_in(self, journal: Journal) -> None:
        """Keep requests and events in this journal from now on."""
        self.pool.record_in(journal)
        EventRecorder(self.rotator.events, self._clock, journal)

    def server(self, tls: ssl.SSLContext | None = None) -> Server:
        """Return an HTTP server for the routes; HTTPS with `tls`."""
        return Server(self, tls=tls, idle_timeout=CLIENT_IDLE_TIMEOUT)

    def reload(self, settings: Settings) -> None:
        """Apply new settings. Requests in progress end under those that they began with."""
        reload_pool(self.pool, settings)
        self.alert_sender.set_addresses(settings.alert_urls)
        self._key_changes.set_file(keys_file_of(settings))
        self._workers = settings.workers
        self._prices = settings.prices
        self.settings["context"] = self._contexts.context(settings)
        self.updates.end()

    def drain(self) -> None:
        """Prepare to stop: streams continue, but /readyz fails, so that no new requests should come."""
        self._contexts.in_flight.drain()
        self.updates.end()

    async def close(self) -> None:
        """Cut what is still in progress, and close the connections to the upstream."""
        self.updates.end()
        for handler in list(self.context.running):
            handler.cut()
        await asyncio.sleep(0)  # handlers that were cut end their attempts in the loop's next turn
        # Live sessions close with a handshake, if the other side reads; the streams of updates are ended.
        for _ in range(_CLOSE_STEPS):
            if not (self.context.running or self.updates.watched):
                break
            await asyncio.sleep(_CLOSE_STEP)
        self._contexts.limiter.summarise()
        self.upstream.close()
        await asyncio.sleep(0)  # its connections close in the loop's next turn

    def join(self, publisher: Publisher) -> Replicator:
        """Share the state of the keys with peers from now on; single calls once what this returns does."""
        replicator = Replicator(
            self.rotator,
            self.queues,
            self.affinity,
            publish=publisher.publish,
            snapshot=publisher.snapshot,
            clock=self._clock,
            process_id=secrets.token_hex(4),
        )
        alerts = AlertLink(self.rotator.events, publisher.publish, self._clock)

        def apply(updates: Sequence[Update]) -> None:
            replicator.apply(updates)
            alerts.apply(updates)

        publisher.start(apply)
        replicator.publish_all()
        return replicator

    def share_limits(self, link: WorkerLink, store: Store) -> None:
        """Let the hub keep the limits of clients, of which this process is one of several workers."""
        limiter, seen = self.pool.limiter, SeenUse(store, self._clock)
        link.limits = LimitLink(limiter.ledger)
        limiter.lender = RemoteLender(
            link.limits, limiter.ledger, lambda: self._workers, self._clock, patience=PATIENCE
        )
        limiter.use_of = seen.of

    def share_requests(self, link: WorkerLink) -> None:
        """Let any worker of this host end a request of any other."""
        link.end_here = self._requests.end_here
        self._requests.end_elsewhere = link.end_request

    async def watch_wall_clock(self) -> None:
        """Do every second what goes by the clock, until it is cancelled."""
        while True:
            self.check_wall_clock()
            self.rotator.retry_spent_days()
            self.rotator.forget_old()
            await asyncio.sleep(_CLOCK_INTERVAL)

    def check_wall_clock(self) -> None:
        """If the wall clock was set, recompute what ends at Google's midnight."""
        if step := self._clock.compare():
            logger.info(
                "the system clock was set %s by %.1f s; benches keep their remaining time, except those until"
                " Google's midnight, which end by the new time",
                "forward" if step > 0 else "back",
                abs(step),
            )
            self.rotator.update_day_ends()
            self.pool.limiter.ledger.update_day_ends()

    async def _snapshot(self) -> dict[str, Any]:
        figures, state_file = await self._figures.read(), await self._records.status()
        self.check_wall_clock()
        shown = snapshot(
            self.rotator,
            self.pool.limiter,
            figures,
            state_file,
            clock=self._clock,
            redact=self._contexts.redact,
        )
        return shown | {"admin_writes": self._key_changes.are_allowed}

    async def _metrics(self) -> Metrics:
        figures = await self._figures.read()
        self.check_wall_clock()
        return Metrics(self.rotator, figures, self._clock, self._contexts.redact)


def make_app(
    settings: Settings,
    clock: Clock | None = None,
    publisher: Publisher | None = None,
    figures: FiguresSource | None = None,
    request_reload: Callable[[], object] = lambda: None,
    *,
    records: RecordsSource | None = None,
) -> ProxyApplication:
    """Return an application with these settings. Belongs to the running event loop.

    With a publisher it shares what it knows about the keys with other processes.
    """
    source = random.Random()  # noqa: S311 - a key is chosen, not made
    app = ProxyApplication(settings, clock or Clock(), source, figures, request_reload, records=records)
    if publisher:
        app.join(publisher).share_calls()
    return app
