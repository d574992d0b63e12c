"""Odd input of clients and the upstream: there is always a response, and never an internal error."""

import asyncio
import base64
import contextlib
import json
import logging
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxycore.gemini.errors import read_error
from proxycore.gemini.judge import judge
from proxycore.gemini.list_pages import page_for, page_start, query_at
from proxycore.gemini.request_scope import scope_of
from proxycore.gemini.response_scanner import ResponseScanner
from proxycore.gemini.token_usage import usage_in
from proxycore.gemini.upload_protocol import upload_name
from proxycore.http.credentials import credential_part, query_values, without_credentials
from proxycore.relay.lists import _document_of
from tests.support.proxy import KEYS, Proxy, proxy
from tests.support.wire import RawUpstream, Script, Seen, always, answer, ask

GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
MANY = "1" * 5000

pytestmark = [pytest.mark.usefixtures("io_loop"), pytest.mark.timeout(seconds=30)]


@contextlib.asynccontextmanager
async def calmly(
    script: Script, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[tuple[Proxy, RawUpstream]]:
    """The proxy before this upstream; nothing may fail in it."""
    with caplog.at_level(logging.INFO):
        async with RawUpstream(script) as upstream, proxy(upstream.url, MAX_WAIT="0") as here:
            yield here, upstream
            shown = await ask(here.port, "GET", "/status.json", ("Host", "localhost"))
            assert shown.status == 200
            json.loads(shown.body)
            assert (await ask(here.port, "GET", "/metrics", ("Host", "localhost"))).status == 200
    assert "Traceback" not in caplog.text
    assert "internal error" not in caplog.text


def failure(**violation: object) -> object:
    return [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}]


ERRORS: dict[str, str | dict[str, object]] = {
    "a value of 5000 digits": {"details": failure(quotaId="RequestsPerDay", quotaValue=MANY)},
    "a number of 5000 digits": f'{{"error": {{"code": {MANY}, "message": "x", "status": "X"}}}}',
    "infinity": '{"error": {"code": 1e999, "message": "x", "details": [{"retryDelay": NaN}]}}',
    "a delay of 5000 digits": {"details": [{"@type": "x.RetryInfo", "retryDelay": MANY + "s"}]},
    "a delay of dots": {
        "details": [{"@type": "x.RetryInfo", "retryDelay": "1.2.3s"}],
        "message": "retry in 1..2s",
    },
    "details in words": {"details": "x"},
    "details of anything": {"details": [None, 1, "x", [], {"@type": 7}, {"@type": None}]},
    "no violations": {"details": [{"@type": "x.QuotaFailure", "violations": None}]},
    "violations of anything": {
        "details": [{"@type": "x.QuotaFailure", "violations": [1, None, [], {"quotaId": []}]}]
    },
    "dimensions in a list": {
        "details": failure(quotaId="PerMinute", quotaDimensions=[1], quotaValue={"a": 1})
    },
    "metadata is a number": {"details": [{"@type": "x.ErrorInfo", "metadata": 7, "reason": ["x"]}]},
    "links in words": {"details": [{"@type": "x.Help", "links": "x"}]},
    "a surrogate": {"message": "\ud800", "details": [{"@type": "x.ErrorInfo", "reason": "\udfff"}]},
    "a number": "7",
    "an empty list": "[]",
    "a list of lists": "[[[]]]",
    "a word": '{"error": "x"}',
    "null": '{"error": null}',
    "half an error": '{"error": {"code":',
    "deep": "[" * 100_000,
    "deep in an error": '{"error": {"details": ' + "[" * 100_000,
}


@pytest.mark.parametrize("status", [400, 403, 404, 429])
@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
async def test_an_upstreams_error_of_any_make_is_no_fault_of_ours(
    error: str | dict[str, object], status: int, caplog: pytest.LogCaptureFixture
) -> None:
    written = {"code": status, "message": "x"}
    body = error if isinstance(error, str) else json.dumps({"error": written | error})
    after = ("Retry-After", "9" * 5000)
    async with calmly(always(answer(status, body.encode(), after)), caplog) as (here, _):
        got = await ask(here.port, "POST", GENERATE, body=b"{}")
        assert got.status >= 400
        assert (await ask(here.port, "POST", GENERATE, body=b"{}")).status >= 400


LISTS = {
    "no list": ['{"files": "x"}', '{"files": [{"name": "files/b"}]}'],
    "a list, and none": ['{"files": [{"name": "files/a"}]}', '{"files": "x"}'],
    "null": ['{"files": null}', '{"files": [{"name": "files/b"}]}'],
    "a number": ["7", '{"files": 7}'],
    "an array": ["[]", '[{"files": []}]'],
    "nested": ['{"files": [[[]], {"a": {"b": []}}]}', '{"files": {"a": []}}'],
    "infinity": ['{"files": [1e999]}', '{"files": [NaN, Infinity]}'],
    "5000 digits": [f'{{"files": [{MANY}]}}', '{"files": []}'],
    "surrogates": ['{"files": ["\\ud800"], "nextPageToken": "\\udfff"}', "{}"],
    "an odd token": ['{"files": [], "nextPageToken": {"a": [1]}}', '{"files": []}'],
    "deep": ['{"files": ' + "[" * 900 + "]" * 900 + "}", '{"files": []}'],
    "too deep": ['{"files": ' + "[" * 100_000, '{"files": []}'],
    "no JSON": ["<html>", ""],
    "no UTF-8": ['{"files": ["\xff"]}', "\xfe"],
}


