"""One list out of those of several keys: every item once, in order, and no page for nothing."""

import base64
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxycore.gemini.list_pages import LIST_PATHS, Page, PageStart, page_for, page_start, query_at

TEXT = st.text(max_size=30)


@dataclass
class Upstream:
    """Keys with items of their own, listed in pages as Google lists them."""

    items: dict[str, list[str]]
    largest: int  # page that it gives, whatever is asked for
    prudent: bool  # whether it says that there may be more when a page is just full
    snake: bool

    def list(self, key: str, query: str) -> dict[str, Any]:
        values = parse_qs(query, strict_parsing=bool(query))
        size = int(values.get("pageSize", values.get("page_size", ["50"]))[0])
        token = values.get("pageToken", values.get("page_token", ["at 0&/"]))[0]
        start = int(token.removeprefix("at ").removesuffix("&/"))
        end = start + min(size, self.largest)
        items = self.items[key][start:end]
        # An empty list is not written at all.
        answer: dict[str, Any] = {"items": [{"name": item} for item in items]} if items else {}
        left = len(self.items[key]) - end
        if left > 0 or (self.prudent and left == 0 and items):
            answer["next_page_token" if self.snake else "nextPageToken"] = f"at {end}&/"
        return answer


def page_at(upstream: Upstream, path: str, query: str) -> Page:
    """One page, put together from as many keys as it takes."""
    place, page, keys = page_start(query), page_for(path, query), list(upstream.items)
    assert place is not None
    token = place.token
    for key in keys[keys.index(place.key) if place.key else 0 :]:
        if not page.add(key, upstream.list(key, query_at(query, token))):
            break
        token = ""
    return page


@given(
    st.dictionaries(st.text(min_size=1, max_size=8), st.integers(0, 25), min_size=1, max_size=8),
    st.integers(1, 30) | st.none(),
    st.integers(1, 30),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=400, deadline=None)
def test_walking_the_pages_shows_every_item_once_in_the_keys_order(
    counts: dict[str, int], size: int | None, largest: int, prudent: bool, snake: bool
) -> None:
    owned = {key: [f"{key}/{number}" for number in range(count)] for key, count in counts.items()}
    upstream = Upstream(owned, largest, prudent, snake)
    path = "/v1/interactions" if snake else "/v1/files"
    size_name, token_name = ("page_size", "page_token") if snake else ("pageSize", "pageToken")
    asked = f"x=1&{size_name}={size}" if size else "x=1"
    query, seen = asked, []
    for _ in range(sum(counts.values()) + 1):
        document = json.loads(page_at(upstream, path, query).body())
        items = [item["name"] for item in document.pop("items", [])]
        token = document.pop("next_page_token" if snake else "nextPageToken", "")
        assert document == {}
        assert len(items) <= (size or 50)
        assert items or not token
        seen += items
        query = f"{asked}&{token_name}={token}"
        if not token:
            break
    assert not token
    assert seen == [item for items in owned.values() for item in items]


@given(st.lists(st.integers(0, 12), min_size=1, max_size=8), st.integers(1, 12))
@settings(max_examples=200, deadline=None)
def test_a_page_takes_in_every_key_that_it_has_room_for(counts: list[int], size: int) -> None:
    page, taken = page_for("/v1/files", f"pageSize={size}"), 0
    for number, count in enumerate(counts):
        fits = not count or not taken or taken + count <= size
        assert page.add(str(number), {"files": [{}] * count}) is fits
        if not fits:
            assert page.next_start == PageStart(str(number))
            break
        taken += count
    else:
        assert page.next_start is None
    assert page.count == taken == len(json.loads(page.body()).get("files", []))


def test_a_page_ends_with_a_key_that_has_more() -> None:
    page = page_for("/v1/batches", "pageSize=10")
    assert page.add("1", {"batches": [{"name": "batches/a"}]})
    assert not page.add("2", {"batches": [{"name": "batches/b"}], "nextPageToken": "more"})
    assert page.next_start == PageStart("2", "more")


def test_what_else_a_key_says_is_kept_from_the_first_that_says_it() -> None:
    page = page_for("/v1/files", "")
    page.add("1", {"files": ["a"], "object": "list", "nextPageToken": ""})
    page.add("2", {"files": ["b"], "unreachable": ["z"], "object": "other", "total": 5})
    assert json.loads(page.body()) == {
        "files": ["a", "b"],
        "unreachable": ["z"],
        "object": "list",
        "total": 5,
    }


@pytest.mark.parametrize("token", ["nextPageToken", "next_page_token"])
@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/files", "nextPageToken"),
        ("/v1beta/fileSearchStores", "nextPageToken"),
        ("/v1/interactions", "next_page_token"),
        ("/v1/agents/", "next_page_token"),
        ("//v1/environments", "next_page_token"),
        ("/v1/triggers", "next_page_token"),
    ],
)
def test_the_next_page_is_named_as_the_collection_names_it(token: str, path: str, name: str) -> None:
    page = page_for(path, "")
    assert not page.add("1", {"them": [1], token: "möre"})
    body = json.loads(page.body())
    assert body.keys() == {"them", name}
    assert page_start(f"pageToken={body[name]}") == PageStart("1", "möre")


