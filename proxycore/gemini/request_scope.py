"""The scope of a request: its model, and the resources in it that belong to one key's project.

Google counts quotas per model, so benches are per model too. Files, cached contents, operations and the like
can only be used with a key of the project that created them, so a request that names one has to use that key.
Here such names are found in requests; `response_scanner` finds them in responses, and `rotation.affinity`
stores whose they are.

A resource's name is its collection and its id, as in `files/abc`. A resource inside another one
(`fileSearchStores/s/documents/d`) has the name of the outer one.

A large body is searched in pieces, between which other requests are served, and at most `MOST_NAMES` names
are found.
"""

import json
import re
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from typing import Any
from urllib.parse import unquote

from proxycore.gemini.lane import lane_of

COLLECTIONS = (
    "files|cachedContents|batches|operations|tunedModels|fileSearchStores|corpora|generatedFiles|interactions"
    "|agents|webhooks|triggers|environments|credentials|voices|decisions|auth_tokens"
)
"""The collections whose members belong to the project that created them, as a regular expression."""

_MODEL_IN_PATH = re.compile(r"/(models|tunedModels)/([^/:?]+)")
MOST_NAMES = 256
"""Different names of resources that are found in one request at most."""

_COLON = rb"\s{0,16}:\s{0,16}"  # bounded: every match has to fit into `_OVERLAP`
_MODEL_IN_BODY = re.compile(rb'"(?:model|agent)"%b"([^"\\]{1,256})"' % _COLON)
SEARCHED_AT_ONCE = 32 * 1024
"""Bytes of a body that are searched without yielding."""

_PARSED_WHOLE = 256 * 1024  # bytes; parsing takes up to 35 ms for each megabyte
_PIECE = 64 * 1024  # bytes that are searched in one step: 6 ms at most
_OVERLAP = 9 * 1024  # bytes: more than the longest match
_REMEMBERED = 256  # paths: most requests are for one of a few models
_LONGEST_NAME = 128  # characters: longer than any model's name, and a bound for what is stored

# On the OpenAI path a whole name is an id in the collection of the same name: `batches/batches/abc`.
_RESOURCE = re.compile(rf"(?:^|/)((?:{COLLECTIONS})/(?!(?:{COLLECTIONS})/)[^/:?#]+)")
_STRING = rb'"((?:[^"\\]|\\.){1,512})"'  # longer ones are no names, but may be megabytes of data
_FIELDS = rb"fileUri|file_uri|uri|fileName|file_name|input_file_id|cachedContent|cached_content|model"
_LISTS = rb"fileSearchStoreNames|file_search_store_names"
_PREVIOUS_FIELDS = rb"previous_interaction_id|previousInteractionId"
_CONTINUATION_FIELDS = rb"continuationToken|continuation_token"
# The lookahead dismisses most strings at once: a body of many has to be searched as fast as a long one.
_ANY_NAME = re.compile(
    rb'"(?=[cfimpu][ainor])(?:%b|%b|%b|%b)"' % (_FIELDS, _LISTS, _PREVIOUS_FIELDS, _CONTINUATION_FIELDS)
)
CONTINUATION = re.compile(rb'"(?:%b)"%b"((?:[^"\\]|\\.){1,8192})"' % (_CONTINUATION_FIELDS, _COLON))
"""The field of a request or a response with a continuation token, which is the first group."""

_NAME_IN_BODY = re.compile(rb'"(?:%b)"%b%b' % (_FIELDS, _COLON, _STRING))
_NAMES_IN_BODY = re.compile(rb'"(?:%b)"%b\[([^\]]{1,8192})' % (_LISTS, _COLON))
_STRINGS = re.compile(_STRING)
# Google's ids have no dots, but file names on the web do.
_WHOLE_NAME = re.compile(
    rf"(?:models/[^/]+/)?(?:{COLLECTIONS})/"
    rf"|https?://[^/]+/v\d\w*/(?:models/[^/]+/)?(?:{COLLECTIONS})/[\w-]+(?:[:?/]|$)"
)
_PREVIOUS = re.compile(rb'"(?:%b)"%b%b' % (_PREVIOUS_FIELDS, _COLON, _STRING))
_ID_PARAMETERS = frozenset({"previous_interaction_id", "previousInteractionId"})
_HANDLE = re.compile(rb'"handle"%b"([^"\\]{1,2048})"' % _COLON)  # of the session that a new one resumes
_ONE_BASE64 = str.maketrans("-_", "+/")  # from the alphabet of RFC 4648 §5 to that of §4
_NAMES_BY_ID = re.compile(r"/(?:interactions|triggers)\b")


