"""Fetches a whole response from the upstream with one key, for lists, probes and the key check."""

from proxycore.http.fields import Field
from proxycore.transport.attempt import Attempt
from proxycore.transport.buffered_response import BufferedResponse
from proxycore.transport.messages import Outgoing
from proxycore.transport.upstream import Upstream


async def fetch_whole(
    upstream: Upstream,
    outgoing: Outgoing,
    credential: Field,
    limit: int,
    *,
    proxy: str | None,
    fresh: bool = False,
) -> BufferedResponse:
    """Send a request once and return its response, whatever the status.

    `credential` is the header field that presents the key, and `proxy` is the key's outbound proxy. `limit`
    is in bytes: a larger body is None. `fresh` asks for a new connection instead of a reused one. Raises
    UpstreamError if no whole response arrives.
    """
    attempt = Attempt(upstream, outgoing, credential, proxy=proxy, fresh=fresh)
    try:
        return BufferedResponse(await attempt.head(), await attempt.read(limit))
    finally:
        attempt.end()
