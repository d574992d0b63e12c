"""The program: what it is made of."""

import asyncio
import random
import secrets
import ssl
import sys
import time
from collections.abc import Callable

from tornado import httputil
from tornado.httpserver import HTTPServer
from tornado.web import Application

from proxycore.access import Admin, ClientKeys, Cors
from proxycore.bench import Doubling
from proxycore.bulletin import Bulletin
from proxycore.chronicle import Chronicle
from proxycore.handler import CLIENT_SILENCE, Site
from proxycore.headers import Redactor
from proxycore.herald import Herald
from proxycore.key import keys_of
from proxycore.line import Lines
from proxycore.lists import ListHandler
from proxycore.live import LIVE_PATHS, LiveHandler
from proxycore.owners import Owners
from proxycore.pages import LIST_PATHS
from proxycore.passage import Pool
from proxycore.relay import PATHS, RelayHandler
from proxycore.retrial import Retrial
from proxycore.rotator import Rotator
from proxycore.session import LARGEST_MESSAGE
from proxycore.settings import Settings
from proxycore.snapshot import snapshot
from proxycore.status import AliveHandler, HomeHandler, NotRelayedHandler, ReadyHandler, SnapshotHandler
from proxycore.upload import UPLOAD_PATHS, UploadHandler
from proxycore.upstream import Route, Upstream
from proxycore.verdict import Backoff

_LARGEST_HEAD = 1024 * 1024  # bytes that are read before a request's head is given up; handlers refuse less
_GOODBYES = 100  # times 10 ms


class ProxyApplication(Application):
    """The routes, and the parts behind them. Belongs to the running event loop."""

    def __init__(self, settings: Settings, clock: Callable[[], float], source: random.Random) -> None:
        self.site = Site(
            ClientKeys(settings.client_keys), Cors(settings.cors_allow_origins), Redactor(settings.key_names)
        )
        self.rotator = Rotator(
            keys_of(
                (name, secret, settings.projects.get(name, ""))
                for name, secret in settings.google_keys.items()
            ),
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
        Chronicle(self.rotator, clock)
        pool = Pool(
            rotator=self.rotator,
            lines=self.lines,
            owners=self.owners,
            upstream=self.upstream,
            max_attempts=settings.max_attempts,
            clock=clock,
            source=source,
        )
        self.retrial = Retrial(pool)
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
                (
                    r"/status\.json",
                    SnapshotHandler,
                    {
                        "admin": Admin(settings.admin_key),
                        "snapshot": lambda: snapshot(self.rotator, self.lines, clock()),
                    },
                ),
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


def make_app(
    settings: Settings,
    clock: Callable[[], float] = time.time,
    bulletin: Bulletin | None = None,
) -> ProxyApplication:
    """The application that these settings make, with others to tell and hear. Belongs to the running loop."""
    app = ProxyApplication(settings, clock, random.Random())  # noqa: S311 - a key is chosen, not made
    if bulletin:
        me = secrets.token_hex(4)
        bulletin.hear = Herald(
            app.rotator, app.lines, app.owners, tell=bulletin.tell, clock=clock, me=me
        ).hear
    return app
