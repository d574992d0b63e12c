"""Describes a request for the comparison of refusals: client, method and origin. Pure."""

from tornado.httputil import HTTPServerRequest

from proxycore.http.access_record import AccessRecord
from proxycore.rotation.case import Case

_LONGEST_METHOD, _LONGEST_ORIGIN = 64, 128  # characters, since they are stored


def case_of(request: HTTPServerRequest, path: str, record: AccessRecord) -> Case:
    """The case of a request for this path.

    Its client is the name of the client key, or the address where none is needed.
    """
    name = path.rpartition(":")[2] if ":" in path else path.rpartition("/")[2]
    page = request.headers.get("Referer") or request.headers.get("Origin") or ""
    return Case(
        client=record.client if record.client != "-" else request.remote_ip or "-",
        method=f"{request.method} {name[:_LONGEST_METHOD]}",
        request=record.request_id,
        origin="/".join(page.split("/", 3)[:3])[:_LONGEST_ORIGIN],  # scheme, host and port (RFC 6454 §4)
    )
