"""Uploads to the mock of the Gemini API, by every protocol that clients use."""

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from google import genai
from tornado.ioloop import IOLoop

from proxycore.demo import Health
from tests.support.demo_client import MINE, OTHER, Here, started
from tests.support.waiting import quiet, until
from tests.support.wire import Got, connect

START = "/upload/v1beta/files"
GRANULE = 8 * 2**20
RESUMABLE = ("X-Goog-Upload-Protocol", "resumable"), ("X-Goog-Upload-Command", "start")
GONE = "Requested entity was not found."
pytestmark = pytest.mark.usefixtures("io_loop")


@pytest.fixture
def here(io_loop: IOLoop) -> Iterator[Here]:
    yield from started(io_loop)


async def start(here: Here, about: object = None, target: str = START) -> str:
    """Starts a resumable upload; returns the path that its chunks go to."""
    got = await here.ask("POST", target, about or {"file": {}}, *RESUMABLE)
    assert (got.status, got.body, got.one("x-goog-upload-status")) == (200, b"", "active")
    assert got.one("x-goog-upload-control-url") == got.one("x-goog-upload-url")
    parts = urlsplit(got.one("x-goog-upload-url"))
    assert (parts.scheme, parts.netloc) == ("http", "proxy.example")  # which is what was asked
    return f"{parts.path}?{parts.query}"


async def send_chunk(here: Here, url: str, command: str, offset: int, body: bytes = b"") -> Got:
    fields = ("X-Goog-Upload-Command", command), ("X-Goog-Upload-Offset", str(offset))
    return await here.ask("POST", url, body, *fields, key="")


def progress(got: Got) -> tuple[int, str, int]:
    return got.status, got.one("x-goog-upload-status"), int(got.one("x-goog-upload-size-received"))


@pytest.mark.parametrize("version", ["v1", "v1alpha", "v1beta"])
async def test_a_resumable_upload_needs_a_key_only_at_its_start(here: Here, version: str) -> None:
    about = {"file": {"displayName": "Notes", "mimeType": "text/x-notes"}}
    url = await start(here, about, f"/upload/{version}/files")
    assert json.loads(here.last.body) == about
    assert progress(await send_chunk(here, url, "upload", 0, b"a" * GRANULE)) == (200, "active", GRANULE)
    assert progress(await send_chunk(here, url, "query", 0)) == (200, "active", GRANULE)
    done = await send_chunk(here, url, "upload, finalize", GRANULE, b"the end")
    assert progress(done) == (200, "final", GRANULE + 7)
    file = json.loads(done.body)["file"]
    assert re.fullmatch("files/[a-z0-9]{12}", file["name"])
    assert file["uri"] == f"https://generativelanguage.googleapis.com/v1beta/{file['name']}"
    assert (file["displayName"], file["mimeType"], file["sizeBytes"]) == ("Notes", "text/x-notes", "8388615")
    digest = hashlib.sha256(b"a" * GRANULE + b"the end").hexdigest()
    assert base64.b64decode(file["sha256Hash"]).decode() == digest
    assert (file["state"], file["source"]) == ("ACTIVE", "UPLOADED")
    assert (file["createTime"], file["expirationTime"]) == (
        "2027-01-15T08:00:00.000000Z",
        "2027-01-17T08:00:00.000000Z",
    )
    assert await here.json("GET", f"/v1/{file['name']}") == file
    assert not any(call.body for call in here.mock.calls[1:])  # content is never held


async def test_a_name_may_be_chosen(here: Here) -> None:
    url = await start(here, {"file": {"name": "files/my-own"}})
    assert json.loads((await send_chunk(here, url, "finalize", 0)).body)["file"]["name"] == "files/my-own"


