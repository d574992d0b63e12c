"""The resources that projects own at Google, which are visible only to the project that made them."""

from __future__ import annotations

import re
import secrets
import string
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from proxycore.demo.refusal import INVALID_ARGUMENT, SERVICE, Json, RefusedError

_ALPHABET = string.ascii_lowercase + string.digits
_FILE = re.compile(r"(?:https?://[^/]+/v1\w*/)?(files/[^/:?]+)")


@dataclass
class Owned:
    """One resource: the document that describes it, and its hidden state."""

    document: Json
    made: float = 0.0  # seconds since the epoch
    next: Json | None = None  # the document after the next read
    content: bytes | None = None  # of a file; None: a generated pattern
    lines: int = 0  # in the content that was uploaded

    @property
    def name(self) -> str:
        """What it is called, with its collection: ``files/abc``."""
        return str(self.document["name"])


class Store:
    """The resources of every project, by their names. Every key is a project of its own."""

    def __init__(self) -> None:
        self._projects: defaultdict[str, dict[str, Owned]] = defaultdict(dict)

    def put(self, key: str, owned: Owned) -> None:
        """Give a resource to a project."""
        self._projects[key][owned.name] = owned

    def get(self, key: str, name: str) -> Owned | None:
        """Return a project's resource, or None when there is none of that name that it may see."""
        return self._projects[key].get(name)

    def drop(self, key: str, name: str) -> None:
        """Delete a resource and all that belongs to it."""
        mine = self._projects[key]
        for known in [each for each in mine if each == name or each.startswith(f"{name}/")]:
            del mine[known]

    def collection(self, key: str, kind: str) -> list[Json]:
        """Return the documents of one collection of a project, in the order in which they were made."""
        direct = re.compile(rf"{re.escape(kind)}/[^/]+")
        return [owned.document for name, owned in self._projects[key].items() if direct.fullmatch(name)]

    def add_document(self, key: str, store: str, file: Owned, path: str = "/upload") -> Json:
        """Make a file a document in a store to search in; return the operation that this was."""
        document = {"name": f"{store}/documents/{identifier()}", "state": "STATE_ACTIVE"}
        kept = ("displayName", "mimeType", "sizeBytes", "createTime", "updateTime")
        document |= {name: file.document[name] for name in kept if name in file.document}
        response = {"parent": store, "documentName": document["name"]}
        operation = {"name": f"{store}{path}/operations/{identifier()}", "done": True, "response": response}
        self.put(key, Owned(document))
        self.put(key, Owned(operation))
        return operation

    def owner(self, name: str) -> str | None:
        """Return the key whose project has a resource of that name, or None when no project has."""
        return next((key for key, owned in self._projects.items() if name in owned), None)


def identifier(length: int = 12) -> str:
    """Return a new random id."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def stamp(seconds: float) -> str:
    """Write a time as Google does."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def page(kind: str, items: Sequence[Json], size: str, token: str, default: int, *, owner: str = "") -> Json:
    """Return one page of a list; size and token are the query's, empty when it has none.

    A token is good for one owner only, so that nobody can continue the list of another project.
    """
    mark = f"{zlib.crc32(owner.encode()):08x}" if owner else ""
    try:
        start, length = int(token.removeprefix(mark) or 0), int(size or 0)
    except ValueError:
        raise RefusedError(INVALID_ARGUMENT) from None
    if token and not token.startswith(mark):
        raise RefusedError(INVALID_ARGUMENT)
    end = start + (length if length > 0 else default)
    found: Json = {kind: list(items[start:end])} if items[start:end] else {}
    return found | ({"nextPageToken": f"{mark}{end}"} if end < len(items) else {})


def file_name(uri: object) -> str:
    """Return the name of the file that a URI is about, or nothing when it is not about one of Google's."""
    found = _FILE.match(uri) if isinstance(uri, str) else None
    return found[1] if found else ""


def file_document(name: str, mime_type: str, made: float) -> Json:
    """Return what all files have in common."""
    return {
        "name": name,
        "mimeType": mime_type,
        "createTime": stamp(made),
        "updateTime": stamp(made),
        "expirationTime": stamp(made + 48 * 3600),
        "uri": f"https://{SERVICE}/v1beta/{name}",
        "state": "ACTIVE",
    }


def generated(name: str, mime_type: str, made: float, content: bytes | None = None) -> Owned:
    """Make a file that Google made, and that can be downloaded for this reason."""
    document = file_document(name, mime_type, made)
    document |= {"source": "GENERATED", "downloadUri": f"{document['uri']}:download?alt=media"}
    return Owned(document, made, content=content)


def _members(value: Any, found: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - JSON
    """Walk through a body: every member of its objects, by its name without underscores in lower case."""
    if isinstance(value, dict):
        for name, item in value.items():
            plain = name.replace("_", "").lower()
            yield f"{found}.{plain}", item
            yield from _members(item, plain)
    elif isinstance(value, list):
        for item in value:
            yield from _members(item, found)


def named(body: Json) -> Iterator[str]:
    """Find the names of owned resources in a body, wherever it has them and however it spells the members."""
    for path, value in _members(body):
        last = path.rpartition(".")[2]
        if path in {"filedata.fileuri", "inputconfig.filename", "input.uri", "content.uri"}:
            if name := file_name(value):
                yield name
        elif last == "cachedcontent" and isinstance(value, str):
            yield value if value.startswith("cachedContents/") else f"cachedContents/{value}"
        elif last == "filesearchstorenames" and isinstance(value, list):
            yield from (name for name in value if isinstance(name, str))
