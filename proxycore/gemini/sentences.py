"""Parses Google's error messages, which count only if they consist of known sentences. Pure.

Google repeats in its messages what clients sent: names of fields, files and models, a referrer. So a message
counts only if all of it matches these sentences, with the variable parts that Google inserts. Their sources
are public reports unless noted: the documentation at ai.google.dev, and the issues named in `demo`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from proxycore.gemini.errors import Quota
from proxycore.gemini.retry_delay import seconds_in


class Kind(Enum):
    """The subject of a sentence."""

    INVALID_KEY = "the key is not valid, or expired"
    DEAD_KEY = "the key is suspended, or was found in public"
    NO_KEY = "API keys are not taken here, or none came"
    DENIED = "the project is denied access"
    COUNTRY = "the country of the billing account"
    DISABLED = "the API is disabled in the project"
    BLOCKED = "the key may not use this API"
    REFERRER = "the key may not be used from this page"
    CALLER = "the key may not be used from this address or app"
    FORBIDDEN = "the caller has no permission"
    OWNER = "the resource is not this project's"
    MONEY = "credit or a spending cap"
    SPENT_FAST = "spending too fast"
    QUOTA = "a quota is spent"
    STORAGE = "the quota of stored tokens is spent"
    TIER = "only projects of another tier or age may"
    UNKNOWN_MODEL = "a model that this project doesn't have"
    CLOSED_MODEL = "a model that nobody has any more"
    REGION_BLOCKED = "this place is not served"
    DEADLINE = "the upstream gave up after a long wait"


# Words that would make inserted text a statement.
_VERBS = (
    "is|are|was|were|be|been|has|have|had|does|do|did|can|cannot|could|must|may|should|would|will|failed"
    "|exceeds?|exceeded|invalid|unknown|unsupported|found|missing|denied|not|no"
)
# Patterns of the variable parts, by the names that the sentences use for them. Only `text` may be anything,
# and it is used only in sentences with little effect.
_VARIABLES = {
    "model": r"[\w.@-]{0,127}\w",
    "models": r"(?:publishers/[\w-]{1,64}/)?models/",
    "method": r"[\w.]{0,159}\w",
    "service": r"[\w.-]{0,99}\w",
    "version": r"v\w{1,20}",
    "number": r"[0-9]{4,24}",
    "project": r"(?:projects?[/ ])?[\w:.-]{0,79}\w",
    "consumer": r"[\w:./-]{1,200}",
    "metric": r"[\w./-]{0,159}\w",
    "quota": r"[\w ,()/.-]{1,160}",
    "limit": r"[0-9](?:[0-9.,]{0,24}[0-9])?",
    "time": r"[0-9][0-9.hms]{0,40}[hms]",
    "address": r"[0-9A-Fa-f.:]{2,45}",
    "plain": rf"(?:(?!(?:{_VERBS})\b)[A-Za-z'-]{{1,30}}(?:,? (?! )|(?![A-Za-z'-]))){{1,20}}(?<! )",
    "title": r"(?:Google )?(?:Generative Language|Gemini|Gemini Developer) API",
    "word": r"\w{1,40}",
    "url": r"[\w./?=&%#~+:-]{0,299}[\w/=#&-]",
    "text": r".{1,4000}",
}

_EXCEEDED = "You exceeded your current quota, please check your plan and billing details"
_LINE = "Quota exceeded for metric: {metric}, limit: {limit}"
_BY_METRIC = "Quota exceeded for quota metric '{quota}'"
_LIMIT = " and limit '{quota}'"
_SERVICE = " of service '{service}'"
_CONSUMER = " for consumer 'project_number:{number}'"
_CREDENTIALS = "Expected OAuth 2 access token, login cookie or other valid authentication credential"
_BLOCKED = "Requests to this API"
_ADDRESS = (
    "The provided API key has an IP address restriction. The originating IP address of the call ({address})"
    " violates this restriction"
)
_STORAGE = (
    "TotalCachedContentStorageTokensPerModel{model} limit exceeded for model {model}: limit={limit},"
    " requested={limit}"
)

SENTENCES: tuple[tuple[Kind, str], ...] = (
    (Kind.INVALID_KEY, "API key not valid. Please pass a valid API key"),
    (Kind.INVALID_KEY, "API key not found. Please pass a valid API key"),
    (Kind.INVALID_KEY, "API key expired. Please renew the API key"),
    (Kind.INVALID_KEY, "Please pass a valid API key"),
    (Kind.DEAD_KEY, "Your API key was reported as leaked. Please use another API key"),
    (Kind.DEAD_KEY, "Permission denied: Consumer '{consumer}' has been suspended"),
    (Kind.NO_KEY, "Method doesn't allow unregistered callers (callers without established identity)"),
    (Kind.NO_KEY, "API keys are not supported by this API"),
    (Kind.NO_KEY, "Request is missing required authentication credential. " + _CREDENTIALS),
    (Kind.DENIED, "Your project has been denied access"),
    (
        Kind.COUNTRY,
        "Access to {service} is restricted from your billing country and was denied for {project}",
    ),
    (Kind.DISABLED, "{title} has not been used in {project} before or it is disabled"),
    (Kind.BLOCKED, _BLOCKED + " {service} method {method} are blocked"),
    (Kind.BLOCKED, _BLOCKED + " {service} are blocked"),
    (Kind.BLOCKED, _BLOCKED + " method {method} are blocked"),
    (Kind.REFERRER, "Requests from referer {text} are blocked"),
    (Kind.CALLER, _ADDRESS),
    (Kind.CALLER, "Requests from this Android client application {text} are blocked"),
    (Kind.CALLER, "Requests from this iOS client application {text} are blocked"),
    (Kind.FORBIDDEN, "The caller does not have permission"),
    (Kind.FORBIDDEN, "Permission denied"),
    (Kind.OWNER, "You do not have permission to access the {word} {text} or it may not exist"),
    (Kind.OWNER, "CachedContent not found (or permission denied)"),
    (Kind.MONEY, "Your prepayment credits are depleted"),
    (Kind.MONEY, "Your prepaid credits are depleted"),
    (Kind.MONEY, "Your project has exceeded its monthly spending cap"),
    (Kind.MONEY, "Your billing account has exceeded its monthly spending cap"),
    (Kind.MONEY, "Your account has exceeded its monthly spending cap"),
    (Kind.SPENT_FAST, "You exceeded your spend-based rate limit"),
    (Kind.QUOTA, "Resource has been exhausted (e.g. check quota)"),
    (Kind.QUOTA, _EXCEEDED),
    (Kind.QUOTA, _LINE),
    (Kind.QUOTA, _LINE + ", model: {model}"),
    (Kind.QUOTA, _BY_METRIC),
    (Kind.QUOTA, _BY_METRIC + _LIMIT),
    (Kind.QUOTA, _BY_METRIC + _LIMIT + _SERVICE),
    (Kind.QUOTA, _BY_METRIC + _LIMIT + _SERVICE + _CONSUMER),
    (Kind.QUOTA, _BY_METRIC.replace("metric", "group") + _LIMIT + _SERVICE + _CONSUMER),
    (Kind.QUOTA, "Rate limit exceeded for model {model} (limit: {limit} {plain} on {plain})"),
    (Kind.STORAGE, _STORAGE),
    (Kind.TIER, "{word} API is only accessible to billed users at this time"),
    (Kind.TIER, "User location is not supported for the API use without a billing account linked"),
    (Kind.TIER, "Gemini API free tier is not available in your country"),
    (Kind.TIER, "This model {model} is no longer available to new users"),
    (Kind.TIER, "This model {models}{model} is no longer available to new users"),
    (Kind.TIER, "This model is no longer available to new users"),
    (Kind.TIER, "{models}{model} is no longer available to new users"),
    (
        Kind.UNKNOWN_MODEL,
        "{models}{model} is not found for API version {version}, or is not supported for {method}",
    ),
    (Kind.UNKNOWN_MODEL, "{model} is not found for API version {version}, or is not supported for {method}"),
    (Kind.CLOSED_MODEL, "{models}{model} is not found"),
    (Kind.CLOSED_MODEL, "{models}{model} is no longer available"),
    (Kind.CLOSED_MODEL, "This model {models}{model} is no longer available"),
    (Kind.REGION_BLOCKED, "User location is not supported for the API use"),
    (Kind.DEADLINE, "Deadline expired before operation could complete"),
)
"""Each without its final full stop."""

_FURTHER = (
    ". For more information on this error, head to: https://{url}",
    ". To monitor your current usage, head to: https://{url}",
    ". * " + _LINE,
    ". * " + _LINE + ", model: {model}",
    " * " + _LINE,
    " * " + _LINE + ", model: {model}",
    ". Please retry in {time}",
    " Please retry in {time}",
    ". Please go to AI Studio at https://{url}",
    ". Please go to AI Studio at https://{url} to {plain}",
    ". Please contact support",
    ". Please enable billing on your project in Google AI Studio",
    ". Please use API Key or other form of API consumer identity to call this API",
    ". Please update your code to use {plain}",
    ". Please update your code to use {models}{model}",
    ". Please update your code to use {models}{model} for the latest features and improvements",
    ". We recommend you to use the Interactions API",
    ". We recommend you to use the Interactions API (https://{url})",
    ". Your spending rate has exceeded the allowed limit for your account's billing history and tier",
    ". Expected OAuth2 access token or other {plain}",
    ". Call ListModels to see the list of available models and their supported methods",
    ". Call ModelService.ListModels to see the list of available models and their supported methods",
    ". Enable it by visiting https://{url} then retry",
    ". If you enabled this API recently, wait a few minutes {plain}",
    ". Learn more at https://{url}",
    ". See https://{url}",
    ". See https://{url} for {plain}",
    ". For more information, see https://{url}",
)
"""What may follow a sentence, except one that retires a key: nothing may follow that.

