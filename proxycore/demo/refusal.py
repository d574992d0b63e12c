"""An error that Google answers with: how it reads, and those that have nothing to do with a key's health.

The bodies are Google's own as public reports show them, each named here as owner/repository#issue.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from string import Template
from typing import Any

from tornado.web import HTTPError

Json = dict[str, Any]

SERVICE = "generativelanguage.googleapis.com"
METHOD = "google.ai.generativelanguage.v1beta.GenerativeService.GenerateContent"
TYPE = "type.googleapis.com/google.rpc."
_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    416: "OUT_OF_RANGE",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


@dataclass(frozen=True)
class Refusal:
    """An error that Google answers with.

    Texts may hold ``$key``, ``$project``, ``$model`` and, in details, ``$message``: `about` puts them in.
    ``status`` is needed only where the code does not imply it. ``openai`` is the message on the OpenAI
    surface, where it differs; no details come with it. ``word`` is what interactions call the error, which
    then has that instead of a code and a status.
    """

    code: int
    message: str
    details: tuple[Json, ...] = ()
    status: str = ""
    openai: str = ""
    word: str = ""

    def about(self, key: str, model: str) -> Refusal:
        """Return the refusal as it reads for one key and model. Every key has a project of its own."""
        names = {"key": key, "model": model, "project": str(500_000_000_000 + zlib.crc32(key.encode()))}
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


def _fill(value: Any, names: Mapping[str, str]) -> Any:  # noqa: ANN401 - JSON of texts, the same kind back
    if isinstance(value, dict):
        return {name: _fill(item, names) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_fill(item, names) for item in value)
    return Template(value).safe_substitute(names)


class RefusedError(HTTPError):
    """Google refuses the request; ``refusal`` says how."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal


# What is wrong with the credentials themselves, whatever the key (NousResearch/hermes-agent#62259 and #7893).
UNREGISTERED = Refusal(
    403,
    "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or"
    " other form of API consumer identity to call this API.",
)
TWO_CREDENTIALS = Refusal(401, "API key for authentication is used with other authentication credentials.")
TWO_CREDENTIALS_OPENAI = Refusal(400, "Multiple authentication credentials received. Please pass only one.")
NO_BEARER = Refusal(400, "Missing or invalid Authorization header.")
# discuss.ai.google.dev/t/175711, where the ErrorInfo names no domain
_REASON = {"reason": "ACCESS_TOKEN_TYPE_UNSUPPORTED", "metadata": {"method": METHOD, "service": SERVICE}}
UNSUPPORTED_TOKEN = Refusal(
    401,
    "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other"
    " valid authentication credential. See"
    " https://developers.google.com/identity/sign-in/web/devconsole-project.",
    ({"@type": f"{TYPE}ErrorInfo", **_REASON},),
)

# What is wrong with what a request names, for any key but the one whose project it belongs to.
INVALID_ARGUMENT = Refusal(400, "Request contains an invalid argument.")
NOT_FOUND = Refusal(404, "Requested entity was not found.")
FORBIDDEN = Refusal(403, "The caller does not have permission")  # google-gemini/gemini-cli#14519
NO_CACHE = Refusal(403, "CachedContent not found (or permission denied)")
NO_INTERACTION = Refusal(404, NOT_FOUND.message, word="not_found")


def denial(name: str) -> Refusal:
    """Return the refusal of a resource that is another project's or nobody's: Google tells no difference.

    The texts are in snailyp/gemini-balance#401 for files.
    """
    collection, _, number = name.partition("/")
    file = f"You do not have permission to access the File {number} or it may not exist."
    known = {"files": Refusal(403, file), "cachedContents": NO_CACHE, "fileSearchStores": FORBIDDEN}
    return known.get(collection, NOT_FOUND)
