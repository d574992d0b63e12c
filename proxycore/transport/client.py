"""AsyncHTTPClient on connections of its own (`AsyncHTTPClient.configure` chooses it).

Unlike Tornado's clients it passes bytes straight through: `streaming_callback` is called by the connection
that has read them, the request goes out byte for byte as it was given, and the transfer can be paused,
resumed and ended at any moment. There is no timeout except for connecting, no limit on size, and nothing is
repeated.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from tornado.httputil import HTTPHeaders

from proxycore.http.fields import Field
from proxycore.transport.client_connection import ClientConnection
from proxycore.transport.connection_pool import ConnectionPool
from proxycore.transport.connector import ConnectOptions, Connector
from proxycore.transport.messages import Outgoing, UpstreamError, unreachable
from proxycore.transport.request_writer import BodyWriter, write_request
from proxycore.transport.response_head import ResponseHead

_NO_HEADERS = HTTPHeaders()  # Tornado copies it for each request


class UpstreamRequest(HTTPRequest):
    """A request to fetch: `outgoing`, to a target below `prefix` of the server at `url`.

    `on_head` is called with the response's head, before `streaming_callback` with any chunk. `proxy` is the
    outbound proxy that it goes through, None for none. `fresh` asks for a new connection instead of a kept
    one. `sent` is whether the upstream may have received it.
    """

    on_head: Callable[[ResponseHead], None] | None
    streaming_callback: Callable[[bytes], None] | None

    def __init__(
        self,
        url: str,
        prefix: str,
        outgoing: Outgoing,
        credential: Field | None,
        *,
        on_head: Callable[[ResponseHead], None],
        streaming_callback: Callable[[bytes], None],
        proxy: str | None,
        fresh: bool,
    ) -> None:
        # Without HTTPRequest's own: it sets thirty attributes, which are for other clients.
        self.url = url
        self.method = outgoing.method
        self.headers = _NO_HEADERS
        self.request_timeout = 0.0
        self.on_head = on_head
        self.streaming_callback = streaming_callback
        self.proxy = proxy
        self.fresh = fresh
        self.sent = False
        self._prefix, self._outgoing, self._credential = prefix, outgoing, credential
        self._finish: Callable[[UpstreamError | None], None] | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._connection: ClientConnection | None = None

    @property
    def upload_progress(self) -> int:
        """A number of bytes that grows while the upstream reads the request."""
        return self._connection.upload_progress if self._connection else 0

    def pause(self) -> None:
        """Read no more of the response for now."""
        if self._connection:
            self._connection.pause()

    def resume(self) -> None:
        """Read on."""
        if self._connection:
            self._connection.resume()

    def end(self, error: UpstreamError) -> None:
        """Fail the request with this error, whatever its phase; its connection closes at once."""
        if self._connecting:
            self._connecting.cancel()
        if self._connection:
            self._connection.abort(error)
        else:
            self.finish(error)

    def connect(
        self, connecting: "asyncio.Task[None] | None", finish: Callable[[UpstreamError | None], None]
    ) -> None:
        """Note the task that opens a connection, if there is one, and what to call at the request's end."""
        self._connecting, self._finish = connecting, finish

    def start(self, connection: ClientConnection) -> None:
        """Send the request on a connection."""
        self._connecting, self._connection, self.sent = None, connection, True
        connection.start(self)

    def write(self, transport: asyncio.Transport) -> BodyWriter | None:
        """Write the request; called by the connection."""
        host = self.url.partition("://")[2]
        return write_request(transport, self._outgoing, host, self._prefix, self._credential)

    def finish(self, error: UpstreamError | None) -> None:
        """Report the response's end; called by the connection, which serves the request no longer."""
        finish, self._finish = self._finish, None
        # The callbacks' owner refers to this request: no cycle remains.
        self._connecting = self._connection = self.on_head = self.streaming_callback = None
        if finish:
            finish(error)


class Client(AsyncHTTPClient):
    """Fetches UpstreamRequests, and no others; a failed fetch raises UpstreamError."""

    def initialize(self, defaults: dict[str, Any] | None = None) -> None:
        """Called by Tornado for a new client, which can fetch after `set_connect_options`."""
        super().initialize(defaults)
        self.busy = 0  # requests in progress
        self.pool: ConnectionPool[ClientConnection] = ConnectionPool()
        self._options: ConnectOptions | None = None
        self._connector: Connector

    def set_connect_options(self, options: ConnectOptions) -> None:
        """Open connections with these options from now on; those opened with others serve no new request."""
        self._connector = Connector(options)
        if options != self._options:
            self._options = options
            self.pool.renew()

    def fetch_impl(self, request: HTTPRequest, callback: Callable[[HTTPResponse], None]) -> None:
        """Called by `fetch`."""
        fetched = request.request  # type: ignore[attr-defined] # Tornado's wrapper adds defaults
        assert isinstance(fetched, UpstreamRequest)  # noqa: S101 - see the class's docstring
        self.busy += 1

        def finish(error: UpstreamError | None) -> None:
            self.busy -= 1
            callback(HTTPResponse(fetched, 599 if error else 200, _NO_HEADERS, error=error))

        if not fetched.fresh and (connection := self.pool.take(fetched.proxy)):
            fetched.connect(None, finish)
            fetched.start(connection)
        else:
            fetched.connect(asyncio.get_running_loop().create_task(self._connect(fetched)), finish)

    async def open(self, url: str, protocol: asyncio.BaseProtocol, proxy: str | None) -> None:
        """Open a connection to a URL's host for another protocol than HTTP. Raises UpstreamError."""
        await self._connector.open(url, protocol, proxy)

    def close(self) -> None:
        """Close all connections; requests in progress fail."""
        super().close()
        self.pool.abort()

    async def _connect(self, request: UpstreamRequest) -> None:
        connection = ClientConnection(self.pool, request.proxy)
        try:
            await self._connector.open(request.url, connection, request.proxy)
        except UpstreamError as error:
            request.finish(error.with_traceback(None))
        except Exception:
            request.finish(unreachable())
            raise
        else:
            request.start(connection)
