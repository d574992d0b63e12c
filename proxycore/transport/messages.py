"""A request for the upstream, and the error for a response that did not arrive whole."""

from typing import NamedTuple

from proxycore.http.fields import Fields
from proxycore.transport.held_body import HeldBody
from proxycore.transport.request_body import RequestBodyStream


class Outgoing(NamedTuple):
    """A request for the upstream, without the key's credential.

    `target` is path and query, byte for byte. `body` is held in memory or streamed.
    """

    method: str
    target: str
    fields: Fields
    body: bytes | HeldBody | RequestBodyStream


class UpstreamError(Exception):
    """No whole response arrived. The message says what happened and is fit for a client.

    `sent` is whether the upstream may have received the request, `is_timeout` whether it ended in a timeout,
    and `detail` is the library's own message, for the log.
    """

    def __init__(self, message: str, *, sent: bool, is_timeout: bool = False, detail: str = "") -> None:
        super().__init__(message)
        self.sent = sent
        self.is_timeout = is_timeout
        self.detail = detail

    @property
    def label(self) -> str:
        """The attempt's metric label, in place of a response's status."""
        return "silent" if self.is_timeout else "unreachable"


def unreachable(reason: str = "", detail: str = "") -> UpstreamError:
    """The error for a request that could not be sent; `reason` is a clause about "it", the upstream."""
    because = f": {reason}" if reason else ""
    return UpstreamError(f"The upstream could not be reached{because}.", sent=False, detail=detail)


def malformed(reason: str, detail: str = "") -> UpstreamError:
    """The error for a response that is not valid HTTP; `reason` is a clause about "it", the response."""
    return UpstreamError(f"The upstream's response is malformed: {reason}.", sent=True, detail=detail)


def broken_off(detail: str = "") -> UpstreamError:
    """The error for a response that ended early."""
    return UpstreamError(
        "The upstream broke off the connection before the response was complete.", sent=True, detail=detail
    )


def timed_out(seconds: float, *, sent: bool) -> UpstreamError:
    """The error for an upstream that sent nothing for so many seconds."""
    return UpstreamError(
        f"The upstream timed out: no data for {seconds:g} seconds.", sent=sent, is_timeout=True
    )
