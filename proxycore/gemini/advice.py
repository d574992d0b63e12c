"""What to do about a key that Google refuses. Pure.

The first rule that matches decides: Google's reason, then the message, then the verdict. Reasons and messages
are those of public reports; `verdict` and `demo` have their sources.
"""

import re

from proxycore.gemini.errors import GoogleError
from proxycore.gemini.verdict import (
    CLIENT_ERROR,
    DEADLINE_EXCEEDED,
    KEYS_NOT_ACCEPTED,
    NOT_GOOGLE,
    REGION_BLOCKED,
    UPSTREAM_FAILURE,
    BenchScope,
    Reaction,
    Verdict,
)

UNREACHABLE = "check this machine's network, UPSTREAM_PROXY, UPSTREAM_CA_FILE and UPSTREAM_URL"

_KEYS = "https://aistudio.google.com/apikey"
_CREDENTIALS = "https://console.cloud.google.com/apis/credentials{project}"
_ENABLE = "https://console.developers.google.com/apis/api/generativelanguage.googleapis.com/overview{project}"


def _restricted(what: str, change: str) -> str:
    return f"the key is restricted to {what}: {change}, under {_CREDENTIALS}"


_DENIED = f"Google has denied its project: replace it with a key of another one, {_KEYS}"
_COUNTRY = "Google does not support its billing country: use a key of another billing account"
_CHECK = f"check the key and its project: {_CREDENTIALS}"
_FOR_SERVERS = "restrict it to IP addresses, or not at all"
_BY_REASON = {
    "SERVICE_DISABLED": f"enable the Gemini API in its project, and wait a few minutes: {_ENABLE}",
    "API_KEY_SERVICE_BLOCKED": _restricted("other APIs", "add the Generative Language API"),
    "API_KEY_IP_ADDRESS_BLOCKED": _restricted("other IP addresses", "add that of this machine"),
    "API_KEY_HTTP_REFERRER_BLOCKED": _restricted("web pages", _FOR_SERVERS),
    "API_KEY_ANDROID_APP_BLOCKED": _restricted("Android apps", _FOR_SERVERS),
    "API_KEY_IOS_APP_BLOCKED": _restricted("iOS apps", _FOR_SERVERS),
    "CONSUMER_SUSPENDED": f"Google has suspended it: replace it with a key of another project, {_KEYS}",
    "ACCESS_TOKEN_TYPE_UNSUPPORTED": (
        f"replace it with a new key, {_KEYS}; if it is new, wait a few minutes and check again"
    ),
}
_BY_WORDS = (
    (r"reported as leaked", f"it was leaked: delete it, and replace it with a new key, {_KEYS}"),
    (r"denied access", _DENIED),
    (r"billing country", _COUNTRY),
    (
        r"free tier is not available|without a billing account",
        f"enable billing in its project, {_KEYS}, or set UPSTREAM_PROXY to one in another country",
    ),
    (r"spend(?:ing)? cap", "raise the spending cap: https://ai.studio/spend"),
    (r"prepa(?:id|yment)|credits? (?:are|is|have)", "add credit: https://ai.studio/projects"),
    (r"limit: 0(?![\d.]*\d)", f"enable billing in its project, which has no quota without it: {_KEYS}"),
)
_BY_VERDICT = {
    REGION_BLOCKED: "Google does not support this server's region: set UPSTREAM_PROXY to a proxy elsewhere",
    NOT_GOOGLE: "the response is not from Google: check UPSTREAM_URL, UPSTREAM_PROXY and gateways in between",
    KEYS_NOT_ACCEPTED: "the server there does not accept API keys: check UPSTREAM_URL",
    UPSTREAM_FAILURE: "temporary error at Google: check again later",
    DEADLINE_EXCEEDED: "temporary error at Google: check again later",
    CLIENT_ERROR: "check UPSTREAM_URL: the server there does not respond like the Gemini API",
}
_BY_VERDICTS_REASON = {
    "project access denied": _DENIED,
    "billing country not supported": _COUNTRY,
    "spend-based rate limit exceeded": "wait, or raise the limit of its billing account: https://ai.studio/spend",
}
_BY_THEN = {
    Reaction.ENTITLED: f"enable billing in its project, or use a key of another project: {_KEYS}",
}
_BY_REST = {
    BenchScope.RETIRED: f"replace it with a new key: {_KEYS}",
    **dict.fromkeys(
        (BenchScope.KEY, BenchScope.PROJECT, BenchScope.ACCOUNT, BenchScope.CALLER, BenchScope.ORIGIN),
        _CHECK,
    ),
    BenchScope.MODEL: "wait until its quota resets{until}, add keys of other projects, or enable billing",
    BenchScope.NOTHING: UNREACHABLE,
}


def advice(verdict: Verdict, error: GoogleError, until: str) -> str:
    """What to do about a refusal. `until` is the date and time when a spent quota resets, empty for none."""
    text = _known(error) or _BY_VERDICT.get(verdict) or _BY_THEN.get(verdict.then) or _BY_REST[verdict.rest]
    project = f"?project={verdict.project}" if verdict.project.isdecimal() else ""
    return text.replace("{project}", project).replace("{until}", f" at {until}" if until else "")


def advice_on_reason(reason: str) -> str:
    """What to do about keys that are benched for the reason of a verdict."""
    return (_BY_REASON.get(reason) or _BY_VERDICTS_REASON.get(reason, _CHECK)).replace("{project}", "")


def is_known(error: GoogleError) -> bool:
    """Whether the error says what is wrong with the key or its project."""
    return bool(_known(error))


def _known(error: GoogleError) -> str:
    for reason, text in _BY_REASON.items():
        if reason in error.reasons:
            return text
    words = (text for words, text in _BY_WORDS if re.search(words, error.message, re.IGNORECASE))
    return next(words, "")
