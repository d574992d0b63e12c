"""Uploads: content that is streamed to the upstream without being held, and the requests around it.

The start of an upload is relayed like any request. Its follow-up requests, to the address that the start
returned, use the key that it was started with, whatever that key's health: they cost no quota. Content is
sent once, with one key.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace

from proxycore.gemini.paths import VERSION
from proxycore.gemini.prompt_size import PromptSize
from proxycore.gemini.request_scope import RequestScope, scope_of
from proxycore.gemini.upload_protocol import (
    carries_content,
    is_follow_up,
    rewrite_upload_addresses,
    upload_name,
)
from proxycore.gemini.verdict import Reaction
from proxycore.http.base_handler import BaseHandler
from proxycore.http.fields import Fields
from proxycore.relay.exchange import Exchange
from proxycore.relay.handler import RelayHandler
from proxycore.relay.pool import Pool
from proxycore.rotation.key import Key
from proxycore.transport.request_body import RequestBodyStream
from proxycore.transport.response_head import ResponseHead

UPLOAD_PATHS = rf"/+upload/{VERSION}/.*"
"""The paths of uploads, as a regular expression."""

# Seconds that the owner of a new upload may take to reach this process, and between two polls for it.
_OWNER_TIMEOUT, _POLL = 0.05, 0.005


class UploadHandler(RelayHandler):
    """Relays one request of an upload."""

    def initialize(self, pool: Pool) -> None:
        """Called by Tornado for every request."""
        super().initialize(pool)
        request = self.request
        self.token = None  # tokens allow no uploads (ai.google.dev/gemini-api/docs/ephemeral-tokens)
        self._upload = upload_name(request.query)
        self._is_follow_up = is_follow_up(request.method or "", request.headers, request.query)
        self._upload_key = (
            self.pool.affinity.of(self._upload) if self._upload and self._is_follow_up else None
        )
        self._stream: RequestBodyStream | None = None
        self._relaying: asyncio.Task[None] | None = None

    @property
    def is_capability(self) -> bool:
        """Whether the request needs no client key: the address of an upload is a credential itself."""
        return self._upload_key is not None

    @property
    def holds_body(self) -> bool:
        """Whether the body is held: content is not."""
        request = self.request
        content = carries_content(request.method or "", request.headers, request.query)
        return not (content and self.incoming.announced)

    @property
    def stalled(self) -> bool:
        """Whether the client has to wait until the upstream accepts more."""
        return self._stream.blocked if self._stream else super().stalled

    async def prepare(self) -> None:
        """Begin to send content as soon as the request's head is there."""
        if self._upload and self._is_follow_up and not self._upload_key:
            await self._await_upload_key(self._upload)
        if self.state.over:
            return
        if waiting := super().prepare():
            await waiting
        if self._over or self.holds_body:
            return
        length = self.request.headers.get("Content-Length")
        self._stream = RequestBodyStream(int(length) if length else None)
        self._relaying = asyncio.create_task(self.work())

    async def _await_upload_key(self, upload: str) -> None:
        """Wait for the owner of an upload that another process may just have started."""
        pool, patience = self.pool, _OWNER_TIMEOUT
        while not self._upload_key and not pool.rotator.alone and patience > 0:
            await asyncio.sleep(_POLL)
            patience -= _POLL
            self._upload_key = pool.affinity.of(upload)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Pass content on; the awaitable is done when the upstream can accept more."""
        if self._stream is None:
            return super().data_received(chunk)
        BaseHandler.data_received(self, chunk)
        return self._stream.put(chunk)

    async def _respond(self) -> None:
        whole = self.finish_body()
        if self._stream and self._relaying:
            self._stream.end()
            await self._relaying
        elif whole:
            await self.work()

    get = head = post = put = patch = delete = options = _respond

    async def serve(self) -> None:
        """Serve the request: with one attempt only if it carries content."""
        stream = self._stream
        if stream is None:
            await super().serve()
            return
        try:
            if exchange := self.exchange(scope_of(self.path, b"", self.request.query), once=True):
                await self.relay(exchange, self.outgoing(stream))
        finally:
            stream.drop()

    def exchange(
        self,
        scope: RequestScope,
        size: PromptSize | None = None,
        *,
        once: bool = False,
        first: Key | None = None,
    ) -> Exchange | None:
        """As for any request; a leg of an upload goes to the key that started it, and to no other."""
        upload_key = self._upload_key
        if self._is_follow_up and self._upload:
            scope = replace(scope, resources=(*scope.resources, self._upload))
        return super().exchange(scope, size, once=once or upload_key is not None, first=first or upload_key)

    def rewrite_addresses(self, head: ResponseHead, key: Key | None) -> Fields:
        """Replace upload addresses by the proxy's own, and remember whose upload they lead to."""
        if key:
            fields, names = rewrite_upload_addresses(head.fields, self.address_rewriter)
            self.pool.affinity.learn(names, key)
            head = replace(head, fields=fields)
        return super().rewrite_addresses(head, key)

    def conclude(self, exchange: Exchange) -> None:
        """Refuse content if its key was refused: the client can send it again, the proxy can't."""
        if self._stream is None or exchange.last is None or exchange.verdict.then is not Reaction.FAILOVER:
            super().conclude(exchange)
            return
        what = "start the upload again" if self._upload_key else "send it again"
        self.set_header("Retry-After", 1)
        self.refuse(
            429,
            f"The Gemini API key of this upload was refused ({exchange.verdict.reason}). The proxy does not"
            f" buffer uploads, so it can't retry with another key: {what}.",
        )
