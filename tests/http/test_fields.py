"""What crosses the proxy and what does not: fields, credentials in queries, secrets in texts."""

import json
from urllib.parse import quote, unquote

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from proxycore.http.credentials import query_values, without_credentials
from proxycore.http.fields import (
    Fields,
    downstream_fields,
    upstream_fields,
    value_of,
    values_of,
    without,
)
from proxycore.http.redaction import Redactor

HOP_BY_HOP = [
    "Connection",
    "Keep-Alive",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy-Authentication-Info",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
]
CREDENTIALS = ["Authorization", "X-Goog-Api-Key", "X-Api-Key", "Cookie", "Cookie2"]
OF_THE_WAY = [
    "Host",
    "Forwarded",
    "Via",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Anything",
    "X-Original-Forwarded-For",
    "X-Real-IP",
    "True-Client-IP",
    "CF-Connecting-IP",
    "CF-IPCountry",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "X-Envoy-External-Address",
    "X-Azure-ClientIP",
    "X-AppEngine-User-IP",
    "Fastly-Client-IP",
    "Fly-Client-IP",
    "CDN-Loop",
]
FRAMING = ["Content-Length", "Expect"]
PASSED_UPSTREAM = [
    "Accept",
    "Accept-Encoding",
    "Accept-Language",
    "Api-Revision",
    "Content-Encoding",
    "Content-Type",
    "If-None-Match",
    "Origin",
    "Range",
    "Referer",
    "User-Agent",
    "X-Forwarded",
    "X-Client-Data",
    "X-Goog-Api-Client",
    "X-Goog-Request-Params",
    "X-Goog-Upload-Command",
    "X-Goog-User-Project",
    "X-Server-Timeout",
    "X-Stainless-Lang",
]
CORS = [
    "Access-Control-Allow-Origin",
    "Access-Control-Expose-Headers",
    "Access-Control-Allow-Credentials",
    "Access-Control-Anything",
]
PASSED_DOWNSTREAM = [
    "Cache-Control",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Length",
    "Content-Range",
    "Content-Type",
    "Date",
    "ETag",
    "Retry-After",
    "Server",
    "Server-Timing",
    "Set-Cookie",
    "Vary",
    "X-Gemini-Service-Tier",
    "X-Goog-Upload-Status",
]


def in_all_cases(names: list[str]) -> list[str]:
    return [form for name in names for form in (name, name.lower(), name.upper())]


# Header fields.


@pytest.mark.parametrize("name", in_all_cases(HOP_BY_HOP + CREDENTIALS + OF_THE_WAY + FRAMING))
def test_what_is_not_the_upstreams_business_does_not_go_upstream(name: str) -> None:
    fields = [("Accept", "*/*"), (name, "value"), ("Accept", "text/html")]
    assert upstream_fields(fields) == [("Accept", "*/*"), ("Accept", "text/html")]


@pytest.mark.parametrize("name", in_all_cases(PASSED_UPSTREAM))
def test_every_other_field_goes_upstream(name: str) -> None:
    assert upstream_fields([(name, "value"), (name, "")]) == [(name, "value"), (name, "")]


@pytest.mark.parametrize("name", in_all_cases([*HOP_BY_HOP, *CORS, "Alt-Svc"]))
def test_what_speaks_for_googles_origin_or_for_one_hop_does_not_go_downstream(name: str) -> None:
    fields = [("Date", "today"), (name, "value"), ("Date", "tomorrow")]
    assert downstream_fields(fields) == [("Date", "today"), ("Date", "tomorrow")]


@pytest.mark.parametrize("name", in_all_cases(PASSED_DOWNSTREAM))
def test_every_other_field_goes_downstream(name: str) -> None:
    assert downstream_fields([(name, "value"), (name, "")]) == [(name, "value"), (name, "")]


@pytest.mark.parametrize("way", [upstream_fields, downstream_fields])
def test_fields_that_connection_names_go_no_further(way: object) -> None:
    assert callable(way)
    fields = [
        ("X-One", "1"),
        ("Connection", "close, X-One ,x-TWO"),
        ("X-Two", "2"),
        ("x-three", "3"),
        ("connection", "X-Three"),
        ("X-Four", "4"),
        ("x-one", "again"),
    ]
    assert way(fields) == [("X-Four", "4")]