async def test_only_the_start_of_an_upload_is_refused_for_its_key(here: Here) -> None:
    refused = await here.ask("POST", START, {}, *RESUMABLE, key="")
    assert (refused.status, refused.all("x-goog-upload-status")) == (403, [])
    url = await start(here)
    here.mock.keys[MINE] = Health.suspended()
    assert (await here.ask("POST", START, {}, *RESUMABLE)).status == 403
    finalize = ("X-Goog-Upload-Command", "finalize")
    assert (await here.ask("POST", f"{url}&key=b", b"", finalize, key=OTHER)).status == 401
    assert (await here.ask("POST", url, b"", finalize, key=OTHER)).status == 200
    assert here.last.key == OTHER
    here.mock.keys[MINE] = Health.healthy()
    assert len((await here.json("GET", "/v1/files"))["files"]) == 1  # whose the start was


async def test_the_key_may_be_in_the_url_that_google_gives(here: Here) -> None:
    here.mock.echo_key = True
    query = parse_qs(urlsplit(await start(here)).query)
    assert list(query) == ["upload_id", "key", "upload_protocol"]
    assert query["key"] == [MINE]


async def test_a_chunk_with_a_wrong_offset_or_size_changes_nothing(here: Here) -> None:
    url = await start(here)
    assert progress(await send_chunk(here, url, "upload", 0, b"a" * 1000)) == (400, "active", 0)
    assert progress(await send_chunk(here, url, "upload", 0, b"a" * GRANULE)) == (200, "active", GRANULE)
    for offset in (0, GRANULE - 1, GRANULE + 1):
        assert progress(await send_chunk(here, url, "upload, finalize", offset, b"a")) == (
            400,
            "active",
            GRANULE,
        )
    assert progress(await send_chunk(here, url, "finalize", GRANULE)) == (200, "final", GRANULE)
    assert progress(await send_chunk(here, url, "upload, finalize", GRANULE, b"a")) == (400, "final", GRANULE)


@pytest.mark.turned
async def test_an_interrupted_chunk_can_be_sent_again(here: Here) -> None:
    url = await start(here)
    async with connect(here.port) as client:
        command = ("X-Goog-Upload-Command", "upload, finalize"), ("X-Goog-Upload-Offset", "0")
        client.send("POST", url, *command, ("Content-Length", "100000"))
        client.writer.write(b"a" * 70_000)
        await until(lambda: here.mock.open == 1)
        await quiet()
    await until(lambda: here.mock.open == 0)
    assert here.last.cut
    assert progress(await send_chunk(here, url, "query", 0)) == (200, "active", 0)
    assert progress(await send_chunk(here, url, "upload, finalize", 0, b"a" * 100_000)) == (
        200,
        "final",
        100_000,
    )


async def test_an_unknown_or_cancelled_upload_is_not_found(here: Here) -> None:
    url = await start(here)
    cancelled = await send_chunk(here, url, "cancel", 0)
    assert (cancelled.status, cancelled.one("x-goog-upload-status")) == (200, "cancelled")
    for gone in (url, f"{START}?upload_id=nobodys"):
        got = await send_chunk(here, gone, "query", 0)
        assert (got.status, json.loads(got.body)["error"]["message"]) == (404, GONE)


BOTH_PARTS = (
    b'--mark\r\nContent-Type: application/json\r\n\r\n{"file": {"displayName": "Two"}}\r\n'
    b"--mark\r\nContent-Type: text/plain\r\n\r\nline\r\n--marl\r\n\r\nline\r\n--mark--\r\n"
)


