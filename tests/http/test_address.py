"""Addresses at the upstream: a client is sent to the proxy, and never with its key to the upstream."""

import json

import pytest

from proxycore.http.address import AddressRewriter
from tests.support.proxy import KEYS, proxy
from tests.support.wire import RawUpstream, Seen, answer, ask

GOOGLE = "https://generativelanguage.googleapis.com"
HERE = "https://gemini.example/shared"
CLIENT = "the-client-key-of-this-test"
HIM = ("x-goog-api-key", CLIENT)

LEADS_HERE = {
    "Google's own": (f"{GOOGLE}/download/v1/a?alt=media", f"{HERE}/download/v1/a?alt=media"),
    "in capitals": (GOOGLE.upper() + "/A%2f", f"{HERE}/A%2f"),
    "with its port": (f"{GOOGLE}:443/a", f"{HERE}/a"),
    "of plain HTTP": ("http://generativelanguage.googleapis.com/a", f"{HERE}/a"),
    "without a scheme": ("//generativelanguage.googleapis.com/a", f"{HERE}/a"),
    "with a dot at the end": (f"{GOOGLE}./a", f"{HERE}/a"),
    "with a user": ("https://x:y@generativelanguage.googleapis.com/a", f"{HERE}/a"),
    "percent-encoded": ("https://generativelanguage%2Egoogleapis.com/a", f"{HERE}/a"),
    "with backslashes": ("https:\\\\generativelanguage.googleapis.com\\a?b=\\", f"{HERE}/a?b=\\"),
    "without a path": (f"{GOOGLE}?a=b", f"{HERE}?a=b"),
    "with credentials": (f"{GOOGLE}/a?key=x&b=c&access_token=y&%24key=z#f", f"{HERE}/a?b=c#f"),
    "a path": ("/v1/a?b#c", "/shared/v1/a?b#c"),
    "a relative path": ("b?key=x&c", "b?c"),
}
STAYS = [
    "https://storage.googleapis.com/a?key=x",
    f"{GOOGLE}.evil.example/a",
    f"{GOOGLE}:8443/a",
    "https://evil.example/?generativelanguage.googleapis.com",
    "mailto:a@generativelanguage.googleapis.com",
    "",
]


@pytest.mark.parametrize("field", ["Location", "content-location"])
@pytest.mark.parametrize(("theirs", "ours"), LEADS_HERE.values(), ids=LEADS_HERE)
def test_an_address_at_the_upstream_leads_to_the_proxy(field: str, theirs: str, ours: str) -> None:
    assert AddressRewriter(GOOGLE, "", HERE).rewrite([(field, theirs)]) == [(field, ours)]


@pytest.mark.parametrize("address", STAYS)
def test_an_address_elsewhere_stays_as_it_is(address: str) -> None:
    fields = [("Location", address), ("X-Other", f"{GOOGLE}/a")]
    assert AddressRewriter(GOOGLE, "", HERE).rewrite(fields, "key=c") == fields


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("http://127.0.0.1:81/below/a", f"{HERE}/a"),
        ("http://127.0.0.1:81/elsewhere", f"{HERE}/elsewhere"),
        ("/below/a", "/shared/a"),
        ("http://127.0.0.1/below/a", "http://127.0.0.1/below/a"),
    ],
)
def test_the_path_of_the_upstreams_url_is_not_shown(theirs: str, ours: str) -> None:
    rewriter = AddressRewriter("http://127.0.0.1:81", "/below", HERE)
    assert rewriter.rewrite([("Location", theirs)]) == [("Location", ours)]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (f"{GOOGLE}/a", f"{HERE}/a?key=c"),
        (f"{GOOGLE}/a?b#f", f"{HERE}/a?b&key=c#f"),
        ("/a?key=x", "/shared/a?key=c"),
    ],
)
def test_who_presents_a_key_in_the_query_comes_back_with_it(theirs: str, ours: str) -> None:
    assert AddressRewriter(GOOGLE, "", HERE).rewrite([("Location", theirs)], "key=c") == [("Location", ours)]


NOT_OWNER = "You do not have permission to access the File abc or it may not exist."
CONTENT = b"the content of the file"
DOWNLOAD = "/v1beta/files/abc:download?alt=media"
LOCKED = {"OUTPUT_API_KEY": CLIENT}


@pytest.mark.usefixtures("io_loop")
@pytest.mark.parametrize("offer", ["in a header", "in the query"])
async def test_a_redirected_download_comes_through_the_proxy_with_the_owners_key(offer: str) -> None:
    async def script(seen: Seen, writer: object) -> None:
        if seen.key != KEYS["GOOGLE_API_KEY_2"]:
            error = {
                "code": 403,
                "message": "You do not have permission to access the File abc or it may not exist.",
            }
            data = answer(403, json.dumps({"error": error | {"status": "PERMISSION_DENIED"}}).encode())
        elif seen.target.startswith("/download/"):
            data = answer(200, CONTENT)
        else:
            data = answer(302, b"", ("Location", f"{upstream.url}/download{DOWNLOAD}&key={seen.key}"))
        writer.write(data)  # type: ignore[attr-defined]

    fields = [HIM] if offer == "in a header" else []
    target = DOWNLOAD if fields else f"{DOWNLOAD}&key={CLIENT}"
    async with RawUpstream(script) as upstream, proxy(upstream.url, KEYS | LOCKED) as here:
        first = await ask(here.port, "GET", target, *fields)
        location = first.one("location")
        assert (first.status, location.startswith("http://proxy.example/download/v1beta/")) == (302, True)
        before = len(upstream.seen)
        second = await ask(here.port, "GET", location.removeprefix("http://proxy.example"), *fields)
        assert (second.status, second.body) == (200, CONTENT)
        assert len(upstream.seen) == before + 1  # the owner was known
    assert not [seen for seen in upstream.seen if CLIENT in str(seen)]
    assert not [key for key in KEYS.values() if key in location]