NAMES = st.sampled_from(
    [*HOP_BY_HOP, *CREDENTIALS, *OF_THE_WAY, *FRAMING, *CORS, *PASSED_UPSTREAM, "Alt-Svc"]
)
CASED = st.builds(lambda name, upper: name.upper() if upper else name.lower(), NAMES, st.booleans())
VALUES = st.one_of(st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=12), NAMES)
FIELDS = st.lists(st.tuples(CASED, VALUES), max_size=10)
NEVER_UPSTREAM = {name.lower() for name in HOP_BY_HOP + CREDENTIALS + OF_THE_WAY + FRAMING}
NEVER_DOWNSTREAM = {name.lower() for name in [*HOP_BY_HOP, *CORS, "Alt-Svc"]}


def named_by_connection(fields: Fields) -> set[str]:
    values = [value for name, value in fields if name.lower() == "connection"]
    return {token.strip().lower() for token in ",".join(values).split(",")}


def test_fields_are_looked_up_in_any_case_of_their_names() -> None:
    fields = [("Via", "a"), ("VIA", "b"), ("X-Other", "c")]
    assert (values_of(fields, "via"), values_of(fields, "age")) == (["a", "b"], [])
    assert (value_of(fields, "via"), value_of(fields, "age")) == ("a", "")
    assert without(fields, {"via", "age"}) == [("X-Other", "c")]


@given(FIELDS)
@settings(max_examples=150, deadline=None)
def test_all_the_rest_passes_in_order_and_unchanged_both_ways(fields: Fields) -> None:
    named = named_by_connection(fields)
    for way, never in ((upstream_fields, NEVER_UPSTREAM), (downstream_fields, NEVER_DOWNSTREAM)):
        assert way(fields) == [field for field in fields if field[0].lower() not in never | named]


@given(FIELDS)
@settings(max_examples=50, deadline=None)
def test_passing_on_leaves_the_fields_that_came_alone(fields: Fields) -> None:
    before = list(fields)
    upstream_fields(fields)
    downstream_fields(fields)
    assert fields == before


# Queries.

QUERIES = {
    "alone": ("key=abc", ""),
    "first": ("key=abc&alt=sse", "alt=sse"),
    "last": ("alt=sse&key=abc", "alt=sse"),
    "between": ("alt=sse&key=abc&pageSize=5", "alt=sse&pageSize=5"),
    "twice": ("key=abc&alt=sse&key=def", "alt=sse"),
    "empty": ("key=&alt=sse", "alt=sse"),
    "without value": ("key&alt=sse", "alt=sse"),
    "with a dollar": ("$key=abc&alt=sse", "alt=sse"),
    "with an escaped dollar": ("%24key=abc&alt=sse", "alt=sse"),
    "escaped": ("%6Bey=abc&alt=sse", "alt=sse"),
    "escaped whole": ("%6b%65%79=abc&alt=sse", "alt=sse"),
    "access_token": ("access_token=ya29.x&alt=sse", "alt=sse"),
    "oauth_token": ("oauth_token=ya29.x&alt=sse", "alt=sse"),
    "escaped access_token": ("%24access%5Ftoken=ya29.x&alt=sse", "alt=sse"),
    "empty parameters": ("&&key=abc&&alt=sse&", "&&&alt=sse&"),
}


@pytest.mark.parametrize(("query", "rest"), QUERIES.values(), ids=QUERIES)
def test_credentials_are_taken_out_of_a_query_and_the_rest_stays(query: str, rest: str) -> None:
    assert without_credentials(query) == rest


@pytest.mark.parametrize(
    "query",
    [
        "",
        "&",
        "=",
        "alt=sse",
        "%24alt=json%3Benum-encoding%3Dint",
        "a=1&a=2&&b&=c&a=",
        "keys=1&monkey=2&key2=3&KEY=4&Key=5&apikey=6&key%20=7",
        "q=a+b%20c%2Fd&x=%zz&y=%",
        "fields=key&filter=key%3Dabc",
        "alt=sse;key=abc",
        "q=\xff\xfe",
    ],
)
def test_a_query_without_credential_stays_byte_for_byte(query: str) -> None:
    assert without_credentials(query) == query