@dataclass(frozen=True, slots=True)
class RequestScope:
    """What a request is about. `model` is empty if it names none, `lane` if its quotas are the model's.

    `resources` are the names of owned resources. `possible_resources` may be Google's own, which
    anyone can use (an agent), or not exist: they count only if their owner is known. The requests of one
    `group` use one key, as long as that is ready; those of one `conversation` prefer one project.
    """

    model: str
    resources: tuple[str, ...] = ()
    possible_resources: tuple[str, ...] = ()
    group: str = ""
    conversation: str = ""
    lane: str = field(default="", compare=False)

    @property
    def names_resource(self) -> bool:
        """Whether only the project of one key can serve the request."""
        return bool(self.resources)

    def __str__(self) -> str:
        return self.model or "no model"


Body = bytes | bytearray
"""A request's body."""


def scope_of(path: str, body: Body, query: str = "") -> RequestScope:
    """The scope of a request, from its path, body and query."""
    steps = scope_steps(path, body, query)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            scope: RequestScope = end.value
            return scope


def scope_steps(path: str, body: Body, query: str = "") -> Generator[None, None, RequestScope]:
    """As `scope_of`, yielding every few milliseconds; never for up to `SEARCHED_AT_ONCE` bytes."""
    if len(body) > SEARCHED_AT_ONCE:
        yield
    model = _model_in_path(path)
    document = {} if model else _parsed(body)
    in_path = resource_in(path)
    found = dict.fromkeys([in_path] if in_path else [])
    possible_resources: dict[str, None] = {}
    if query:
        _add(found, _names_in_query(query))
    model = model or _model_in(document)
    for start in range(0, len(body), _PIECE):
        if start:
            yield
        if not model and len(body) > _PARSED_WHOLE:
            model = _model_in_piece(body, start)
        if len(found) < MOST_NAMES and _ANY_NAME.search(body, start, start + _PIECE + _OVERLAP):
            _add(found, _names_in(body, start))
            _add(
                possible_resources,
                (continuation_name(match[1]) for match in _matches(CONTINUATION, body, start)),
            )
    if _NAMES_BY_ID.search(path):
        _add(found, _environments_in(document))
        _add(possible_resources, _agents_in(document))
    model = model[:_LONGEST_NAME]
    return RequestScope(model, tuple(found), tuple(possible_resources), lane=lane_of(model, path, body))


def session_steps(message: Body) -> Generator[None, None, RequestScope]:
    """The scope of a Live session, from its first message; steps as in `scope_steps`."""
    scope = yield from scope_steps("", message)
    names = [f"handle/{match[1].decode(errors='replace')}" for match in _HANDLE.finditer(message, 0, _PIECE)]
    event = _opening_event(_parsed(message)) if b'"event_type"' in message[:_PIECE] else {}
    if event.get("event_type") == "interaction.connect" and isinstance(event.get("id"), str):
        names.append(_named("interactions", event["id"]))
    model = scope.model or _model_in(event)[:_LONGEST_NAME]
    resources = (*scope.resources, *names)[:MOST_NAMES]
    return replace(scope, model=model, resources=resources, lane=lane_of(model, "", message))


def _opening_event(document: dict[str, Any]) -> dict[str, Any]:
    """The event that opens a live interaction: the message itself, or the first of its list."""
    events = document.get("events")
    event = events[0] if isinstance(events, list) and events else document
    return event if isinstance(event, dict) else {}