def test_a_page_is_written_as_utf_8_and_an_empty_one_as_an_object() -> None:
    page = page_for("/v1/files", "")
    assert json.loads(page.body()) == {}
    page.add("1", {"files": [{"displayName": "schön"}]})
    assert "schön" in page.body().decode()
    page.add("2", {"files": [{"displayName": "half of a pair: \ud83d"}]})
    assert len(json.loads(page.body())["files"]) == 2


@given(TEXT, TEXT)
def test_a_page_start_survives_a_query(key: str, token: str) -> None:
    place = PageStart(key, token)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", str(place))
    for name in ("pageToken", "page_token", "page.token", "page%54oken"):
        assert page_start(f"a=b&{name}={place}&pageSize=3") == place


@pytest.mark.parametrize("query", ["", "pageSize=5", "pageToken=", "pageToken&x=1", "mypageToken=abc"])
def test_without_a_token_the_list_begins_with_the_first_key(query: str) -> None:
    assert page_start(query) == PageStart()


STRANGE = ["abc", "A", "CgwIk5eJvQYQ", "%FF", "e30", "MQ", "WyJhIl0", "WyJhIiwiYiIsImMiXQ", "bnVsbA", "é"]
STRANGE.append(base64.urlsafe_b64encode(b"[" * 40_000).decode())


@pytest.mark.parametrize("token", STRANGE)
def test_a_token_that_is_not_ours_is_no_page_start(token: str) -> None:
    # Google's own, say, or ours cut short.
    assert page_start(f"pageToken={token}") is None


@given(st.text() | st.text("WyJhIiwiYiJd[]{}=-_%", max_size=20))
@settings(max_examples=300, deadline=None)
def test_no_query_makes_it_fail(text: str) -> None:
    for query in (text, f"pageToken={text}&pageSize={text}"):
        assert isinstance(page_start(query), PageStart | None)
        assert page_for("/v1/files", query).size > 0
        query_at(query, text)


REWRITTEN = {
    "nothing": ("", "", ""),
    "a token alone": ("", "t", "pageToken=t"),
    "in place of ours": ("pageToken=ours", "t", "pageToken=t"),
    "ours dropped": ("pageSize=5&pageToken=ours", "", "pageSize=5"),
    "every spelling": ("page_token=1&page.token=2&page%54oken=3&a=b", "t", "a=b&page_token=t"),
    "as the size is spelt": ("page_size=5&page_token=ours", "t", "page_size=5&page_token=t"),
    "the rest as it was": (
        "%24alt=json&x=%2f+%2F&&y&pageToken=o&z=",
        "t",
        "%24alt=json&x=%2f+%2F&y&z=&pageToken=t",
    ),
    "escaped": ("a=b", "x&y=z/ü", "a=b&pageToken=x%26y%3Dz%2F%C3%BC"),
}


@pytest.mark.parametrize(("query", "token", "expected"), REWRITTEN.values(), ids=REWRITTEN)
def test_a_keys_own_token_takes_the_place_of_ours(query: str, token: str, expected: str) -> None:
    assert query_at(query, token) == expected


@pytest.mark.parametrize(
    ("query", "size"),
    [
        ("pageSize=7", 7),
        ("page_size=7", 7),
        ("", 50),
        ("pageSize=", 50),
        ("pageSize=0", 50),
        ("pageSize=-1", 50),
        ("pageSize=5.0", 50),
        ("pageSize=%C2%B2", 50),
        ("pageSize=many", 50),
        ("pageSize=999999999", 1000),
        (f"pageSize={'9' * 5000}", 50),
    ],
)
def test_a_page_has_the_size_that_was_asked_for(query: str, size: int) -> None:
    assert page_for("/v1/files", query).size == size


@pytest.mark.parametrize(
    ("path", "lists"),
    [
        ("/v1/files", True),
        ("/v1beta/files/", True),
        ("//v1alpha/cachedContents", True),
        ("/v1/batches", True),
        ("/v1/interactions", True),
        ("/v1/auth_tokens", True),
        ("/v1/files/abc", False),
        ("/v1/models", False),
        ("/v1/files:register", False),
        ("/v1beta/openai/files", False),
        ("/upload/v1/files", False),
        ("/v1/corpora/c/documents", False),
        ("/v1/myfiles", False),
        ("/files", False),
    ],
)
def test_only_a_collection_that_projects_own_is_listed_so(path: str, lists: bool) -> None:
    assert (re.fullmatch(LIST_PATHS, path) is not None) is lists
