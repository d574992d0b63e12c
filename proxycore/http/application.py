"""A Tornado application of `BaseHandler`s, which are found and driven with little ado.

Tornado's own way from a request's head to a handler's method takes two routers, two futures, a task for the
whole request, and a turn of the event loop for each. All handlers here read their bodies as they arrive, so
that a request's head is handled at once, and there is a task only for the method.
"""

import asyncio
import re
from collections.abc import Awaitable, Iterable
from typing import Any

from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.web import Application

from proxycore.http.base_handler import BaseHandler

PathRoute = tuple[str, type[BaseHandler], dict[str, Any]]
"""A regular expression for paths, the handler of those that it matches, what `initialize` gets."""


class HandlerApplication(Application):
    """An application with these routes, of which the first that matches counts; `default` handles the rest.

    The groups of a route's expression are the arguments of the handler's method.
    """

    def __init__(self, routes: Iterable[PathRoute], default: type[BaseHandler], **settings: Any) -> None:  # noqa: ANN401 - as Tornado has it
        super().__init__(**settings)
        self._routes = [(re.compile(path).fullmatch, handler, parts) for path, handler, parts in routes]
        self._default = default
        self.tasks: set[asyncio.Task[None]] = set()  # the event loop refers to them weakly

    def find_handler(self, request: HTTPServerRequest, **_: object) -> "HandlerDelegate":  # type: ignore[override] # Tornado's is private
        """Called by the server with each request."""
        path = request.path
        for matches, handler, parts in self._routes:
            if match := matches(path):
                return HandlerDelegate(self, request, handler, parts, match.groups())
        return HandlerDelegate(self, request, self._default, {}, ())


class HandlerDelegate(HTTPMessageDelegate):
    """Passes one request on to its handler, as it arrives. `handler` is made when the head has come."""

    __slots__ = ("_application", "_arguments", "_class", "_parts", "_request", "handler")

    def __init__(
        self,
        application: HandlerApplication,
        request: HTTPServerRequest,
        handler: type[BaseHandler],
        parts: dict[str, Any],
        arguments: tuple[str | None, ...],
    ) -> None:
        self._application = application
        self._request = request
        self._class = handler
        self._parts = parts
        self._arguments = arguments
        self.handler: BaseHandler

    def headers_received(
        self,
        start_line: RequestStartLine | ResponseStartLine,  # noqa: ARG002 - the request has them
        headers: HTTPHeaders,  # noqa: ARG002 - the same
    ) -> Awaitable[None] | None:
        """Prepare the handler; the awaitable that may be returned is done when it is prepared."""
        handler = self.handler = self._class(self._application, self._request, **self._parts)
        handler._transforms = []
        if self._request.method not in handler.SUPPORTED_METHODS:
            handler.send_error(405)
            return None
        try:
            prepared = handler.prepare()
        except Exception as error:  # noqa: BLE001 - it is logged, and responded to
            handler._handle_request_exception(error)
            return None
        return self._run(prepared) if prepared is not None else None

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Pass a piece of the body on; the awaitable that may be returned is done when more can be taken."""
        return self.handler.data_received(chunk)

    def finish(self) -> None:
        """Call the handler's method: the request is complete."""
        if not self.handler._finished:
            task = asyncio.get_running_loop().create_task(self._run(self._respond()))
            tasks = self._application.tasks
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    def on_connection_close(self) -> None:
        """Tell the handler that the client has disconnected before the request was complete."""
        self.handler.on_connection_close()

    async def _respond(self) -> None:
        handler = self.handler
        responded = getattr(handler, (self._request.method or "").lower())(*self._arguments)
        if responded is not None:
            await responded
        if handler._auto_finish and not handler._finished:
            handler.finish()

    async def _run(self, step: Awaitable[None]) -> None:
        """Wait for a step of the handler's, and respond to what it raises."""
        handler = self.handler
        try:
            await step
        except asyncio.CancelledError:
            if not handler._finished:
                handler.send_error(500)
            raise
        except Exception as error:  # noqa: BLE001 - it is logged, and responded to
            handler._handle_request_exception(error)
