"""A process that serves, from its first bind to its last connection.

`run` is a single process: it reads the settings, binds, serves, reloads when settings change, and stops at a
signal. `Process` serves, as that or as a worker: it accepts connections until the first signal, then drains,
cuts what is left, and closes.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable

try:
    import resource
except ImportError:  # there is none on Windows
    resource = None  # type: ignore[assignment]

from proxycore.clock import Clock
from proxycore.http.redaction import Redactor
from proxycore.peers.disk_link import DiskLink
from proxycore.peers.limit_facts import SeenUse
from proxycore.peers.limit_keeper import LimitKeeper
from proxycore.peers.publisher import Publisher
from proxycore.peers.redis_link import RedisLink
from proxycore.peers.replicator import Replicator
from proxycore.peers.store import Store
from proxycore.runtime import logs as log
from proxycore.runtime.announcements import announce_ready, announce_rejected, announce_reload, announce_stop
from proxycore.runtime.app import make_app
from proxycore.runtime.settings import Settings, SettingsError
from proxycore.runtime.settings_source import SettingsSource
from proxycore.runtime.state import make_storage, note_reload
from proxycore.runtime.tls import tls_context
from proxycore.stats.figures import FiguresSource
from proxycore.storage.records import RecordsSource
from proxycore.storage.storage import Storage
from proxycore.transport.listener import Listener, ListenError

logger = logging.getLogger(__name__)

WATCH = 0.5
"""Seconds between two polls of the files that settings come from."""

_FEW_FILES = 4096  # a stream takes two open files, one at each end
_DRAIN_STEP = 0.02  # seconds between two checks of what is still running


class Stop:
    """The signals that end a process: the `first` asks it to finish, the `second` not to wait for that.

    `parent` is the end of a pipe; when the other end is closed, that counts as the first.
    """

    def __init__(self, parent: int | None = None) -> None:
        self.first, self.second = asyncio.Event(), asyncio.Event()
        self.is_passed_on = parent is not None  # the parent has logged it already
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                loop.add_signal_handler(number, self._signalled)
            except NotImplementedError:  # Windows
                signal.signal(number, lambda *_: loop.call_soon_threadsafe(self._signalled))
        if parent is not None:
            loop.add_reader(parent, self._orphaned, parent)

    def _signalled(self) -> None:
        (self.second if self.first.is_set() else self.first).set()

    def _orphaned(self, parent: int) -> None:
        asyncio.get_running_loop().remove_reader(parent)
        self.first.set()


async def run(
    source: SettingsSource,
    adapt: Callable[[Settings], Settings] = lambda settings: settings,
    when_ready: Callable[[int], None] = lambda _: None,
) -> None:
    """Serve in a single process until a signal, then drain. `when_ready` is called with the port.

    `adapt` turns the settings that are read into those that apply.

    Raises SettingsError when the address can't be listened on.
    """
    stop, hang_up = Stop(), asyncio.Event()
    with contextlib.suppress(NotImplementedError, AttributeError):  # Windows has no such signal
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hang_up.set)
    settings = adapt(source.settings)
    configure_log(settings)
    listener, clock = listen(settings), Clock()
    storage = make_storage(settings, clock)
    process = Process(settings, listener, clock, request_reload=hang_up.set, records=storage)
    peers = _Peers(clock, storage, settings.upstream_url)
    await peers.start(process)

    def ready() -> None:
        announce_ready(settings, listener.port)
        when_ready(listener.port)

    reloading = asyncio.create_task(_reload_on_change(process, peers, source, adapt, hang_up))
    await process.serve(stop, ready)
    reloading.cancel()
    await peers.end()


def listen(settings: Settings) -> Listener:
    """Bind; raises SettingsError when the address can't be listened on."""
    try:
        return Listener(settings.host, settings.port)
    except ListenError as error:
        raise SettingsError(str(error)) from error


