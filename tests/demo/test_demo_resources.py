"""What projects own at the mock of the Gemini API: invisible to other projects, and in Google's shapes."""

import asyncio
import json
from collections.abc import Iterator

import pytest
from google import genai
from google.genai import types
from google.genai._interactions import NotFoundError
from tornado.ioloop import IOLoop

from proxycore.demo import Health
from tests.support.demo_client import MINE, OTHER, Here, started

FLASH = "/v1beta/models/gemini-2.5-flash"
HELLO = {"contents": [{"parts": [{"text": "Hello there"}]}]}
UNSEEN = "The caller does not have permission"
NOT_FOUND = "Requested entity was not found."
NO_CACHE = "CachedContent not found (or permission denied)"
pytestmark = pytest.mark.usefixtures("io_loop")


@pytest.fixture
def here(io_loop: IOLoop) -> Iterator[Here]:
    yield from started(io_loop)


def no_file(name: str) -> tuple[int, str]:
    number = name.removeprefix("files/")
    return 403, f"You do not have permission to access the File {number} or it may not exist."


async def video(here: Here) -> str:
    """Makes a video; returns its file's name."""
    begun = await here.json("POST", "/v1/models/veo-3.0-generate-preview:predictLongRunning", {})
    done = await here.json("GET", f"/v1/{begun['name']}")
    assert (begun, done["done"]) == ({"name": done["name"]}, True)
    assert await here.refusal("GET", f"/v1/{done['name']}") == (404, NOT_FOUND)
    uri = done["response"]["generateVideoResponse"]["generatedSamples"][0]["video"]["uri"]
    prefix = "https://generativelanguage.googleapis.com/v1beta/"
    return str(uri.removeprefix(prefix).removesuffix(":download?alt=media"))


async def test_a_file_is_only_visible_to_its_project(here: Here) -> None:
    file = await here.upload()
    assert await here.json("GET", f"/v1alpha/{file['name']}") == file
    for method in ("GET", "DELETE"):
        assert await here.refusal(method, f"/v1/{file['name']}") == no_file(file["name"])
    assert await here.json("GET", "/v1/files", key=OTHER) == {}
    assert await here.json("DELETE", f"/v1/{file['name']}") == {}
    assert await here.refusal("GET", f"/v1/{file['name']}", key=MINE) == no_file(file["name"])


async def test_a_page_of_files_has_ten_and_a_token_that_is_good_for_its_project(here: Here) -> None:
    names = [(await here.upload())["name"] for _ in range(12)]
    first = await here.json("GET", "/v1/files")
    rest = await here.json("GET", f"/v1/files?pageToken={first['nextPageToken']}")
    assert [file["name"] for file in first["files"] + rest["files"]] == names
    assert (len(first["files"]), "nextPageToken" in rest) == (10, False)
    assert len((await here.json("GET", "/v1/files?pageSize=5"))["files"]) == 5
    assert (await here.refusal("GET", f"/v1/files?pageToken={first['nextPageToken']}"))[0] == 400


@pytest.mark.parametrize("method", ["generateContent", "streamGenerateContent?alt=sse", "countTokens"])
@pytest.mark.parametrize(
    ("part", "uri"),
    [
        ({"fileData": {"fileUri": ""}}, "https://generativelanguage.googleapis.com/v1beta/"),
        ({"file_data": {"file_uri": ""}}, ""),
    ],
)
async def test_another_projects_file_cannot_be_asked_about(
    here: Here, method: str, part: dict[str, dict[str, str]], uri: str
) -> None:
    name = (await here.upload())["name"]
    ((outer, inner),) = part.items()
    body = {"contents": [{"parts": [{outer: dict.fromkeys(inner, uri + name)}, {"text": "?"}]}]}
    assert (await here.ask("POST", f"{FLASH}:{method}", body)).status == 200
    assert await here.refusal("POST", f"{FLASH}:{method}", body) == no_file(name)


