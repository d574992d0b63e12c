"""A request for the upstream, and the error for a response that did not arrive whole."""

from typing import NamedTuple

import pycurl
from tornado.curl_httpclient import CurlError

from proxycore.http.fields import Fields
from proxycore.transport.held_body import HeldBody
from proxycore.transport.request_body import RequestBodyStream

_UNREACHABLE = {
    pycurl.E_COULDNT_RESOLVE_PROXY: "the outbound proxy's name can't be resolved",
    pycurl.E_COULDNT_RESOLVE_HOST: "its name can't be resolved",
    pycurl.E_COULDNT_CONNECT: "no connection to its address",
    pycurl.E_OPERATION_TIMEDOUT: "no connection within CONNECT_TIMEOUT",
    pycurl.E_SSL_CONNECT_ERROR: "the TLS handshake failed",
    pycurl.E_PEER_FAILED_VERIFICATION: "its TLS certificate is not trusted",
    pycurl.E_SSL_CACERT_BADFILE: "the file of certificate authorities can't be read",
    97: "the outbound proxy refused",  # CURLE_PROXY, which pycurl does not name
}
_MALFORMED = {
    pycurl.E_UNSUPPORTED_PROTOCOL: "it is not HTTP/1.1",
    8: "its head is not valid HTTP",  # CURLE_WEIRD_SERVER_REPLY, which pycurl does not name
    pycurl.E_BAD_CONTENT_ENCODING: "its Transfer-Encoding is unknown",
    100: "its head is too large",  # CURLE_TOO_LARGE, which pycurl does not name
}
_NOT_ADDED = ("User-Agent", "Accept", "Content-Type", "Expect")


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


def from_curl(error: BaseException, *, sent: bool) -> UpstreamError:
    """The error for a transfer that libcurl ended with `error`."""
    number, detail = (error.errno, error.message) if isinstance(error, CurlError) else (0, str(error))
    detail = f"({detail})"
    if not sent:
        return unreachable(_UNREACHABLE.get(number, ""), detail)
    return malformed(_MALFORMED[number], detail) if number in _MALFORMED else broken_off(detail)


def curl_lines(fields: Fields) -> list[bytes]:
    """The header fields of a request as libcurl takes them; it adds none of its own."""
    lines = [f"{name}: {value}" if value else f"{name};" for name, value in fields]
    present = {name.lower() for name, _ in fields}
    # A name with a colon and no value removes what libcurl and pycurl would add by themselves.
    lines += [f"{name}:" for name in _NOT_ADDED if name.lower() not in present]
    return [line.encode("latin-1") for line in lines]
