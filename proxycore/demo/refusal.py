"""An error response of Google's, and the errors that do not depend on a key's health.

The bodies are Google's own as public reports show them, each named here as owner/repository#issue.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from string import Template
from typing import Any

from tornado.web import HTTPError

from proxycore.demo.asked import Asked

Json = dict[str, Any]

SERVICE = "generativelanguage.googleapis.com"
METHOD = "google.ai.generativelanguage.v1beta.GenerativeService.GenerateContent"
TYPE = "type.googleapis.com/google.rpc."
_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    416: "OUT_OF_RANGE",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


@dataclass(frozen=True)
class Refusal:
    """An error response of Google's.

    Texts may hold ``$key``, ``$project``, ``$model``, ``$method``, ``$version``, ``$referrer``, ``$address``
    and, in details, ``$message``: `about` puts them in. ``status`` is needed only where the code does not
    imply it. ``openai`` is the message on the OpenAI surface, where it differs; no details come with it.
    ``word`` is the interactions' name of the error, which then has that instead of a code and a status;
    ``interactions`` is the refusal that they have in its place, if it is another.

    It is sent ``after`` so many seconds. With ``pieces`` a request that is streamed gets a 200 and so many
    pieces of content before the error: as an event, or as bare JSON when it is ``raw``.
    """

    code: int
    message: str
    details: tuple[Json, ...] = ()
    status: str = ""
    openai: str = ""
    word: str = ""
    interactions: Refusal | None = None
    after: float = 0.0
    pieces: int | None = None
    raw: bool = False

    def about(self, asked: Asked) -> Refusal:
        """Return the refusal as it reads for one request. Every key has a project of its own."""
        names = {
            "key": asked.key,
            "model": asked.model,
            "project": project(asked.key),
            "method": asked.method,
            "version": asked.version,
            "referrer": asked.referrer or "<empty>",
            "address": asked.address,
        }
        names["message"] = _fill(self.message, names)
        return replace(self, message=names["message"], details=_fill(self.details, names))

    def body(self, *, openai: bool = False) -> Json:
        """Return the JSON document, without the array that some surfaces wrap it in."""
        if self.word:
            return {"error": {"message": self.message, "code": self.word}}
        short = self.openai if openai else ""
        status = self.status or _STATUS.get(self.code, "UNKNOWN")
        error: Json = {"code": self.code, "message": short or self.message, "status": status}
        if self.details and not short:
            error["details"] = list(self.details)
        return {"error": error}


@dataclass(frozen=True)
class Foreign(Refusal):
    """An answer that is not Google's: ``message`` is its whole body, of this type unless that is empty."""

    content_type: str = "text/plain"


def project(key: str) -> str:
    """Return the number of a key's project."""
    return str(500_000_000_000 + zlib.crc32(key.encode()))


def because(reason: str, **metadata: str) -> tuple[Json, Json]:
    """Return the two details with the reason for a refusal."""
    about = {"reason": reason, "domain": "googleapis.com", "metadata": {"service": SERVICE, **metadata}}
    return (
        {"@type": f"{TYPE}ErrorInfo", **about},
        {"@type": f"{TYPE}LocalizedMessage", "locale": "en-US", "message": "$message"},
    )


def help_link(description: str, url: str) -> Json:
    """Return the detail with a link to read more."""
    return {"@type": f"{TYPE}Help", "links": [{"description": description, "url": url}]}


def _fill(value: Any, names: Mapping[str, str]) -> Any:  # noqa: ANN401 - JSON, the same kind back
    if isinstance(value, dict):
        return {name: _fill(item, names) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_fill(item, names) for item in value)
    if not isinstance(value, str):
        return value
    return Template(value).safe_substitute(names)


class RefusedError(HTTPError):
    """Google refuses the request, with ``refusal``."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal


# Errors about the credentials themselves, for any key (NousResearch/hermes-agent#62259 and #7893).
UNREGISTERED = Refusal(
    403,
    "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or"
    " other form of API consumer identity to call this API.",
)
TWO_CREDENTIALS = Refusal(401, "API key for authentication is used with other authentication credentials.")
TWO_CREDENTIALS_OPENAI = Refusal(400, "Multiple authentication credentials received. Please pass only one.")
NO_BEARER = Refusal(400, "Missing or invalid Authorization header.")
UNAUTHENTICATED = Refusal(401, "Invalid API key", word="unauthenticated")  # as interactions have it
# discuss.ai.google.dev/t/175711, where the ErrorInfo names no domain
_REASON = {"reason": "ACCESS_TOKEN_TYPE_UNSUPPORTED", "metadata": {"method": METHOD, "service": SERVICE}}
UNSUPPORTED_TOKEN = Refusal(
    401,
    "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other"
    " valid authentication credential. See"
    " https://developers.google.com/identity/sign-in/web/devconsole-project.",
    ({"@type": f"{TYPE}ErrorInfo", **_REASON},),
    interactions=UNAUTHENTICATED,
)

# Errors about a resource that the request names, for any key but its owner.
INVALID_ARGUMENT = Refusal(400, "Request contains an invalid argument.")
NOT_FOUND = Refusal(404, "Requested entity was not found.")
FORBIDDEN = Refusal(403, "The caller does not have permission")  # google-gemini/gemini-cli#14519
NO_CACHE = Refusal(403, "CachedContent not found (or permission denied)")
NO_INTERACTION = Refusal(404, NOT_FOUND.message, word="not_found")


def denial(name: str) -> Refusal:
    """Return the refusal of a resource that is another project's or nobody's: Google answers both alike.

    The texts are in snailyp/gemini-balance#401 for files.
    """
    collection, _, number = name.partition("/")
    file = f"You do not have permission to access the File {number} or it may not exist."
    known = {"files": Refusal(403, file), "cachedContents": NO_CACHE, "fileSearchStores": FORBIDDEN}
    return known.get(collection, NOT_FOUND)