class Process:
    """A process that serves on a listener.

    A worker, one of several, has a `publisher`, and reads the `figures` of all.
    `request_reload` makes the program read its settings again. `records` answers queries of the state file;
    None if there is none.
    """

    def __init__(
        self,
        settings: Settings,
        listener: Listener,
        clock: Clock,
        publisher: Publisher | None = None,
        figures: FiguresSource | None = None,
        *,
        request_reload: Callable[[], object],
        records: RecordsSource | None,
    ) -> None:
        self.settings = settings
        self.app = make_app(settings, clock, publisher, figures, request_reload, records=records)
        self._listener = listener
        self._server = self.app.server(tls_context(settings))

    async def serve(self, stop: Stop, when_ready: Callable[[], object]) -> None:
        """Serve until the first signal, then drain."""
        _allow_open_files()
        self._listener.accept_for(self._server)
        self._publish()
        app = self.app
        loops = (app.probe.run(), app.meter.watch_loop(), app.watch_wall_clock(), app.alert_sender.run())
        tasks = [asyncio.create_task(loop) for loop in loops]
        when_ready()
        await stop.first.wait()
        for task in tasks:
            task.cancel()
        self._listener.stop()
        self.app.drain()
        await self._drain(stop)
        await self.app.close()
        await self._server.close_all_connections()
        logger.info("stopped")

    def reload(self, settings: Settings) -> None:
        """Apply new settings."""
        configure_log(settings)
        try:
            self._server.ssl_options = tls_context(settings)
        except SettingsError as error:  # the files were fine when the settings were read
            logger.error("the current TLS certificate stays in use: %s", error)  # noqa: TRY400 - a setting is at fault
        self.app.reload(settings)
        self.settings = settings
        self._publish()

    def _publish(self) -> None:
        self._listener.publish("https" if self._server.ssl_options else "http")

    async def _drain(self, stop: Stop) -> None:
        """Wait for requests in progress, until the second signal or DRAIN_TIMEOUT."""
        context, seconds = self.app.context, self.settings.drain_timeout
        announce_stop(len(context.running), seconds, hint=not stop.is_passed_on)
        now = asyncio.get_running_loop().time
        deadline = now() + seconds
        while (context.running or self._server.is_sending) and not stop.second.is_set() and now() < deadline:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.second.wait(), _DRAIN_STEP)


async def _reload_on_change(
    process: Process,
    peers: "_Peers",
    source: SettingsSource,
    adapt: Callable[[Settings], Settings],
    hang_up: asyncio.Event,
) -> None:
    """Reload at SIGHUP (`hang_up`), and when a file has changed, until it is cancelled."""
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(hang_up.wait(), WATCH)
        if hang_up.is_set():
            hang_up.clear()
            source.request()
        if settings := poll_settings(source):
            former = process.settings
            process.reload(adapt(settings))
            announce_reload(former, process.settings)
            note_reload(peers.disk, former, process.settings, process.app.pool.clock)
            await peers.reload(process)


def poll_settings(source: SettingsSource) -> Settings | None:
    """Return new settings if they were read again and can be used, else None; logs why they can't."""
    try:
        return source.poll()
    except SettingsError as error:
        announce_rejected(error)
        return None


def configure_log(settings: Settings) -> None:
    """Log at the level and in the format that is set, without any present or former secret."""
    secrets = dict(settings.former_secrets) | settings.secrets
    log.configure(settings.log_level, settings.log_format, Redactor(secrets))


class _Peers:
    """Whom a single process exchanges facts with: its state file, and other hosts while REDIS_URL is set."""

    def __init__(self, clock: Clock, storage: Storage | None, upstream: str) -> None:
        self._clock = clock
        self._store = Store(clock)
        self._publisher = Publisher(self._store)
        self._replicator: Replicator | None = None
        self.disk = DiskLink(storage, self._store, clock, upstream) if storage else None
        self._limits: LimitKeeper | None = None
        self._seen = SeenUse(self._store, clock)
        self._replicas: RedisLink | None = None

    async def start(self, process: Process) -> None:
        """Open the state file, and connect."""
        if self.disk:
            process.app.record_in(self.disk.storage)
            await self.disk.start()
            self._replicator = process.app.join(self._publisher)
        await self.reload(process)

    async def reload(self, process: Process) -> None:
        """Connect to other hosts anew, by the settings that apply now."""
        await self._disconnect()
        if self._limits is None:
            self._limits = self._keeper_of(process)
            self._limits.start()
        await self._limits.connect()
        limiter = process.app.pool.limiter
        limiter.lender = self._limits.lender
        limiter.use_of = self._seen.of if process.settings.redis_url else limiter.ledger.used
        if process.settings.redis_url is None:
            return
        secrets = process.settings.google_keys.values()
        self._replicas = RedisLink(process.settings.redis_url, secrets, self._store, self._clock)
        await self._replicas.start()
        if self._replicator is None:
            self._replicator = process.app.join(self._publisher)
        self._replicator.share_calls()

    async def end(self) -> None:
        """Publish what is still to be published, disconnect, and close the state file."""
        if self._limits:
            await self._limits.close()
        await self._disconnect()
        if self.disk:
            await self.disk.close()

    def _keeper_of(self, process: Process) -> LimitKeeper:
        ledger = process.app.pool.limiter.ledger
        return LimitKeeper(ledger, self._store, url=lambda: process.settings.redis_url, clock=self._clock)

    async def _disconnect(self) -> None:
        self._publisher.flush()
        if self._replicas:
            await self._replicas.close()
            self._replicas = None


def _allow_open_files() -> None:
    """Raise the limit of open files to what is allowed, and warn when that is little."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    if soft != resource.RLIM_INFINITY and soft < _FEW_FILES:
        logger.warning(
            "only %d open files are allowed, enough for about %d streams; raise the limit with ulimit -n",
            soft,
            max(0, soft - 50) // 2,
        )