@pytest.mark.parametrize(
    ("query", "fields", "body", "content"),
    [
        (
            "",
            {"X-Goog-Upload-Protocol": "resumable", "X-Goog-Upload-Command": "start, upload, finalize"},
            b"whole",
            b"whole",
        ),
        ("", {"X-Goog-Upload-Protocol": "raw"}, b"whole", b"whole"),
        ("?uploadType=media", {}, b"whole", b"whole"),
        ("", {"X-Goog-Upload-Protocol": "multipart"}, BOTH_PARTS, b"line\r\n--marl\r\n\r\nline"),
        ("?uploadType=multipart", {}, BOTH_PARTS, b"line\r\n--marl\r\n\r\nline"),
    ],
)
async def test_an_upload_can_be_a_single_request(
    here: Here, query: str, fields: dict[str, str], body: bytes, content: bytes
) -> None:
    kind = "multipart/related; boundary=mark" if body is BOTH_PARTS else "text/plain"
    got = await here.ask("POST", START + query, body, ("Content-Type", kind), *fields.items())
    file = json.loads(got.body)["file"]
    assert (got.status, file["mimeType"], file["sizeBytes"]) == (200, "text/plain", str(len(content)))
    assert base64.b64decode(file["sha256Hash"]).decode() == hashlib.sha256(content).hexdigest()
    assert file.get("displayName") == ("Two" if body is BOTH_PARTS else None)
    assert not here.last.body
    assert (await here.ask("POST", START + query, body, *fields.items(), key="")).status == 403


async def test_a_multipart_body_may_come_byte_by_byte(here: Here) -> None:
    kind = ("Content-Type", 'multipart/related; boundary="mark"')
    async with connect(here.port) as client:
        length = ("Content-Length", str(len(BOTH_PARTS)))
        client.send("POST", f"{START}?uploadType=multipart&key={MINE}", kind, length)
        for byte in BOTH_PARTS:
            client.writer.write(bytes([byte]))
            await asyncio.sleep(0)
        file = json.loads((await client.got()).body)["file"]
    assert (file["sizeBytes"], file["displayName"]) == ("20", "Two")


async def test_an_upload_to_a_store_makes_a_document(here: Here) -> None:
    store = (await here.json("POST", "/v1/fileSearchStores", {}))["name"]
    target = f"/upload/v1/{store}:uploadToFileSearchStore"
    url = await start(here, {"displayName": "Doc"}, target)
    operation = json.loads((await send_chunk(here, url, "upload, finalize", 0, b"text")).body)
    assert operation["name"].startswith(f"{store}/upload/operations/")
    assert await here.json("GET", f"/v1/{operation['name']}") == operation
    document = await here.json("GET", f"/v1/{operation['response']['documentName']}")
    assert (document["displayName"], document["sizeBytes"]) == ("Doc", "4")
    foreign = await here.ask("POST", target, {}, *RESUMABLE, key=OTHER)
    assert (foreign.status, here.mock.open) == (403, 0)


async def test_an_upload_can_be_made_to_stall(here: Here) -> None:
    here.mock.upload_delay = 0.05
    started_at = asyncio.get_running_loop().time()
    await here.upload(b"a" * 200_000)
    assert asyncio.get_running_loop().time() - started_at > 0.15  # pieces are of 64 KiB
    here.mock.upload_delay = 30
    async with connect(here.port) as client:
        client.send("POST", f"{START}?uploadType=media&key={MINE}", body=b"a")
        await until(lambda: here.mock.open == 1)
    await until(lambda: here.mock.open == 0)  # it does not wait for one who has left


async def test_google_genai_uploads(here: Here, tmp_path: Path) -> None:
    (tmp_path / "big.txt").write_bytes(b"0123456789" * 2_000_000)

    def use() -> None:
        with genai.Client(api_key=MINE, http_options={"base_url": here.url}) as client:
            file = client.files.upload(file=tmp_path / "big.txt", config={"display_name": "Big"})
            assert (file.size_bytes, file.mime_type, file.display_name) == (20_000_000, "text/plain", "Big")
            store = client.file_search_stores.create().name or ""
            operation = client.file_search_stores.upload_to_file_search_store(
                file_search_store_name=store, file=tmp_path / "big.txt"
            )
            assert operation.done

    await asyncio.to_thread(use)
    chunks = [call for call in here.mock.calls if "upload_id" in call.target]
    assert [(call.method, call.key, call.status) for call in chunks] == [("POST", "", 200)] * 6