PART = st.text(st.characters(codec="latin-1", exclude_characters="&"), max_size=12)
CREDENTIAL_PART = st.builds(
    lambda name, value: f"{name}={value}",
    st.sampled_from(["key", "%6bey", "$key", "%24key", "access_token", "$oauth_token"]),
    PART,
)


def is_credential(part: str) -> bool:
    name = unquote(part.split("=", 1)[0])
    return name.removeprefix("$") in {"key", "access_token", "oauth_token"}


@given(st.lists(PART | CREDENTIAL_PART, min_size=1, max_size=8))
@example(["=key", "key", "a=key"])
@settings(max_examples=200, deadline=None)
def test_of_any_query_all_that_is_no_credential_stays_in_order(parts: list[str]) -> None:
    kept = [part for part in parts if not is_credential(part)]
    assert without_credentials("&".join(parts)) == "&".join(kept)


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("", []),
        ("alt=sse", []),
        ("key=abc", ["abc"]),
        ("key=abc&alt=sse&%6Bey=d%2Fe", ["abc", "d/e"]),
        ("$key=abc", ["abc"]),
        ("key=a=b", ["a=b"]),
        ("key=a+b", ["a+b"]),
        ("key=", [""]),
        ("access_token=abc", []),
        ("KEY=abc", []),
    ],
)
def test_the_keys_in_a_query_are_read_percent_decoded(query: str, keys: list[str]) -> None:
    assert query_values(query, "key") == keys


# Secrets.

