"""Resources that Google's Python SDK creates belong to one key's project; later calls use that key."""

import io
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from google import genai
from google.genai import errors, types
from google.genai.interactions import Interaction, InteractionCompletedEvent, InteractionCreatedEvent

from tests.clients.common import CLIENT_KEY, DEAD, MODEL, PROMPT, SPREAD, Pool, pool
from tests.clients.genai import client_of, known, with_client

TIMES = 5  # with one project only, everything would be found by chance
VIDEO_MODEL = "veo-3.0-generate-preview"
LINES = b'{"key": "one", "request": {"contents": [{"parts": [{"text": "a"}]}]}}\n' * 3
INLINE = [types.InlinedRequest(contents=[types.Content(role="user", parts=[types.Part(text=PROMPT)])])]
pytestmark = pytest.mark.usefixtures("io_loop")


def assert_only_owners_were_asked(here: Pool) -> None:
    refused = {call.key for call in here.mock.calls if call.status >= 400 and call.status != 429}
    assert refused <= DEAD


def upload(client: genai.Client, content: bytes = b"a" * 1000, mime_type: str = "text/plain") -> types.File:
    config = types.UploadFileConfig(mime_type=mime_type, display_name="letters")
    return client.files.upload(file=io.BytesIO(content), config=config)


def files(client: genai.Client) -> None:
    file = upload(client)
    name = known(file.name)
    assert (client.files.get(name=name).uri, file.size_bytes) == (file.uri, 1000)
    answer = client.models.generate_content(model=MODEL, contents=[file, PROMPT])
    assert PROMPT in known(answer.text)
    chat = client.chats.create(model=MODEL)
    part = types.Part.from_uri(file_uri=known(file.uri), mime_type=file.mime_type)
    assert PROMPT in known(chat.send_message([part, types.Part(text=PROMPT)]).text)
    assert "And then?" in known(chat.send_message("And then?").text)
    pieces = list(client.models.generate_content_stream(model=MODEL, contents=[file, PROMPT]))
    assert PROMPT in "".join(known(piece.text) for piece in pieces)
    assert name in [each.name for each in client.files.list(config={"page_size": 2})]
    client.files.delete(name=name)
    assert name not in [each.name for each in client.files.list()]


def caches(client: genai.Client) -> None:
    content = types.CreateCachedContentConfig(contents=[upload(client), PROMPT], ttl="600s")
    cache = client.caches.create(model=MODEL, config=content)
    name = known(cache.name)
    longer = client.caches.update(name=name, config={"ttl": "9000s"})
    assert known(longer.expire_time) > known(cache.expire_time)
    assert client.caches.get(name=name).expire_time == longer.expire_time
    using = types.GenerateContentConfig(cached_content=name)
    assert client.models.generate_content(model=MODEL, contents=PROMPT, config=using).text
    assert name in [each.name for each in client.caches.list(config={"page_size": 2})]
    client.caches.delete(name=name)
    assert name not in [each.name for each in client.caches.list()]


def finished(client: genai.Client, batch: types.BatchJob) -> types.BatchJob:
    for _ in range(2):
        batch = client.batches.get(name=known(batch.name))
    assert batch.state == types.JobState.JOB_STATE_SUCCEEDED
    return batch


def batches(client: genai.Client) -> None:
    batch = client.batches.create(model=MODEL, src=INLINE)
    [one] = known(known(finished(client, batch).dest).inlined_responses)
    assert PROMPT in known(known(one.response).text)
    cancelled = client.batches.create(model=MODEL, src=INLINE)
    client.batches.cancel(name=known(cancelled.name))
    names = {known(batch.name), known(cancelled.name)}
    assert names <= {each.name for each in client.batches.list(config={"page_size": 2})}
    for name in names:
        client.batches.delete(name=name)
    assert not names & {each.name for each in client.batches.list()}


def batches_of_a_file(client: genai.Client) -> None:
    file = upload(client, LINES, "application/jsonl")
    batch = finished(client, client.batches.create(model=MODEL, src=known(file.name)))
    answers = client.files.download(file=known(known(batch.dest).file_name))
    assert answers.count(b"\n") == 3