async def test_a_generated_file_can_only_be_downloaded_by_its_project(here: Here) -> None:
    name = await video(here)
    for target in (f"/v1/{name}:download?alt=media", f"/download/v1beta/{name}:download?alt=media"):
        got = await here.ask("GET", target)
        assert (got.status, len(got.body), got.one("content-type")) == (200, 100_000, "video/mp4")
        assert got.one("accept-ranges") == "bytes"
        assert await here.refusal("GET", target) == no_file(name)
    uploaded = (await here.upload())["name"]
    assert (await here.refusal("GET", f"/v1/{uploaded}:download?alt=media", key=MINE))[0] == 400


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=70000-79999", 70_000, 80_000),
        ("bytes=99990-", 99_990, 100_000),
        ("bytes=-5", 99_995, 100_000),
        ("bytes=5-999999", 5, 100_000),
        ("bytes=-999999", 0, 100_000),
    ],
)
async def test_a_range_is_that_part_of_the_whole(here: Here, asked: str, start: int, end: int) -> None:
    target = f"/v1/{await video(here)}:download?alt=media"
    whole = (await here.ask("GET", target)).body
    got = await here.ask("GET", target, None, ("Range", asked))
    assert (got.status, got.body) == (206, whole[start:end])
    assert got.one("content-range") == f"bytes {start}-{end - 1}/100000"


async def test_a_range_beyond_the_end_is_refused(here: Here) -> None:
    target = f"/v1/{await video(here)}:download?alt=media"
    for asked in ("bytes=100000-", "bytes=-0"):
        got = await here.ask("GET", target, None, ("Range", asked))
        assert (got.status, got.one("content-range")) == (416, "bytes */100000")


async def test_cached_content_is_its_projects_own(here: Here) -> None:
    cache = await here.json("POST", "/v1/cachedContents", {"model": "models/gemini-2.5-flash", "ttl": "60s"})
    later = await here.json("PATCH", f"/v1/{cache['name']}", {"ttl": "120s"})
    assert cache["expireTime"] < later["expireTime"]
    assert await here.json("GET", "/v1/cachedContents") == {"cachedContents": [later]}
    for member in ("cachedContent", "cached_content"):
        body = HELLO | {member: cache["name"]}
        assert (await here.ask("POST", f"{FLASH}:generateContent", body)).status == 200
        assert await here.refusal("POST", f"{FLASH}:generateContent", body) == (403, NO_CACHE)
    for method in ("GET", "PATCH", "DELETE"):
        assert await here.refusal(method, f"/v1/{cache['name']}", {}) == (403, NO_CACHE)


async def test_a_batch_of_a_file_ends_in_a_file(here: Here) -> None:
    name = (await here.upload(b'{"request": 1}\n{"request": 2}\n'))["name"]
    body = {"batch": {"displayName": "Two", "inputConfig": {"fileName": name}}}
    target = f"{FLASH}:batchGenerateContent"
    assert await here.refusal("POST", target, body) == no_file(name)
    batch = await here.json("POST", target, body)
    states = [(await here.json("GET", f"/v1/{batch['name']}"))["metadata"]["state"] for _ in range(2)]
    assert [batch["metadata"]["state"], *states] == ["BATCH_STATE_PENDING"] * 2 + ["BATCH_STATE_SUCCEEDED"]
    (done,) = (await here.json("GET", "/v1/batches"))["operations"]
    results = done["response"]["responsesFile"]
    assert results == f"files/batch-{batch['name'].removeprefix('batches/')}"
    lines = (await here.ask("GET", f"/download/v1beta/{results}:download?alt=media")).body.splitlines()
    assert [json.loads(line)["key"] for line in lines] == ["request-1", "request-2"]
    assert (await here.refusal("GET", f"/v1/{batch['name']}")) == (404, NOT_FOUND)


async def test_a_cancelled_batch_never_succeeds(here: Here) -> None:
    body = {"batch": {"inputConfig": {"requests": {"requests": [{"request": HELLO}]}}}}
    name = (await here.json("POST", f"{FLASH}:batchGenerateContent", body))["name"]
    assert await here.json("POST", f"/v1/{name}:cancel", {}) == {}
    for _ in range(2):
        assert (await here.json("GET", f"/v1/{name}"))["metadata"]["state"] == "BATCH_STATE_CANCELLED"
    assert await here.json("DELETE", f"/v1/{name}") == {}
    assert await here.json("GET", "/v1/batches") == {}