Each begins with its separator: only then is a message of many matched in linear time.
"""

_COMPLETE = frozenset({Kind.INVALID_KEY, Kind.DEAD_KEY})
_LONGEST = 8192  # characters; longer messages are not read, since a client's words can have any length
_CLOSE_BYTES = 123  # room in a close frame (RFC 6455 §5.5)
_LEAST_FIXED = 20  # fixed characters that a truncated sentence must have


@dataclass(frozen=True, slots=True)
class Sentence:
    """A parsed message: its subject, and the quotas, retry delay (seconds) and project that it names."""

    kind: Kind
    quotas: tuple[Quota, ...] = ()
    retry_delay: float | None = None
    project: str = ""


def one_line(message: str) -> str:
    """The message in one line, with single spaces and printable characters only."""
    line = " ".join(message.split())
    if line.isprintable():
        return line
    return " ".join("".join(letter if letter.isprintable() else " " for letter in line).split())


def read_sentence(line: str) -> Sentence | None:
    """Parse a whole message of one line; None if it is not one of Google's sentences."""
    found = _ANY.fullmatch(line) if len(line) <= _LONGEST else None
    if found is None or found.lastgroup is None:
        return None
    kind, template = SENTENCES[int(found.lastgroup[1:])]
    if kind in _COMPLETE and line[found.end(found.lastgroup) :] not in {"", "."}:
        return None
    if kind in {Kind.QUOTA, Kind.STORAGE}:
        return Sentence(kind, tuple(_quotas(line)), _retry_delay(line), _project(line))
    return Sentence(kind, (), _retry_delay(line), _project(line) if "{project}" in template else "")