def interactions(client: genai.Client) -> None:
    first = client.interactions.create(model=MODEL, input=PROMPT)
    assert isinstance(first, Interaction)
    stream = client.interactions.create(
        model=MODEL, input="And then?", previous_interaction_id=first.id, stream=True
    )
    assert not isinstance(stream, Interaction)
    created, *_, completed = stream
    assert isinstance(created, InteractionCreatedEvent)
    assert isinstance(completed, InteractionCompletedEvent)
    assert created.interaction.id != first.id
    for each in (first.id, created.interaction.id):
        assert client.interactions.get(known(each)).id == each
        assert len(list(client.interactions.get(known(each), stream=True))) > 3
        client.interactions.delete(known(each))


def search_stores(client: genai.Client) -> None:
    stores = client.file_search_stores
    store = known(stores.create(config={"display_name": "a store"}).name)
    config = types.UploadToFileSearchStoreConfig(mime_type="text/plain")
    operation = stores.upload_to_file_search_store(
        file_search_store_name=store, file=io.BytesIO(b"text"), config=config
    )
    assert client.operations.get(operation).done
    [document] = [known(each.name) for each in stores.documents.list(parent=store)]
    assert stores.documents.get(name=document).name == document
    search = types.Tool(file_search=types.FileSearch(file_search_store_names=[store]))
    using = types.GenerateContentConfig(tools=[search])
    assert client.models.generate_content(model=MODEL, contents=PROMPT, config=using).text
    assert store in [each.name for each in stores.list()]
    stores.documents.delete(name=document, config={"force": True})
    empty = known(stores.create().name)
    stores.delete(name=empty, config={"force": True})
    assert empty not in [each.name for each in stores.list()]


@pytest.mark.parametrize("family", [files, caches, batches, batches_of_a_file, interactions, search_stores])
async def test_its_resources_are_found_again(family: Callable[[genai.Client], None]) -> None:
    async with pool(SPREAD) as here:

        def work(client: genai.Client) -> None:
            list(client.files.list())  # asks every key, so that all that fail have failed
            for _ in range(TIMES):
                family(client)

        await with_client(here.url, work)
        assert_only_owners_were_asked(here)


async def test_resources_of_one_group_can_be_used_together() -> None:
    async with pool(SPREAD) as here:

        def work(client: genai.Client) -> None:
            list(client.files.list())  # as above
            for number in range(TIMES):
                with client_of(here.url, headers={"X-Resource-Group": f"report {number}"}) as grouped:
                    store = known(grouped.file_search_stores.create().name)
                    names = [known(upload(grouped).name) for _ in range(3)]
                for name in names:  # who asks needs no group
                    client.file_search_stores.import_file(file_search_store_name=store, file_name=name)
                documents = client.file_search_stores.documents.list(parent=store)
                assert len(list(documents)) == len(names)

        await with_client(here.url, work)
        assert_only_owners_were_asked(here)


async def test_a_video_is_waited_for_and_downloaded(tmp_path: Path) -> None:
    async with pool(SPREAD) as here:
        here.mock.download_bytes = 1_000_000
        whole = bytes(range(251)) * 4000  # the mock's pattern

        def work(client: genai.Client) -> None:
            for _ in range(TIMES):
                # It refuses to begin one without Vertex, so this is begun without it.
                begun = httpx2.post(
                    f"{here.url}/v1/models/{VIDEO_MODEL}:predictLongRunning",
                    headers={"x-goog-api-key": CLIENT_KEY},
                    json={"instances": [{"prompt": PROMPT}]},
                )
                operation = types.GenerateVideosOperation.from_api_response(begun.json())
                done = client.operations.get(operation)
                [sample] = known(known(done.response).generated_videos)
                video = known(sample.video)
                content = client.files.download(file=video)
                assert content == whole[:1_000_000]
                client.files.download(file=video, destination=tmp_path / "video.mp4")
                assert (tmp_path / "video.mp4").read_bytes() == content
                assert known(video.uri).split("files/")[1].split(":")[0] in str(list(client.files.list()))

        await with_client(here.url, work)
        assert_only_owners_were_asked(here)


async def test_a_deleted_resource_is_refused_as_google_refuses_it() -> None:
    async with pool({key: health for key, health in SPREAD.items() if key != "AQ.disabled"}) as here:

        def work(client: genai.Client) -> None:
            list(client.files.list())
            for _ in range(TIMES):
                name = known(upload(client).name)
                client.files.delete(name=name)
                with pytest.raises(errors.ClientError) as caught:
                    client.files.get(name=name)
                assert caught.value.code == 403
                assert "may not exist" in known(caught.value.message)

        await with_client(here.url, work)