def continuation_name(token: bytes) -> str:
    """The resource name for a continuation token; `token` is as JSON writes it.

    A client may write the token in another form than it received it: the base64 content counts.
    """
    canonical = _unescaped(token).translate(_ONE_BASE64).rstrip("=")
    return "continuation/" + sha256(canonical.encode(errors="replace")).hexdigest()[:32]


@lru_cache(_REMEMBERED)
def _model_in_path(path: str) -> str:
    match = _MODEL_IN_PATH.search(path)
    if not match:
        return ""
    name = unquote(match[2])
    return f"tunedModels/{name}" if match[1] == "tunedModels" else name


def _add(found: dict[str, None], names: Iterable[str]) -> None:
    """Add names up to `MOST_NAMES` in total; consume no more than that."""
    for name in names:
        if len(found) >= MOST_NAMES:
            return
        found[name] = None


@lru_cache(_REMEMBERED)
def resource_in(path: str) -> str | None:
    """The name of the owned resource in a path, None if there is none."""
    match = _RESOURCE.search(unquote(path) if "%" in path else path)
    return match[1] if match else None


def _names_in_query(query: str) -> Iterator[str]:
    for part in query.split("&"):
        name, _, value = part.partition("=")
        value = unquote(value) if "%" in value else value
        if name in _ID_PARAMETERS and value:
            yield _named("interactions", value)
        elif _WHOLE_NAME.match(value) and (found := resource_in(value)):
            yield found


def _names_in(body: Body, start: int) -> Iterator[str]:
    """The names that begin in the piece of the body at `start`."""
    for match in _matches(_NAME_IN_BODY, body, start):
        yield from _name_of(match[1])
    for match in _matches(_NAMES_IN_BODY, body, start):
        for text in _STRINGS.finditer(match[1]):
            yield from _name_of(text[1])
    for match in _matches(_PREVIOUS, body, start):
        yield _named("interactions", _unescaped(match[1]))


def _matches(pattern: re.Pattern[bytes], body: Body, start: int) -> Iterator[re.Match[bytes]]:
    for match in pattern.finditer(body, start, start + _PIECE + _OVERLAP):
        if match.start() >= start + _PIECE:
            return  # the next piece begins with it
        yield match


def _name_of(text: bytes) -> Iterator[str]:
    value = _unescaped(text)
    if _WHOLE_NAME.match(value) and (name := resource_in(value)):
        yield name


def _environments_in(document: dict[str, Any]) -> Iterator[str]:
    # At other depths `environment` can mean anything: where a tool runs, or an argument of a function.
    value = document.get("environment") or document.get("environment_id")
    if isinstance(value, dict):
        value = value.get("environment_id") or value.get("environmentId")
    if isinstance(value, str) and value:
        yield _named("environments", value)


def _agents_in(document: dict[str, Any]) -> Iterator[str]:
    if isinstance(agent := document.get("agent"), str):
        yield _named("agents", agent)


def _named(collection: str, identifier: str) -> str:
    prefix = f"{collection}/"
    return identifier if identifier.startswith(prefix) else prefix + identifier


def _unescaped(text: bytes) -> str:
    plain = text.decode(errors="replace")
    if "\\" not in plain:
        return plain
    try:
        return str(json.loads(f'"{plain}"'))
    except ValueError:
        return plain


def _parsed(body: Body) -> dict[str, Any]:
    if len(body) > _PARSED_WHOLE:
        return {}
    try:
        document = json.loads(body, parse_int=float)  # int refuses thousands of digits
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _model_in(document: dict[str, Any]) -> str:
    setup = document.get("setup")  # with which a Live session begins
    named = setup if isinstance(setup, dict) else document
    model = named.get("model") or named.get("agent")
    return model.removeprefix("models/") if isinstance(model, str) else ""


def _model_in_piece(body: Body, start: int) -> str:
    match = next(_matches(_MODEL_IN_BODY, body, start), None)
    return match[1].decode(errors="replace").removeprefix("models/") if match else ""
