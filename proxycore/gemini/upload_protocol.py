"""Google's resumable upload protocol, as far as the proxy needs it. Pure.

An upload is *started* with a request that carries no content. The response names an address with an
`upload_id`, to which its *follow-up requests* go: with content, to query, finalize or cancel. That address is
a capability: official SDKs send no credential there. The protocol's fields are `X-Goog-Upload-*`; its older
form has `uploadType=resumable`, `Location` and PUT (cloud.google.com/storage/docs/resumable-uploads). Uploads
in one piece (`raw`, `multipart`, `start, upload, finalize`) carry content and have no follow-up requests.
"""

from collections.abc import Mapping
from urllib.parse import parse_qs

from proxycore.http.address import AddressRewriter
from proxycore.http.fields import Fields

_FOLLOW_UPS = frozenset({"upload", "finalize", "query", "cancel"})
_ADDRESSES = frozenset({"x-goog-upload-url", "x-goog-upload-control-url", "location"})


def upload_name(query: str) -> str | None:
    """The resource name under which the owner of a query's `upload_id` is stored."""
    values = parse_qs(query).get("upload_id")
    return f"upload/{values[0]}" if values else None


def carries_content(method: str, headers: Mapping[str, str], query: str) -> bool:
    """Whether the body is content of any size, which is streamed and can't be sent again to another key.

    `headers` finds names in any case.
    """
    if commands := _commands(headers):
        return "upload" in commands
    if method not in ("POST", "PUT") or headers.get("X-Goog-Upload-Protocol", "").lower() == "resumable":
        return False
    return upload_name(query) is not None or "resumable" not in parse_qs(query).get("uploadType", ())


def is_follow_up(method: str, headers: Mapping[str, str], query: str) -> bool:
    """Whether a request continues an upload. `headers` finds names in any case."""
    if upload_name(query) is None:
        return False
    commands = _commands(headers)
    if commands or "X-Goog-Upload-Protocol" in headers:
        return bool(commands) and commands <= _FOLLOW_UPS
    return method == "PUT"


def rewrite_upload_addresses(fields: Fields, rewriter: AddressRewriter) -> tuple[Fields, set[str]]:
    """Return the response's fields with upload addresses of this proxy, and the names of the uploads."""
    names: set[str] = set()
    changed: Fields = []
    for field, value in fields:
        _, _, query = value.partition("?")
        name = upload_name(query) if field.lower() in _ADDRESSES else None
        changed.append((field, rewriter.rewrite_one(value) if name else value))
        names |= {name} if name else set()
    return changed, names


def _commands(headers: Mapping[str, str]) -> set[str]:
    parts = headers.get("X-Goog-Upload-Command", "").lower().split(",")
    return {part.strip() for part in parts if part.strip()}
