"""The program's life, from the first bind to the last connection: ready, serving, draining, stopped."""

import asyncio
import contextlib
import signal
from collections.abc import Callable

try:
    import resource
except ImportError:  # there is none on Windows
    resource = None  # type: ignore[assignment]

from proxycore import __version__, log
from proxycore.app import make_app
from proxycore.board import Board
from proxycore.bulletin import Bulletin
from proxycore.clock import Clock
from proxycore.figures import FiguresSource
from proxycore.listener import Listener, ListenError, reachable_host
from proxycore.log import logger
from proxycore.redaction import Redactor
from proxycore.replicas import Replicas
from proxycore.settings import Settings, SettingsError
from proxycore.settings_source import SettingsSource
from proxycore.site import Site
from proxycore.tls import tls_context

WATCH = 0.5
"""Seconds between two looks at the files that settings come from."""

SECOND_SIGNAL = "a second signal (Ctrl-C) cuts at once"
"""What those are told who have to wait after the first."""

_FEW_FILES = 4096  # a stream takes two open files, one at each end


class Stop:
    """The signals that end a process: the `first` asks it to finish, the `second` not to wait for that.

    `parent` is the end of a pipe; when the other end is gone, that counts as the first.
    """

    def __init__(self, parent: int | None = None) -> None:
        self.first, self.second = asyncio.Event(), asyncio.Event()
        self.is_passed_on = parent is not None  # the parent has said so already
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


def listen(settings: Settings) -> Listener:
    """Binds; raises SettingsError when the address can't be listened on."""
    try:
        return Listener(settings.host, settings.port)
    except ListenError as error:
        raise SettingsError(str(error)) from error


class Life:
    """A process that serves on a listener.

    One of several that serve has a publisher, and reads the figures of all.
    """

    def __init__(
        self,
        settings: Settings,
        listener: Listener,
        clock: Clock,
        publisher: Bulletin | None = None,
        figures: FiguresSource | None = None,
    ) -> None:
        self.settings = settings
        self.app = make_app(settings, clock, publisher, figures)
        self._listener = listener
        self._server = self.app.server(tls_context(settings))

    def take(self, settings: Settings) -> None:
        """Goes on with these settings."""
        configure_log(settings)
        try:
            self._server.ssl_options = tls_context(settings)
        except SettingsError as error:  # the files were fine when the settings were read
            logger.error("the certificate stays as it was: %s", error)
        self.app.reload(settings)
        self.settings = settings
        self._publish()

    def _publish(self) -> None:
        self._listener.publish("https" if self._server.ssl_options else "http")

    async def serve(self, stop: Stop, when_ready: Callable[[], object]) -> None:
        """Serves until `stop`, then drains."""
        _look_at_open_files()
        self._listener.accept_for(self._server)
        self._publish()
        watches = (self.app.retrial.run(), self.app.meter.watch_loop(), self.app.watch_wall_clock())
        work = [asyncio.create_task(watch) for watch in watches]
        when_ready()
        await stop.first.wait()
        for task in work:
            task.cancel()
        self._listener.stop()
        self.app.drain()
        await _drain(self.app.site, self.settings.drain_timeout, stop)
        await self.app.close()
        await self._server.close_all_connections()
        logger.info("stopped")


def _as_they_are(settings: Settings) -> Settings:
    return settings


async def run(
    source: SettingsSource,
    adapt: Callable[[Settings], Settings] = _as_they_are,
    when_ready: Callable[[int], None] = lambda _: None,
) -> None:
    """A single process: serves until a signal, then drains. `when_ready` is called with the port.

    `adapt` makes the settings to go by from those that are read.

    Raises SettingsError when the address can't be listened on.
    """
    stop, hang_up = Stop(), asyncio.Event()
    with contextlib.suppress(NotImplementedError, AttributeError):  # Windows has no such signal
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hang_up.set)
    settings = adapt(source.settings)
    configure_log(settings)
    listener, clock = listen(settings), Clock()
    life, sharing = Life(settings, listener, clock), _Sharing(clock)
    await sharing.take(life)

    def ready() -> None:
        say_ready(settings, listener.port)
        when_ready(listener.port)

    reloading = asyncio.create_task(_reload_often(life, sharing, source, adapt, hang_up))
    await life.serve(stop, ready)
    reloading.cancel()
    await sharing.end()


async def _reload_often(
    life: Life,
    sharing: "_Sharing",
    source: SettingsSource,
    adapt: Callable[[Settings], Settings],
    hang_up: asyncio.Event,
) -> None:
    """Reloads at SIGHUP (`hang_up`), and when a file has changed, until it is cancelled."""
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(hang_up.wait(), WATCH)
        if hang_up.is_set():
            hang_up.clear()
            source.request()
        if settings := look(source):
            former = life.settings
            life.take(adapt(settings))
            say_reloaded(former, life.settings)
            await sharing.take(life)


