"""CORS (https://fetch.spec.whatwg.org): which web pages may read responses. Pure."""

from collections.abc import Iterable

from tornado.httputil import HTTPHeaders

from proxycore.http.fields import Fields

_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_PREFLIGHT_AGE = "7200"  # seconds; the most that Chromium honours
_EXPOSED = ", ".join(
    (
        # Google's browser SDK reads the fields of the upload protocol. The others are for retries, progress
        # bars and bug reports.
        "X-Goog-Upload-URL",
        "X-Goog-Upload-Control-URL",
        "X-Goog-Upload-Status",
        "X-Goog-Upload-Chunk-Granularity",
        "X-Goog-Upload-Size-Received",
        "X-Goog-Upload-Header-Content-Length",
        "X-Gemini-Service-Tier",
        "X-Incomplete-Keys",
        "Content-Disposition",
        "Content-Length",
        "Content-Range",
        "Date",
        "Retry-After",
        "Server-Timing",
        "X-Request-Id",
    )
)


class Cors:
    """Decides which origins' pages may read responses: all (`*`), or the listed ones."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origins)

    def allows(self, origin: str) -> bool:
        """Whether a page of `origin` may open a WebSocket. Without an origin, it is no browser, and may."""
        return not origin or bool({"*", origin} & self._origins)

    def fields(self, origin: str | None) -> Fields:
        """The header fields that allow a page of `origin` to read a response."""
        if "*" in self._origins:
            return [("Access-Control-Allow-Origin", "*"), ("Access-Control-Expose-Headers", _EXPOSED)]
        fields = [("Vary", "Origin")]
        if origin in self._origins:
            fields.append(("Access-Control-Allow-Origin", origin or ""))
            fields.append(("Access-Control-Expose-Headers", _EXPOSED))
        return fields

    @staticmethod
    def is_preflight(method: str | None, headers: HTTPHeaders) -> bool:
        """Whether a request is a browser's CORS preflight."""
        return method == "OPTIONS" and "Origin" in headers and "Access-Control-Request-Method" in headers

    @staticmethod
    def preflight_fields(headers: HTTPHeaders) -> Fields:
        """The header fields of a response to a preflight, in addition to `fields`."""
        fields = [("Access-Control-Allow-Methods", _METHODS), ("Access-Control-Max-Age", _PREFLIGHT_AGE)]
        if requested := headers.get("Access-Control-Request-Headers"):
            fields.append(("Access-Control-Allow-Headers", requested))
        return fields