async def test_a_new_interaction_can_be_unknown_at_first_and_is_always_unknown_to_others(here: Here) -> None:
    here.mock.interaction_delay = 60
    body = {"model": "gemini-2.5-flash", "input": "Hello there"}
    number = (await here.json("POST", "/v1/interactions", body))["id"]
    unknown = {"error": {"message": NOT_FOUND, "code": "not_found"}}
    next_one = body | {"previous_interaction_id": number}
    assert await here.json("GET", f"/v1/interactions/{number}") == unknown
    here.clock.turn(60)
    assert (await here.json("GET", f"/v1/interactions/{number}"))["status"] == "completed"
    assert (await here.ask("POST", "/v1/interactions", next_one)).status == 200
    assert await here.json("POST", "/v1/interactions", next_one, key=OTHER) == unknown
    assert (await here.ask("DELETE", f"/v1/interactions/{number}", key=OTHER)).status == 404
    assert await here.json("DELETE", f"/v1/interactions/{number}") == {}
    assert await here.json("GET", f"/v1/interactions/{number}") == unknown


async def test_a_streamed_interaction_has_named_events_and_can_be_resumed(here: Here) -> None:
    body = {"model": "gemini-2.5-flash", "input": "Hello there", "stream": True}
    got = await here.ask("POST", "/v1/interactions", body)
    events = [event.split("\n") for event in got.body.decode().removesuffix("\n\n").split("\n\n")]
    names = [name.removeprefix("event: ") for name, _ in events]
    first, *middle, last, done = names
    assert (first, last, done) == ("interaction.created", "interaction.completed", "done")
    assert middle == ["step.start", *["step.delta"] * 8, "step.stop"]
    assert (events[-1][1], got.one("content-type")) == ("data: [DONE]", "text/event-stream")
    number = json.loads(events[0][1].removeprefix("data: "))["interaction"]["id"]
    again = await here.ask("GET", f"/v1/interactions/{number}?stream=true&last_event_id=3")
    assert again.body.decode() == "\n\n".join("\n".join(event) for event in events[4:]) + "\n\n"


async def test_a_search_store_is_its_projects_own(here: Here) -> None:
    store = (await here.json("POST", "/v1/fileSearchStores", {"displayName": "Mine"}))["name"]
    file, foreign = (await here.upload())["name"], (await here.upload(key=OTHER))["name"]
    operation = await here.json("POST", f"/v1/{store}:importFile", {"fileName": file})
    document = (await here.json("GET", f"/v1/{operation['name']}"))["response"]["documentName"]
    assert (await here.json("GET", f"/v1/{store}/documents"))["documents"][0]["name"] == document
    target = f"/v1/{store}:importFile"
    assert await here.refusal("POST", target, {"fileName": foreign}, key=MINE) == no_file(foreign)
    for member in ("fileSearchStoreNames", "file_search_store_names"):
        body = HELLO | {"tools": [{"fileSearch": {member: [store]}}]}
        assert (await here.ask("POST", f"{FLASH}:generateContent", body)).status == 200
        assert await here.refusal("POST", f"{FLASH}:generateContent", body) == (403, UNSEEN)
    for name in (store, f"{store}/documents", document):
        assert await here.refusal("GET", f"/v1/{name}") == (403, UNSEEN)
    assert await here.json("DELETE", f"/v1/{store}") == {}
    assert await here.refusal("GET", f"/v1/{document}", key=MINE) == (403, UNSEEN)


async def test_a_tuned_model_only_serves_its_project(here: Here) -> None:
    here.mock.give(MINE, "tunedModels/x")
    assert (await here.json("GET", "/v1/tunedModels"))["tunedModels"][0]["name"] == "tunedModels/x"
    target = "/v1/tunedModels/x:generateContent"
    assert (await here.ask("POST", target, HELLO)).status == 200
    assert here.last.model == "tunedModels/x"
    assert (await here.refusal("POST", target, HELLO))[0] == 404
    assert await here.refusal("GET", "/v1/tunedModels/x") == (404, NOT_FOUND)


