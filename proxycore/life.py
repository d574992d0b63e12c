"""The program's life, from the first bind to the last connection: ready, serving, draining, stopped."""

import asyncio
import contextlib
import signal
import ssl
import time
from collections.abc import Callable

try:
    import resource
except ImportError:  # there is none on Windows
    resource = None  # type: ignore[assignment]

from proxycore.app import make_app
from proxycore.board import Board
from proxycore.bulletin import Bulletin
from proxycore.handler import Site
from proxycore.listener import Listener
from proxycore.log import logger
from proxycore.replicas import Replicas
from proxycore.settings import Settings, SettingsError

_FEW_FILES = 4096  # a stream takes two open files, one at each end


class Stop:
    """The signals that end a process: the `first` asks it to finish, the `second` not to wait for that.

    `parent` is the end of a pipe; when the other end is gone, that counts as the first.
    """

    def __init__(self, parent: int | None = None) -> None:
        self.first, self.second = asyncio.Event(), asyncio.Event()
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


def listen(settings: Settings) -> Listener:
    """Binds; raises SettingsError when the address can't be listened on."""
    try:
        return Listener(settings.host, settings.port)
    except OSError as error:
        address = f"{settings.host}:{settings.port}"
        raise SettingsError(f"HOST, PORT: can't listen on {address}: {error.strerror or error}") from error


async def run(settings: Settings, when_ready: Callable[[int], None] = lambda _: None) -> None:
    """A single process: serves until a signal, then drains. `when_ready` is called with the port.

    Raises SettingsError when the address can't be listened on.
    """
    stop = Stop()
    tls_context(settings)
    listener = listen(settings)

    def ready() -> None:
        say_ready(settings, listener.port)
        when_ready(listener.port)

    if settings.redis_url is None:
        await serve(settings, listener, stop, None, ready)
        return
    board = Board(time.time)
    sharing = await Replicas(settings.redis_url, settings.google_keys.values()).start(board)
    await serve(settings, listener, stop, board, ready)
    sharing.cancel()


async def serve(
    settings: Settings,
    listener: Listener,
    stop: Stop,
    board: Board | None,
    when_ready: Callable[[], object],
) -> None:
    """Serves on a listener until `stop`, then drains. Tells and hears on the board, if there is one."""
    _look_at_open_files()
    bulletin = Bulletin(board) if board else None
    app = make_app(settings, bulletin=bulletin)
    if bulletin:
        bulletin.start()
    server = app.server(tls_context(settings))
    listener.accept_for(server)
    retrial = asyncio.create_task(app.retrial.run())
    when_ready()
    await stop.first.wait()
    retrial.cancel()
    listener.stop()
    await _drain(app.site, settings.drain_timeout, stop.second)
    await app.close()
    await server.close_all_connections()
    if bulletin:
        bulletin.close()
    logger.info("stopped")


async def _drain(site: Site, seconds: float, hurry: asyncio.Event) -> None:
    site.draining = True
    logger.info("stopping: %d requests have up to %g s to finish", len(site.running), seconds)
    deadline = asyncio.get_running_loop().time() + seconds
    while site.running and not hurry.is_set() and asyncio.get_running_loop().time() < deadline:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(hurry.wait(), 0.02)


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
        "ready: %s://%s:%d, %d Gemini API %s, %s%s",
        "https" if settings.tls_cert_file else "http",
        host,
        port,
        count,
        "key" if count == 1 else "keys",
        "client key required" if settings.client_keys else "no client key required",
        f", {settings.workers} workers" if settings.workers > 1 else "",
    )
