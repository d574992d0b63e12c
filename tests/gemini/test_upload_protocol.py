"""Google's upload protocol: what carries content, what goes on, and where an upload's address leads."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tornado.httputil import HTTPHeaders

from proxycore.gemini.upload_protocol import (
    carries_content,
    is_follow_up,
    rewrite_upload_addresses,
    upload_name,
)
from proxycore.http.address import AddressRewriter
from proxycore.http.fields import Fields

UPSTREAM, PROXY = "https://generativelanguage.googleapis.com", "http://127.0.0.1:8080"
REWRITER = AddressRewriter(UPSTREAM, "", PROXY)
ID = "upload_id=AbC-1&upload_protocol=resumable"


def command(value: str, **others: str) -> HTTPHeaders:
    return HTTPHeaders({"X-Goog-Upload-Command": value, **others})


RESUMABLE = HTTPHeaders({"x-goog-upload-protocol": "Resumable"})
RAW = HTTPHeaders({"X-Goog-Upload-Protocol": "raw"})
MULTIPART = HTTPHeaders({"X-Goog-Upload-Protocol": "multipart"})
NONE = HTTPHeaders()

# Method, header fields, query: whether it carries content, whether it is a follow-up request.
REQUESTS = {
    "start": ("POST", command("start", **{"X-Goog-Upload-Protocol": "resumable"}), "", False, False),
    "start into an environment": ("PUT", command("start"), "", False, False),
    "start, told by its protocol alone": ("POST", RESUMABLE, "", False, False),
    "start of the older form": ("POST", NONE, "uploadType=resumable&name=x", False, False),
    "start that repeats an upload's id": ("POST", command("start"), ID, False, False),
    "chunk": ("POST", command("upload"), ID, True, True),
    "chunk by PUT": ("PUT", command("upload"), ID, True, True),
    "last chunk": ("POST", command("upload, finalize"), ID, True, True),
    "last chunk, written otherwise": ("POST", command(" Finalize ,UPLOAD,"), ID, True, True),
    "chunk with its protocol": ("POST", command("upload", **dict(RESUMABLE.items())), ID, True, True),
    "end": ("POST", command("finalize"), ID, False, True),
    "question": ("POST", command("query"), ID, False, True),
    "cancellation": ("POST", command("cancel"), ID, False, True),
    "all at once": ("POST", command("start, upload, finalize"), "", True, False),
    "all at once with an id": ("POST", command("start, upload, finalize"), ID, True, False),
    "chunk of nothing that is known": ("POST", command("upload"), "", True, False),
    "unknown command": ("POST", command("dance"), ID, False, False),
    "raw": ("POST", RAW, "", True, False),
    "raw with an id": ("PUT", RAW, ID, True, False),
    "multipart": ("POST", MULTIPART, "", True, False),
    "media of the older form": ("POST", NONE, "uploadType=media", True, False),
    "multipart of the older form": ("POST", NONE, "uploadType=multipart", True, False),
    "chunk of the older form": ("PUT", NONE, f"uploadType=resumable&{ID}", True, True),
    "POST of the older form to an upload": ("POST", NONE, f"uploadType=resumable&{ID}", True, False),
    "empty command": ("POST", command(" , "), "", True, False),
    "GET": ("GET", NONE, ID, False, False),
    "DELETE": ("DELETE", NONE, ID, False, False),
}


@pytest.mark.parametrize(
    ("method", "headers", "query", "content", "follow_up"), REQUESTS.values(), ids=REQUESTS
)
def test_a_request_tells_whether_it_carries_content_and_whether_it_goes_on(
    method: str, headers: HTTPHeaders, query: str, content: bool, follow_up: bool
) -> None:
    assert carries_content(method, headers, query) is content
    assert is_follow_up(method, headers, query) is follow_up


@pytest.mark.parametrize(
    ("query", "name"),
    [
        (ID, "upload/AbC-1"),
        ("a=b&upload_id=x%2Fy%3D", "upload/x/y="),
        ("upload_id=first&upload_id=second", "upload/first"),
        ("", None),
        ("upload_id=", None),
        ("upload_id", None),
        ("my_upload_id=x", None),
        ("UPLOAD_ID=x", None),
    ],
)
def test_an_upload_is_called_by_its_id(query: str, name: str | None) -> None:
    assert upload_name(query) == name


def test_an_upload_is_called_the_same_in_its_address_and_in_its_follow_up_requests() -> None:
    address = f"{UPSTREAM}/upload/v1/files?upload_id=a%2Bb+c%2f&upload_protocol=resumable"
    [(_, ours)], names = rewrite_upload_addresses([("X-Goog-Upload-URL", address)], REWRITER)
    assert names == {upload_name(ours.partition("?")[2])}


ADDRESSES = {
    "Google's": ("", f"{UPSTREAM}/upload/v1beta/files?{ID}", f"{PROXY}/upload/v1beta/files?{ID}"),
    "with a port": ("", f"http://up:81/upload/v1/files?{ID}", f"{PROXY}/upload/v1/files?{ID}"),
    "behind a prefix": ("/gem/x", f"http://up/gem/x/upload/v1/files?{ID}", f"{PROXY}/upload/v1/files?{ID}"),
    "beside the prefix": ("/gem", f"http://up/upload/v1/files?{ID}", f"{PROXY}/upload/v1/files?{ID}"),
    "prefix inside": ("/gem", f"http://up/upload/gem/files?{ID}", f"{PROXY}/upload/gem/files?{ID}"),
    "escaped": ("", f"{UPSTREAM}/upload/v1/a%2Fb?x=%2f+&{ID}", f"{PROXY}/upload/v1/a%2Fb?x=%2f+&{ID}"),
    "with a key": ("", f"{UPSTREAM}/upload/v1/files?key=AQ.x&{ID}", f"{PROXY}/upload/v1/files?{ID}"),
    "with keys": ("", f"{UPSTREAM}/u?{ID}&%24key=x&k%65y=y&access_token=z", f"{PROXY}/u?{ID}"),
    "without an id": ("", f"{UPSTREAM}/upload/v1/files?key=x", f"{UPSTREAM}/upload/v1/files?key=x"),
    "relative": ("", f"/upload/v1/files?{ID}", f"{PROXY}/upload/v1/files?{ID}"),
    "not a URL": ("", f"http://[x?{ID}", f"{PROXY}?{ID}"),
    "like the prefix": ("/gem", f"{UPSTREAM}/gemini/upload?{ID}", f"{PROXY}/gemini/upload?{ID}"),
    "empty": ("", "", ""),
}


@pytest.mark.parametrize("field", ["X-Goog-Upload-URL", "x-goog-upload-control-url", "LOCATION"])
@pytest.mark.parametrize(("prefix", "theirs", "ours"), ADDRESSES.values(), ids=ADDRESSES)
def test_an_uploads_address_leads_to_the_proxy(field: str, prefix: str, theirs: str, ours: str) -> None:
    fields, names = rewrite_upload_addresses([(field, theirs)], AddressRewriter(UPSTREAM, prefix, PROXY))
    assert fields == [(field, ours)]
    assert names == ({"upload/AbC-1"} if ours.startswith(PROXY) else set())


def test_every_upload_in_a_response_is_named() -> None:
    answer = [
        ("X-Goog-Upload-URL", f"{UPSTREAM}/u?upload_id=1"),
        ("X-Goog-Upload-Control-URL", f"{UPSTREAM}/u?upload_id=1&c"),
        ("Location", f"{UPSTREAM}/u?upload_id=2"),
    ]
    fields, names = rewrite_upload_addresses(answer, REWRITER)
    assert names == {"upload/1", "upload/2"}
    assert all(value.startswith(f"{PROXY}/u?upload_id=") for _, value in fields)


NAMES = st.sampled_from(
    ["X-Goog-Upload-Status", "Content-Location", "Set-Cookie", "x-goog-upload-header-url"]
)
VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20) | st.just(
    f"{UPSTREAM}/u?{ID}"
)
PARTS = st.sampled_from(["x=%2f", "y", "z=1+2", "keys=1", "monkey=1", "key_=1", "upload_protocol=resumable"])
KEYS = st.sampled_from(
    ["key=AQ.secret", "key", "key=", "%6bey=AQ.secret", "$key=AQ.secret", "%24k%65y=a&key=b"]
)


@given(
    st.lists(st.tuples(NAMES, VALUES), max_size=4),
    st.lists(st.tuples(NAMES, VALUES), max_size=4),
    st.lists(st.tuples(PARTS, st.lists(KEYS, max_size=2)), max_size=4),
)
@settings(max_examples=200, deadline=None)
def test_every_other_field_stays_and_every_key_goes(
    before: Fields, after: Fields, parts: list[tuple[str, list[str]]]
) -> None:
    kept = "&".join(["upload_id=1", *(part for part, _ in parts)])
    asked = "&".join(["upload_id=1", *(text for part, keys in parts for text in (part, *keys))])
    answer = [*before, ("X-Goog-Upload-URL", f"{UPSTREAM}/upload/v1/files?{asked}"), *after]
    fields, names = rewrite_upload_addresses(answer, REWRITER)
    assert fields == [*before, ("X-Goog-Upload-URL", f"{PROXY}/upload/v1/files?{kept}"), *after]
    assert names == {"upload/1"}