def look(source: SettingsSource) -> Settings | None:
    """The settings, when they were read again and can be used; says so when they can't."""
    try:
        return source.look()
    except SettingsError as error:
        logger.error(
            "the settings stay as they were, since the new ones can't be used: %s",
            "; ".join(str(error).splitlines()),
        )
        return None


def configure_log(settings: Settings) -> None:
    """Log as these settings want it, without a secret of theirs or of former ones."""
    secrets = dict(settings.former_secrets) | settings.secrets
    log.configure(settings.log_level, settings.log_format, Redactor(secrets))


class _Sharing:
    """What a single process tells other hosts, and hears from them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._store = Board(clock)
        self._bulletin: Bulletin | None = None
        self._replicas: Replicas | None = None

    async def take(self, life: Life) -> None:
        """Goes on with these settings."""
        await self.end()
        if life.settings.redis_url is None:
            return
        secrets = life.settings.google_keys.values()
        self._replicas = Replicas(life.settings.redis_url, secrets, self._store, self._clock)
        await self._replicas.start()
        if self._bulletin is None:
            self._bulletin = Bulletin(self._store)
            life.app.join(self._bulletin)

    async def end(self) -> None:
        """Tells no more."""
        if self._bulletin:
            self._bulletin.flush()
        if self._replicas:
            await self._replicas.close()
            self._replicas = None


async def _drain(site: Site, seconds: float, stop: Stop) -> None:
    hint = "" if stop.is_passed_on or not site.running else f"; {SECOND_SIGNAL}"
    logger.info("stopping: %s%s", _who_is_waited_for(len(site.running), seconds), hint)
    hurry = stop.second
    deadline = asyncio.get_running_loop().time() + seconds
    while site.running and not hurry.is_set() and asyncio.get_running_loop().time() < deadline:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(hurry.wait(), 0.02)


def _who_is_waited_for(count: int, seconds: float) -> str:
    if not count:
        return "no request is running"
    requests = "1 request has" if count == 1 else f"{count} requests have"
    return f"{requests} up to {seconds:g} s to finish"


def _look_at_open_files() -> None:
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    if soft != resource.RLIM_INFINITY and soft < _FEW_FILES:
        logger.warning(
            "only %d open files are allowed, which is enough for about %d streams; raise it with ulimit -n",
            soft,
            max(0, soft - 50) // 2,
        )


def say_ready(settings: Settings, port: int) -> None:
    """The first lines of the log."""
    _say_what_is_odd(settings)
    host = reachable_host(settings.host)
    logger.info(
        "ready: %s://%s:%d%s, %s%s",
        "https" if settings.tls_cert_file else "http",
        host,
        port,
        f" (listening on {settings.host})" if host == "localhost" != settings.host else "",
        _who_serves_whom(settings),
        f", {settings.workers} workers" if settings.workers > 1 else "",
        extra={"fields": {"version": __version__}},
    )


def say_reloaded(former: Settings, settings: Settings) -> None:
    """The settings were read again, and are gone by."""
    _say_what_is_odd(settings)
    for name in ("host", "port"):
        if getattr(former, name) != getattr(settings, name):
            logger.warning("%s: a change takes effect when the program is started again", name.upper())
    if (former.workers > 1) != (settings.workers > 1):
        logger.warning("WORKERS: a change from or to 1 takes effect when the program is started again")
    logger.info("reloaded: %s", _who_serves_whom(settings))


def _say_what_is_odd(settings: Settings) -> None:
    for warning in settings.warnings:
        logger.warning("%s", warning)
    if not settings.keys:
        misnamed = [name for name, meant in settings.misnamed.items() if meant.startswith("GOOGLE_API_KEY")]
        found = f" {', '.join(misnamed)} is no name for one." if misnamed else ""
        logger.error(
            "NO GEMINI API KEY is set: every request is answered 401.%s Set GOOGLE_API_KEY_1.", found
        )
    if not settings.client_keys and not settings.is_demo:  # a demo has no keys that were worth it
        logger.warning("OUTPUT_API_KEY is not set: ANYONE who reaches this address can use your keys.")


def _who_serves_whom(settings: Settings) -> str:
    count = len(settings.keys)
    keys = "key" if count == 1 else "keys"
    clients = "client key required" if settings.client_keys else "no client key required"
    return f"{count} Gemini API {keys}, {clients}"
