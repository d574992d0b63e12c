"""A handler that sends upstream responses: the head, a buffered body, and the count of tokens."""

from http.client import responses

from proxycore.gemini.methods import spends
from proxycore.gemini.paths import canonical
from proxycore.gemini.token_usage import TokenUsage
from proxycore.http.address import ADDRESSES, AddressRewriter
from proxycore.http.credentials import credential_part
from proxycore.http.fields import Fields, downstream_fields
from proxycore.http.handler_state import HandlerState
from proxycore.relay.body_handler import BodyHandler
from proxycore.relay.pool import Pool
from proxycore.rotation.key import Key
from proxycore.transport.buffered_response import BufferedResponse
from proxycore.transport.response_head import ResponseHead

_BODILESS = frozenset({204, 304})  # RFC 9110 §6.4.1


class ResponseHandler(BodyHandler):
    """Passes responses of the upstream on to the client, without the secrets in them.

    `path` is the request's path for the upstream, `spends` whether the request spends a request quota.
    """

    def initialize(self, pool: Pool) -> None:
        """Called by Tornado for every request."""
        super().initialize(pool)
        self.path = canonical(self.request.path)
        self.spends = spends(self.request.method or "", self.path)

    def begin_response(self, head: ResponseHead, key: Key | None) -> None:
        """Commit to a response with this head, got with `key`: no other one is possible from here on."""
        self._set_head(head, key)
        self._become(HandlerState.STREAMING)
        self.body.drop_when_read()
        self.record.kind = "stream"
        self.note_first_byte()
        self.pool.meter.first_byte(self.record)

    def send_buffered(self, response: BufferedResponse) -> None:
        """Send a buffered response with the secrets in it replaced."""
        clean = response.without_secrets(self.context.redactor)
        if clean is None:
            self.refuse(response.head.status, "The upstream's error can't be read, so it is not passed on.")
            return
        head, body = clean
        self._set_head(head, None)
        if response.error:
            self.record.code = response.status
        if self.request.method != "HEAD" and head.status not in _BODILESS:
            self.set_header("Content-Length", len(body))
        self.record.sent_bytes += len(body)
        self.note_first_byte()
        self.write(body)
        self.flush()
        self.end_response()

    def count_tokens(self, usage: TokenUsage) -> None:
        """Count the tokens that a response reported."""
        self.record.add_tokens(usage.input, usage.output)
        self.pool.meter.used(self.record, usage)

    @property
    def address_rewriter(self) -> AddressRewriter:
        """Rewrites addresses of the upstream to those at which this client reaches the proxy."""
        request, upstream = self.request, self.pool.upstream
        public = self.context.public_url or f"{request.protocol}://{request.host}"
        return AddressRewriter(upstream.origin, upstream.prefix, public)

    def rewrite_addresses(self, fields: Fields, key: Key | None) -> Fields:  # noqa: ARG002 - for uploads
        """Replace the upstream's addresses by the proxy's. `key` is the one that the response came from."""
        if not any(name.lower() in ADDRESSES for name, _ in fields):
            return fields
        return self.address_rewriter.rewrite(fields, credential_part(self.request.query))

    def _set_head(self, head: ResponseHead, key: Key | None) -> None:
        self.set_status(head.status, self._phrase(head))
        self.clear_header("Date")
        fields = self.rewrite_addresses(downstream_fields(head.fields), key)
        self.add_fields(self.context.redactor.fields(fields))

    def _phrase(self, head: ResponseHead) -> str:
        """The upstream's reason phrase, or the standard one where it can't be passed on."""
        phrase, standard = head.reason, responses.get(head.status, "Unknown")
        if phrase == standard or not phrase.isascii() or not phrase.isprintable():
            return standard
        return phrase if phrase and self.context.redactor.text(phrase) is phrase else standard
