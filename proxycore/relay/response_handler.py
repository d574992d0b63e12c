"""A handler that sends upstream responses: the head, a buffered body, and the count of tokens."""

from http.client import responses

from proxycore.gemini.methods import call_of
from proxycore.gemini.token_usage import TokenUsage
from proxycore.http.address import ADDRESSES, AddressRewriter
from proxycore.http.credentials import credential_part
from proxycore.http.fields import Fields
from proxycore.relay.body_handler import BodyHandler
from proxycore.relay.pool import Pool
from proxycore.rotation.key import Key
from proxycore.transport.buffered_response import BufferedResponse
from proxycore.transport.response_head import ResponseHead

_BODILESS = frozenset({204, 304})  # RFC 9110 §6.4.1


class ResponseHandler(BodyHandler):
    """Passes responses of the upstream on to the client, without the secrets in them.

    `call` is what the request calls, and `path` its path for the upstream.
    """

    __slots__ = ("call", "path")

    def initialize(self, pool: Pool) -> None:
        """Called by Tornado for every request."""
        super().initialize(pool)
        self.call = call_of(self.request.method or "", self.request.path)
        self.path = self.call.path

    def begin_response(self, head: ResponseHead, key: Key | None) -> None:
        """Commit to a response with this head, got with `key`: no other one is possible from here on."""
        self.begin_stream(head.status, self._phrase(head), self.rewrite_addresses(head, key))
        self.body.drop_when_read()
        self.pool.meter.first_byte(self.record)

    def send_buffered(self, response: BufferedResponse) -> None:
        """Send a buffered response with the secrets in it replaced."""
        clean = response.without_secrets(self.context.redactor)
        if clean is None:
            self.refuse(
                response.head.status,
                "The upstream's error response can't be decoded, so it is not forwarded.",
            )
            return
        head, body = clean
        self.set_head(head.status, self._phrase(head), self.rewrite_addresses(head, None))
        if response.error:
            self.record.code = response.status
        if self.request.method != "HEAD" and head.status not in _BODILESS:
            self.set_header("Content-Length", len(body))
        self.record.sent_bytes += len(body)
        self.note_first_byte()
        self.write(body)
        self.flush()
        self.end_response()

    def count_tokens(self, usage: TokenUsage | None) -> None:
        """Count the tokens that a response reported; None if they could not be read."""
        record = self.record
        if usage is None:
            record.unread = True
            self.pool.meter.unread()
            return
        record.input_tokens += usage.input
        record.output_tokens += usage.output
        record.cached_tokens += usage.cached
        record.thinking_tokens += usage.thinking
        record.tool_tokens += usage.tool
        self.pool.meter.used(record, usage)

    @property
    def address_rewriter(self) -> AddressRewriter:
        """Rewrites addresses of the upstream to those at which this client reaches the proxy."""
        request, upstream = self.request, self.pool.upstream
        public = self.context.public_url or f"{request.protocol}://{request.host}"
        return AddressRewriter(upstream.origin, upstream.prefix, public)

    def rewrite_addresses(self, head: ResponseHead, key: Key | None) -> Fields:  # noqa: ARG002 - for uploads
        """The head's fields, with the upstream's addresses replaced by the proxy's.

        `key` is the one that the response came from.
        """
        if ADDRESSES.isdisjoint(head.values):
            return head.fields
        return self.address_rewriter.rewrite(head.fields, credential_part(self.request.query))

    def _phrase(self, head: ResponseHead) -> str:
        """The upstream's reason phrase, or the standard one where it can't be passed on."""
        phrase, standard = head.reason, responses.get(head.status, "Unknown")
        if phrase == standard or not phrase.isascii() or not phrase.isprintable():
            return standard
        return phrase if phrase and self.context.redactor.text(phrase) is phrase else standard