def read_close(line: str) -> Sentence | None:
    """Parse a WebSocket's close reason. A long one is truncated, so its beginning is enough."""
    found = read_sentence(line)
    if found or len(line.encode()) < _CLOSE_BYTES - 3:  # the last character may not have fitted
        return found
    begun = (kind for kind, template in SENTENCES if _begins(template, line, alone=kind in _COMPLETE))
    return next(map(Sentence, begun), None)


def _quotas(line: str) -> Iterator[Quota]:
    for found in _COUNTED.finditer(line):
        metric, limit, quota, which, rate, what, stored = found.groups()
        name = metric or which or quota or what or "stored tokens"
        yield Quota(name, limit or rate or stored or "", metric or quota or "")


def _retry_delay(line: str) -> float | None:
    found = _RETRY_IN.search(line)
    return seconds_in(found[1]) if found else None


def _project(line: str) -> str:
    found = _PROJECT.search(line)
    return found[1] if found else ""


def _parts(template: str) -> list[str]:
    """The fixed texts of a template at even indices, the names of its variables at odd ones."""
    return re.split(r"\{(\w+)\}", template)


def _pattern(parts: list[str]) -> str:
    return "".join(f"(?:{_VARIABLES[part]})" if at % 2 else re.escape(part) for at, part in enumerate(parts))


def _begins(template: str, line: str, *, alone: bool) -> bool:
    """Whether the line begins this sentence or, unless `alone`, is it and the beginning of a further one."""
    whole = re.match(_pattern(_parts(template)), line, _FLAGS)
    if whole and not alone:
        rest = _MORE.sub("", line[whole.end() :], count=1)
        return any(_is_truncated(further, rest, 0) for further in _FURTHER)
    return _is_truncated(template, line, _LEAST_FIXED)


def _is_truncated(template: str, line: str, enough: int) -> bool:
    parts = _parts(template)
    fixed = 0
    for at, part in enumerate(parts):
        before = re.match(_pattern(parts[:at]), line, _FLAGS)
        if before is None:
            return False
        rest = line[before.end() :]
        if at % 2:
            if fixed >= enough and re.fullmatch(_VARIABLES[part], rest, _FLAGS):
                return True
        elif part.lower().startswith(rest.lower()):
            return fixed + len(rest) >= enough
        else:
            fixed += len(part)
    return False


_FLAGS = re.IGNORECASE | re.ASCII
_AFTER = rf"(?:{'|'.join(_pattern(_parts(further)) for further in _FURTHER)})*"
_ONES = "|".join(f"(?P<s{at}>{_pattern(_parts(template))})" for at, (_, template) in enumerate(SENTENCES))
_ANY = re.compile(rf"(?:{_ONES}){_AFTER}\.?", _FLAGS)
_MORE = re.compile(rf"^{_AFTER}", _FLAGS)
# Applied only to a message that matched as a whole.
_COUNTED = re.compile(
    r" metric: ([\w./-]+), limit: ([0-9.,]*[0-9])"
    r"| quota (?:metric|group) '([^']+)'(?: and limit '([^']+)')?"
    r"| \(limit: ([0-9.,]*[0-9]) ([a-z ]+) on "
    r"|: limit=([0-9.,]*[0-9])",
    _FLAGS,
)
_RETRY_IN = re.compile(r" retry in ([0-9.hms]*[hms])", re.ASCII)
_PROJECT = re.compile(r"project(?:s/|_number:| )([0-9]{4,20})(?![0-9])", re.ASCII)
