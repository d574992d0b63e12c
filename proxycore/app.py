"""The program: what it is made of, and its life from the first bind to the last connection."""

import asyncio
import contextlib
import random
import signal
import ssl
import sys
import time
from collections.abc import Callable

try:
    import resource
except ImportError:  # there is none on Windows
    resource = None  # type: ignore[assignment]

from tornado import httputil
from tornado.httpserver import HTTPServer
from tornado.web import Application

from proxycore.access import ClientKeys, Cors
from proxycore.handler import CLIENT_SILENCE, Site
from proxycore.headers import Redactor
from proxycore.line import Lines
from proxycore.listener import Listener
from proxycore.lists import ListHandler
from proxycore.live import LIVE_PATHS, LiveHandler
from proxycore.log import logger
from proxycore.owners import Owners
from proxycore.pages import LIST_PATHS
from proxycore.passage import Pool
from proxycore.relay import PATHS, RelayHandler
from proxycore.rotator import Doubling, Key, Rotator
from proxycore.session import LARGEST_MESSAGE
from proxycore.settings import Settings, SettingsError
from proxycore.status import AliveHandler, HomeHandler, NotRelayedHandler, ReadyHandler
from proxycore.upload import UPLOAD_PATHS, UploadHandler
from proxycore.upstream import Route, Upstream
from proxycore.verdict import Backoff

_LARGEST_HEAD = 1024 * 1024  # bytes that are read before a request's head is given up; handlers refuse less
_GOODBYES = 100  # times 10 ms
_FEW_FILES = 4096  # a stream takes two open files, one at each end


class ProxyApplication(Application):
    """The routes, and the parts behind them. Belongs to the running event loop."""

    def __init__(self, settings: Settings, clock: Callable[[], float], source: random.Random) -> None:
        self.site = Site(
            ClientKeys(settings.client_keys), Cors(settings.cors_allow_origins), Redactor(settings.key_names)
        )
        self.rotator = Rotator(
            (Key(name, secret) for name, secret in settings.google_keys.items()),
            {
                Backoff.QUOTA: settings.bench,
                Backoff.ADDRESS: Doubling(1.0, settings.bench.longest),
                Backoff.FORBIDDEN: settings.forbidden_bench,
            },
            clock=clock,
            source=source,
        )
        self.upstream = Upstream(
            Route(
                url=settings.upstream_url,
                ca_file=settings.upstream_ca_file,
                proxy=settings.upstream_proxy,
                connect_timeout=settings.connect_timeout,
                first_byte_timeout=settings.first_byte_timeout,
                idle_timeout=settings.idle_timeout,
            )
        )
        self.lines = Lines(self.rotator, settings.max_wait, clock)
        self.owners = Owners(clock)
        pool = Pool(
            rotator=self.rotator,
            lines=self.lines,
            owners=self.owners,
            upstream=self.upstream,
            max_attempts=settings.max_attempts,
            clock=clock,
            source=source,
        )
        relay = {"pool": pool, "max_body_bytes": settings.max_body_bytes}
        super().__init__(
            [
                (LIST_PATHS, ListHandler, relay),
                (PATHS, RelayHandler, relay),
                (UPLOAD_PATHS, UploadHandler, relay | {"public_url": settings.public_url}),
                (LIVE_PATHS, LiveHandler, relay),
                (r"/", HomeHandler),
                (r"/healthz", AliveHandler),
                (r"/readyz", ReadyHandler, {"rotator": self.rotator}),
            ],
            default_handler_class=NotRelayedHandler,
            log_function=lambda _: None,  # the handlers write their own line, for requests that broke as well
            site=self.site,
            websocket_max_message_size=LARGEST_MESSAGE,
        )

    def server(self, tls: ssl.SSLContext | None = None) -> HTTPServer:
        """An HTTP server for the routes; HTTPS with `tls`."""
        # Tornado counts a query's fields as it does a form's, but no query is read here.
        httputil.set_parse_body_config(
            httputil.ParseBodyConfig(urlencoded=httputil.ParseUrlEncodedConfig(max_arguments=_LARGEST_HEAD))
        )
        return HTTPServer(
            self,
            ssl_options=tls,
            idle_connection_timeout=CLIENT_SILENCE,
            max_header_size=_LARGEST_HEAD,
            max_body_size=sys.maxsize,  # the handlers have a limit of their own, and an answer for it
        )

    async def close(self) -> None:
        """Cuts what still runs, and lets go of the upstream."""
        for handler in list(self.site.running):
            handler.cut()
        await asyncio.sleep(0)  # what was cut ends its attempts when it is next on
        # Live sessions say goodbye, if the other side listens.
        for _ in range(_GOODBYES):
            if not self.site.running:
                break
            await asyncio.sleep(0.01)
        self.upstream.close()


def make_app(settings: Settings, clock: Callable[[], float] = time.time) -> ProxyApplication:
    """The application that these settings make. Belongs to the running event loop."""
    return ProxyApplication(settings, clock, random.Random())  # noqa: S311 - a key is chosen, not made


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """What HTTPS is served with, None for plain HTTP. Raises SettingsError when the files are no use."""
    if settings.tls_cert_file is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # A password would be asked for on the terminal; there is no setting for one.
        context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file, password=lambda: "")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        raise SettingsError(
            f"TLS_CERT_FILE, TLS_KEY_FILE: not a PEM certificate and its unencrypted key: {reason}"
        ) from error
    return context


async def run(settings: Settings, when_ready: Callable[[int], None] = lambda _: None) -> None:
    """Serves until a signal, then drains. `when_ready` is called with the port.

    Raises SettingsError when the address can't be listened on.
    """
    stop, hurry = asyncio.Event(), asyncio.Event()
    _on_signals(lambda: hurry.set() if stop.is_set() else stop.set())
    _look_at_open_files()
    tls = tls_context(settings)
    try:
        listener = Listener(settings.host, settings.port)
    except OSError as error:
        address = f"{settings.host}:{settings.port}"
        raise SettingsError(f"HOST, PORT: can't listen on {address}: {error.strerror or error}") from error
    app = make_app(settings)
    server = app.server(tls)
    listener.accept_for(server)
    _say_ready(settings, listener.port)
    when_ready(listener.port)
    await stop.wait()
    listener.stop()
    await _drain(app.site, settings.drain_timeout, hurry)
    await app.close()
    await server.close_all_connections()
    logger.info("stopped")


async def _drain(site: Site, seconds: float, hurry: asyncio.Event) -> None:
    site.draining = True
    logger.info("stopping: %d requests have up to %g s to finish", len(site.running), seconds)
    deadline = asyncio.get_running_loop().time() + seconds
    while site.running and not hurry.is_set() and asyncio.get_running_loop().time() < deadline:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(hurry.wait(), 0.02)


def _on_signals(callback: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, callback)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(callback))


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


def _say_ready(settings: Settings, port: int) -> None:
    for warning in settings.warnings:
        logger.warning("%s", warning)
    count = len(settings.google_keys)
    if not count:
        logger.error(
            "NO GEMINI API KEY is set: every request is answered 401. Set GOOGLE_API_KEY_1 and start again."
        )
    if not settings.client_keys:
        logger.warning("OUTPUT_API_KEY is not set: ANYONE who reaches this address can use your keys.")
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    logger.info(
        "ready: %s://%s:%d, %d Gemini API %s, %s",
        "https" if settings.tls_cert_file else "http",
        host,
        port,
        count,
        "key" if count == 1 else "keys",
        "client key required" if settings.client_keys else "no client key required",
    )