SECRET = "AQ.Ab8-made_up/se+cr=et"
REDACTOR = Redactor({SECRET: "key 1"})
FORMS = {
    "as it is": SECRET,
    "percent-encoded": quote(SECRET, safe=""),
    "percent-encoded in lower case": quote(SECRET, safe="").replace("%2F", "%2f").replace("%2B", "%2b"),
    "percent-encoded but for slashes": quote(SECRET),
    "JSON with escaped slashes": SECRET.replace("/", "\\/"),
    "JSON with escaped signs": SECRET.replace("=", "\\u003d").replace("+", "\\u002b"),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_secret_is_found_in_every_form_that_urls_and_json_give_it(form: str) -> None:
    text = f'{{"message": "Consumer \'api_key:{form}\' has been suspended."}}'
    shown = text.replace(form, "[key 1]")
    assert REDACTOR.text(text) == shown
    assert REDACTOR.data(text.encode()) == shown.encode()
    assert REDACTOR.fields([("X-Note", form), ("X-Other", "a")]) == [("X-Note", "[key 1]"), ("X-Other", "a")]


def test_a_secret_with_quotes_is_found_in_json() -> None:
    redactor = Redactor({'pass"word\\1': "client key a"})
    assert json.loads(redactor.text(json.dumps({"a": 'my pass"word\\1!'}))) == {"a": "my [client key a]!"}


def test_every_occurrence_is_replaced_even_without_a_gap() -> None:
    assert REDACTOR.text(SECRET * 3 + "x" + SECRET) == "[key 1][key 1][key 1]x[key 1]"


@pytest.mark.parametrize("order", [1, -1], ids=["short first", "long first"])
def test_a_key_that_begins_with_another_is_not_half_redacted(order: int) -> None:
    start = "a-long-secret-key"
    names = {start: "key 1", f"{start}-and-more": "key 2", f"{start}-and": "key 3"}
    redactor = Redactor(dict(list(names.items())[::order]))
    text = redactor.text(f"{start}-and-more, {start}-and, {start}; {start}-and-mor")
    assert text == "[key 2], [key 3], [key 1]; [key 3]-mor"


def test_text_without_a_secret_is_the_same_object() -> None:
    data = b'{"candidates": [{"content": {"parts": [{"text": "long enough to hold a secret"}]}}]}'
    text = data.decode()
    assert REDACTOR.data(data) is data
    assert REDACTOR.text(text) == text
    assert REDACTOR.data(b"short") is not None
    assert REDACTOR.data(b"") == b""


@pytest.mark.parametrize(
    "secret", ["test", "200", "a", "key", "Error", "gem-2", "AIzaA", "k1", "a.b", "it's", "p@ss"]
)
def test_a_short_secret_changes_no_other_words(secret: str) -> None:
    redactor = Redactor({secret: "key 1"})
    text = f"latest {secret}s x{secret} my-{secret}-flash 2{secret} _{secret} a{secret}.5 tested 1200"
    assert redactor.text(text) == text
    assert redactor.fields([("X-Latest", text)]) == [("X-Latest", text)]


ALONE = [
    "{}",
    "api_key:{}",
    "'{}'",
    'a "{}"',
    "the key {}.",
    "\\n{}\\n",
    "%27{}%27",
    "?k={}&a",
    "\\u0027{},",
]


@pytest.mark.parametrize("secret", ["AIzaA", "k1", "gem-2", "sk.b/+", "a_b"])
@pytest.mark.parametrize("around", ALONE)
def test_a_short_secret_that_stands_alone_is_replaced(secret: str, around: str) -> None:
    redactor = Redactor({secret: "key 1"})
    assert redactor.text(around.format(secret)) == around.format("[key 1]")


@pytest.mark.parametrize("secret", ["test", "200", "a", "Error", "KEY"])
def test_a_secret_that_is_a_plain_word_is_replaced_where_it_is_the_whole_text(secret: str) -> None:
    redactor = Redactor({secret: "key 1", "a-long-secret-key": "key 2"})
    assert redactor.text(secret) == "[key 1]"
    fields = [("A", secret), ("B", f"{secret} it is")]
    assert redactor.fields(fields) == [("A", "[key 1]"), ("B", f"{secret} it is")]
    assert redactor.text(f"{secret} a-long-secret-key") == f"{secret} [key 2]"


def test_a_field_that_is_named_after_a_secret_is_dropped() -> None:
    redactor = Redactor({"a-long-secret-key": "key 1"})
    assert redactor.fields([("X-a-long-secret-key", "1"), ("B", "\xe9")]) == [("B", "\xe9")]


def test_a_keys_name_in_any_alphabet_can_be_a_fields_value() -> None:
    redactor = Redactor({"a-long-secret-key": "key \u952e"})
    assert redactor.fields([("A", "a-long-secret-key")]) == [("A", "[key \\u952e]")]


def test_without_secrets_nothing_is_looked_for() -> None:
    redactor = Redactor({})
    data = b"anything"
    assert redactor.data(data) is data
    assert redactor.text("anything") == "anything"
    assert redactor.fields([("a", "b")]) == [("a", "b")]


def test_bytes_that_are_no_text_stay_as_they_are_around_a_secret() -> None:
    assert REDACTOR.data(b"\xff\x00" + SECRET.encode() + b"\xfe") == b"\xff\x00[key 1]\xfe"


@pytest.mark.parametrize("code", [0, 0xD800, 0xDBFF, 0xDC80, 0xDFFF, 0xE000, 0x1F511], ids=hex)
def test_text_of_any_kind_can_be_redacted(code: int) -> None:
    # A lone surrogate can come from a JSON escape in a request.
    odd = chr(code)
    assert REDACTOR.text(f"{odd} {SECRET} {odd}") == f"{odd} [key 1] {odd}"


# Names in capitals and secrets in small letters: so no name can make up a secret.
SECRETS = st.dictionaries(
    st.text('abc/+=%"\\-', min_size=16, max_size=20), st.text("KEYS ", min_size=1, max_size=5), max_size=4
)
AROUND = st.lists(st.text('abc/+=%"\\- \u00e9', max_size=6), min_size=1, max_size=5)


@given(SECRETS, AROUND, st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_no_secret_survives_in_any_text(names: dict[str, str], around: list[str], source: object) -> None:
    assume(names)
    choice = getattr(source, "choice")  # noqa: B009 - hypothesis types its source loosely
    text = "".join(part + choice(list(names)) for part in around)
    redacted = Redactor(names).text(text)
    assert not [secret for secret in names if secret in redacted]
    assert Redactor(names).data(text.encode()) == redacted.encode()


@given(SECRETS, st.text("xyz \u00e9", max_size=40))
@settings(max_examples=100, deadline=None)
def test_text_in_which_no_secret_is_stays_the_same(names: dict[str, str], text: str) -> None:
    assert Redactor(names).text(text) == text
    data = text.encode()
    assert Redactor(names).data(data) is data
