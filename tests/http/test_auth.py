"""Who may call, and from which pages."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tornado.httputil import HTTPHeaders

from proxycore.http.auth import ClientKeys, offered_keys
from proxycore.http.cors import Cors

KEYS = ClientKeys({"default": "right-secret", "phone": "other-secret", "odd": "se?cr?et"})


def headers(*fields: tuple[str, str]) -> HTTPHeaders:
    made = HTTPHeaders()
    for name, value in fields:
        made.add(name, value)
    return made


# Client keys.


def test_without_keys_none_is_required() -> None:
    assert not ClientKeys({}).required
    assert ClientKeys({}).name_of(["anything", ""]) is None
    assert KEYS.required


@pytest.mark.parametrize(
    ("offered", "name"),
    [
        (["right-secret"], "default"),
        (["other-secret"], "phone"),
        (["se?cr?et"], "odd"),
        (["wrong", "", "other-secret"], "phone"),
        (["right-secret", "wrong"], "default"),
    ],
)
def test_one_right_key_is_enough_and_has_its_name(offered: list[str], name: str) -> None:
    assert KEYS.name_of(offered) == name


WRONG = {
    "none": [],
    "empty": [""],
    "wrong": ["wrong"],
    "shorter": ["right-secre"],
    "longer": ["right-secret-"],
    "with a space": ["right-secret "],
    "in capitals": ["RIGHT-SECRET"],
    "its name": ["default"],
    "with an accent": ["right-secr\xe9t"],
    "with a euro": ["right-secr\u20act"],
    "two in one": ["right-secretother-secret"],
    # A letter that has no place in a header is not the letter that stands in for it.
    "euro for a question mark": ["se\u20accr\u20acet"],
}


@pytest.mark.parametrize("offered", WRONG.values(), ids=WRONG)
def test_any_other_key_is_refused(offered: list[str]) -> None:
    assert KEYS.name_of(offered) is None


@given(st.lists(st.text("abz?\u20ac\xe9", max_size=3), max_size=3))
@settings(max_examples=200, deadline=None)
def test_no_offer_makes_it_fail_and_only_a_right_one_is_taken(offered: list[str]) -> None:
    keys = ClientKeys({"a": "ab?", "b": "zz"})
    assert (keys.name_of(offered) is not None) == bool({"ab?", "zz"} & set(offered))


# Where a request presents its key.

OFFERS = {
    "header": (headers(("x-goog-api-key", "abc")), "", ["abc"]),
    "bearer": (headers(("Authorization", "Bearer abc")), "", ["abc"]),
    "bearer in any case": (headers(("authorization", "bEaReR   abc")), "", ["abc"]),
    "query": (headers(), "alt=sse&key=abc", ["abc"]),
    "escaped in the query": (headers(), "key=a%2Fb", ["a/b"]),
    "several": (
        headers(("X-Goog-Api-Key", "one"), ("Authorization", "Bearer three"), ("X-Goog-Api-Key", "four")),
        "key=two",
        ["four", "one", "three", "two"],
    ),
    "basic": (headers(("Authorization", "Basic abc")), "", []),
    "token": (headers(("Authorization", "Token auth_tokens/abc")), "", []),
    "bare": (headers(("Authorization", "abc")), "", []),
    "other fields": (headers(("X-Api-Key", "abc"), ("Cookie", "key=abc")), "apikey=abc", []),
    "none": (headers(), "", []),
}


@pytest.mark.parametrize(("fields", "query", "offers"), OFFERS.values(), ids=OFFERS)
def test_every_place_of_a_key_is_looked_at(fields: HTTPHeaders, query: str, offers: list[str]) -> None:
    assert sorted(offered_keys(fields, query)) == offers


def test_a_right_key_counts_beside_wrong_ones_in_other_places() -> None:
    fields = headers(("x-goog-api-key", "wrong"), ("Authorization", "Bearer right-secret"))
    assert KEYS.name_of(offered_keys(fields, "key=wrong-too")) == "default"


# Pages of other origins.

LISTED = Cors(["https://app.example", "https://other.example:8443"])


@pytest.mark.parametrize("origin", ["https://app.example", "https://any.example", "null", None])
def test_a_star_lets_every_page_read(origin: str | None) -> None:
    fields = dict(Cors(["*"]).fields(origin))
    assert fields["Access-Control-Allow-Origin"] == "*"
    assert "Vary" not in fields


def test_a_listed_origin_is_echoed_and_caches_vary() -> None:
    fields = dict(LISTED.fields("https://other.example:8443"))
    assert fields["Access-Control-Allow-Origin"] == "https://other.example:8443"
    assert fields["Vary"] == "Origin"
    assert fields["Access-Control-Expose-Headers"]


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "",
        "null",
        "*",
        "http://app.example",
        "https://app.example.evil.example",
        "https://other.example",
        "https://app.example/",
    ],
)
def test_any_other_origin_may_not_read_and_caches_vary(origin: str | None) -> None:
    assert LISTED.fields(origin) == [("Vary", "Origin")]


@pytest.mark.parametrize("cors", [Cors(["*"]), LISTED], ids=["all", "listed"])
@pytest.mark.parametrize(
    "name",
    [
        "X-Goog-Upload-URL",
        "X-Goog-Upload-Status",
        "X-Goog-Upload-Chunk-Granularity",
        "Retry-After",
        "X-Request-Id",
    ],
)
def test_what_googles_browser_sdk_reads_is_exposed(cors: Cors, name: str) -> None:
    exposed = dict(cors.fields("https://app.example"))["Access-Control-Expose-Headers"]
    assert name in exposed.split(", ")


ASKED = (("Origin", "https://app.example"), ("Access-Control-Request-Method", "POST"))


def test_a_preflight_is_options_with_an_origin_and_a_method() -> None:
    assert Cors.is_preflight("OPTIONS", headers(*ASKED))
    assert not Cors.is_preflight("GET", headers(*ASKED))
    assert not Cors.is_preflight(None, headers(*ASKED))
    assert not Cors.is_preflight("OPTIONS", headers(ASKED[0]))
    assert not Cors.is_preflight("OPTIONS", headers(ASKED[1]))


def test_a_preflight_is_told_the_methods_and_its_own_headers() -> None:
    requested = "content-type,x-goog-api-client,x-goog-api-key"
    fields = dict(Cors.preflight_fields(headers(*ASKED, ("Access-Control-Request-Headers", requested))))
    assert fields["Access-Control-Allow-Headers"] == requested
    assert set(fields["Access-Control-Allow-Methods"].split(", ")) >= {
        "GET",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
    }
    assert int(fields["Access-Control-Max-Age"]) > 0


def test_a_preflight_that_asks_for_no_headers_is_told_none() -> None:
    assert "Access-Control-Allow-Headers" not in dict(Cors.preflight_fields(headers(*ASKED)))