@pytest.mark.parametrize("bodies", LISTS.values(), ids=LISTS)
async def test_an_upstreams_list_of_any_make_is_no_fault_of_ours(
    bodies: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def script(seen: Seen, writer: asyncio.StreamWriter) -> None:
        second = seen.key == KEYS["GOOGLE_API_KEY_2"]
        writer.write(answer(200, bodies[second].encode("latin-1")))

    async with calmly(script, caplog) as (here, _):
        got = await ask(here.port, "GET", "/v1beta/files")
        if got.body.decode("latin-1") in bodies:
            return  # no key's list can be read, so that the client gets to see the last one
        document = json.loads(got.body)
        assert (got.status, "error" in document) in {(200, False), (500, True)}
        if token := document.get("nextPageToken"):
            assert (await ask(here.port, "GET", f"/v1beta/files?pageToken={token}")).status in {200, 400}


TOKENS = [
    '["","\\ud800"]',
    '["1","\\udfff\\ud800"]',
    '["1"]',
    "[1,2]",
    '"ab"',
    '{"a":1,"b":2}',
    f"[{MANY},1]",
]


@pytest.mark.parametrize("token", [*TOKENS, "[" * 50_000], ids=range(8))
async def test_a_page_token_of_any_make_is_told_to_be_none(
    token: str, caplog: pytest.LogCaptureFixture
) -> None:
    given_back = base64.urlsafe_b64encode(token.encode()).decode()[:8000]
    async with calmly(always(answer(200, b"{}")), caplog) as (here, upstream):
        got = await ask(here.port, "GET", f"/v1beta/files?pageToken={given_back}")
        assert (got.status, json.loads(got.body)["error"]["status"]) == (400, "INVALID_ARGUMENT")
        assert upstream.seen == []


BODIES = [
    '{"model": "\\ud800", "setup": []}',
    f'{{"model": "gemini-2.5-flash", "seed": {MANY}}}',
    '{"model": ["x"], "agent": 7}',
    '{"fileUri": "files/\\udfff", "cachedContent": "cachedContents/\\ud800"}',
    "[" * 100_000,
    '{"previous_interaction_id": "\\ud800", "environment": {"environment_id": "\\ud800"}}',
]


@pytest.mark.parametrize("target", ["/v1beta/interactions", "/v1beta/openai/chat/completions", GENERATE])
async def test_a_request_of_any_make_goes_on_as_it_is(target: str, caplog: pytest.LogCaptureFixture) -> None:
    async with calmly(always(answer(200, b"{}")), caplog) as (here, upstream):
        for body in BODIES:
            assert (await ask(here.port, "POST", target, body=body.encode())).status == 200
        assert [seen.body.decode() for seen in upstream.seen] == BODIES


# The parts that read, with anything at all.

NAMES = st.sampled_from(
    (
        *("error", "code", "message", "status", "details", "@type", "violations", "quotaId", "quotaValue"),
        *("metadata", "reason", "consumer", "quota_limit", "quota_limit_value", "retryDelay", "files"),
        *("nextPageToken", "model", "setup", "agent", "environment"),
    )
)
WORDS = st.sampled_from(
    [
        "x.QuotaFailure",
        "x.RetryInfo",
        "x.ErrorInfo",
        "PerDay",
        "RequestsPerMinute",
        MANY,
        MANY + "s",
        "\ud800",
        "0",
    ]
)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
ERROR = st.fixed_dictionaries({"error": st.dictionaries(NAMES, ANY, max_size=5)})
DETAILED = st.builds(
    lambda details: {"error": {"details": details}}, st.lists(st.dictionaries(NAMES, ANY | WORDS), max_size=3)
)
BYTES = st.binary(max_size=200) | (ANY | ERROR | DETAILED).map(lambda value: json.dumps(value).encode())
FIELDS = st.lists(
    st.tuples(
        st.sampled_from(["Retry-After", "Content-Encoding"]),
        st.text(st.characters(max_codepoint=255), max_size=20)
        | st.sampled_from(["gzip", "br", MANY, "0", "-1"]),
    ),
    max_size=2,
)


@given(st.sampled_from([400, 401, 402, 403, 404, 429, 500, 599]), FIELDS, BYTES, st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_answer_is_judged(status: int, fields: list[tuple[str, str]], body: bytes, named: bool) -> None:
    judge(status, fields, body, now=1.8e9, names_resource=named)
    if error := read_error(body):
        assert error.retry_delay is None or error.retry_delay >= 0


@given(st.lists(BYTES, max_size=4))
@settings(max_examples=150, deadline=None)
def test_any_lists_make_a_page(bodies: list[bytes]) -> None:
    page = page_for("/v1/files", "")
    for body in bodies:
        document = _document_of(body)
        if document is not None:
            page.add("1", document)
    assert isinstance(json.loads(page.body()), dict)
    if page.next_start and (place := page_start(f"pageToken={page.next_start}")):
        query_at("", place.token)


@given(BYTES, st.text(max_size=30))
@settings(max_examples=150, deadline=None)
def test_any_page_token_and_any_query_are_read(token: bytes, text: str) -> None:
    for query in (
        f"pageToken={base64.urlsafe_b64encode(token).decode()}&pageSize={text}",
        text,
        f"page.token={text}",
    ):
        page_for("/v1/files", query)
        if place := page_start(query):
            query_at(query, place.token)
        upload_name(query)
        query_values(query, "key")
        assert credential_part(without_credentials(query)) == ""


@given(st.text(max_size=30), BYTES, st.text(max_size=40))
@settings(max_examples=150, deadline=None)
def test_any_request_has_a_scope_and_any_response_a_lesson(path: str, body: bytes, query: str) -> None:
    for at in (path, f"/v1/interactions/{path}", f"/v1/models/{path}"):
        str(scope_of(at, body, query))
        ResponseScanner(at, []).scan(body)
    usage_in(body)