async def test_a_refused_key_has_access_to_no_resource(here: Here) -> None:
    here.mock.keys[MINE] = Health.suspended()
    for kind in (
        "files",
        "cachedContents",
        "batches",
        "fileSearchStores",
        "tunedModels",
        "interactions/v1_x",
    ):
        assert (await here.ask("GET", f"/v1/{kind}")).status == 403
    for kind in ("cachedContents", "interactions", "fileSearchStores", "auth_tokens"):
        assert (await here.ask("POST", f"/v1/{kind}", {})).status == 403


async def test_google_genai_works_with_all_resources(here: Here) -> None:
    name = f"files/{(await here.upload())['name'].removeprefix('files/')}"
    made = await video(here)

    def use() -> None:
        client = genai.Client(api_key=MINE, http_options={"base_url": here.url, "api_version": "v1beta"})
        model = "gemini-2.5-flash"
        assert [file.name for file in client.files.list()] == [name, made]
        assert client.files.download(file=types.Video(uri=client.files.get(name=made).download_uri))
        cache = client.caches.create(model=model, config={"ttl": "60s"}).name or ""
        client.caches.update(name=cache, config={"ttl": "120s"})
        assert [each.name for each in client.caches.list()] == [cache]
        client.caches.delete(name=cache)
        batch = client.batches.create(model=model, src=name).name or ""
        client.batches.get(name=batch)
        destination = client.batches.get(name=batch).dest
        assert destination
        assert client.files.download(file=destination.file_name or "").count(b"\n") == 1
        store = client.file_search_stores.create().name or ""
        client.file_search_stores.import_file(file_search_store_name=store, file_name=name)
        assert len(list(client.file_search_stores.documents.list(parent=store))) == 1
        client.file_search_stores.delete(name=store, config={"force": True})
        client.files.delete(name=name)

    await asyncio.to_thread(use)


async def test_google_genai_works_with_interactions(here: Here) -> None:
    def use() -> None:
        client = genai.Client(api_key=MINE, http_options={"base_url": here.url, "api_version": "v1beta"})
        first = client.interactions.create(model="gemini-2.5-flash", input="Hello there")
        assert (first.output_text or "").startswith('You asked: "Hello there".')
        number = first.id or ""
        assert client.interactions.get(id=number).output_text == first.output_text
        stream = client.interactions.create(
            model="gemini-2.5-flash", input="And then?", previous_interaction_id=number, stream=True
        )
        kinds = [getattr(event, "event_type", "") for event in stream]
        assert (kinds[0], kinds[-1]) == ("interaction.created", "interaction.completed")
        client.interactions.delete(id=number)
        with pytest.raises(NotFoundError):
            client.interactions.get(id=number)

    await asyncio.to_thread(use)


async def test_a_download_can_be_at_another_path_where_the_key_is_needed_again(here: Here) -> None:
    made = await here.json("POST", "/v1/models/veo-3.0-generate-preview:predictLongRunning", {})
    operation = await here.json("GET", f"/v1beta/{made['name']}")
    (sample,) = operation["response"]["generateVideoResponse"]["generatedSamples"]
    path = sample["video"]["uri"].partition("googleapis.com")[2]
    whole = await here.ask("GET", path)
    assert (whole.status, len(whole.body)) == (200, here.mock.download_bytes)
    here.mock.redirects = True
    got = await here.ask("GET", path, None, ("Host", f"127.0.0.1:{here.port}"))
    assert (got.status, got.one("location")) == (302, f"{here.url}/download{path}")
    target = got.one("location").removeprefix(here.url)
    again = await here.ask("GET", target)
    assert (again.status, again.body) == (200, whole.body)
    assert (await here.ask("GET", target, key="AQ.unknown")).status == 400
    assert (await here.ask("GET", target, key=OTHER)).status == 403  # which is not its owner
    assert (await here.ask("GET", path, key=OTHER)).status == 403
