"""Google's Python SDK over TLS: Live sessions, which it opens in no other way, and uploads."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.genai import types
from google.genai.client import AsyncClient
from google.genai.interactions import Interaction, InteractionWebSocketConnection
from google.genai.live import AsyncSession

from proxycore.demo import Health, MockServer
from tests.clients.common import DEAD, LIVE_MODEL, MODEL, PROMPT, SPREAD, Pool, keys_of
from tests.clients.genai import async_client_of, known
from tests.support.process import TLS, certify, program

TEXT = types.LiveConnectConfig(response_modalities=[types.Modality.TEXT])
TIMES = 5
pytestmark = [
    pytest.mark.usefixtures("io_loop"),
    pytest.mark.filterwarnings("ignore::google.genai.errors.ExperimentalWarning"),  # tokens are, they say
    pytest.mark.filterwarnings("ignore:Live Interactions usage"),  # so are these
]


@contextlib.asynccontextmanager
async def secure_pool(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pool]:
    """The proxy on TLS, with a certificate of an authority that the environment tells the SDK of."""
    certify(folder)
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
    mock = MockServer(SPREAD)
    environment = {"UPSTREAM_URL": mock.listen(), **keys_of(mock), **TLS}
    try:
        with program(folder=folder, environment=environment) as running:
            port = await asyncio.to_thread(lambda: running.port)
            yield Pool(f"https://127.0.0.1:{port}", mock)
    finally:
        await mock.stop()


async def hear(session: AsyncSession) -> str:
    """The text of one turn."""
    return "".join([message.text or "" async for message in session.receive()])


async def say(session: AsyncSession, words: str) -> str:
    await session.send_client_content(turns=types.Content(role="user", parts=[types.Part(text=words)]))
    return await hear(session)


async def test_sessions_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with secure_pool(tmp_path, monkeypatch) as here, async_client_of(here.url) as client:

        async def talk(number: int) -> None:
            async with client.live.connect(model=LIVE_MODEL, config=TEXT) as session:
                for turn in range(10):
                    assert f"{number}: {turn}." in await say(session, f"{number}: {turn}.")
                await session.send_realtime_input(text=PROMPT)
                async for message in session.receive():
                    assert PROMPT in known(message.text)
                    break

        await asyncio.gather(*map(talk, range(10)))
        assert {call.key for call in here.mock.calls if call.status >= 400} <= DEAD
        assert len([call for call in here.mock.calls if call.status == 101]) == 10


async def test_a_resumed_session_uses_the_key_that_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with secure_pool(tmp_path, monkeypatch) as here, async_client_of(here.url) as client:
        # A close frame tells no time, so a key whose quota is spent would rest longer than a request waits.
        here.mock.keys["AQ.twelve-a-second"] = Health.healthy()

        async def begin(handle: str | None) -> str:
            """The handle to resume with."""
            resumption = types.SessionResumptionConfig(handle=handle)
            config = TEXT.model_copy(update={"session_resumption": resumption})
            async with client.live.connect(model=LIVE_MODEL, config=config) as session:
                async for message in session.receive():
                    if message.session_resumption_update:
                        return known(message.session_resumption_update.new_handle)
            raise AssertionError("there was no handle")

        for _ in range(TIMES):
            handle = await begin(None)
            first = here.mock.calls[-1].key
            for _ in range(2):
                handle = await begin(handle)
                assert here.mock.calls[-1].key == first


async def test_an_ephemeral_token_opens_a_session_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with secure_pool(tmp_path, monkeypatch) as here, async_client_of(here.url, "v1alpha") as client:
        for _ in range(TIMES):
            token = known((await client.auth_tokens.create(config={"uses": 1})).name)
            async with async_client_of(here.url, "v1alpha", token) as stranger:
                async with stranger.live.connect(model=LIVE_MODEL, config=TEXT) as session:
                    assert PROMPT in await say(session, PROMPT)
            call = here.mock.calls[-1]
            sent = call.target + str(call.headers)
            assert token in sent
            assert not any(key in sent for key in here.mock.keys)


async def test_upload_addresses_use_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with secure_pool(tmp_path, monkeypatch) as here, async_client_of(here.url) as client:
        for _ in range(TIMES):
            content = io.BytesIO(b"a" * 10_000_000)
            file = await client.files.upload(file=content, config={"mime_type": "text/plain"})
            answer = await client.models.generate_content(model=MODEL, contents=[file, PROMPT])
            assert PROMPT in known(answer.text)


async def interaction(client: AsyncClient) -> str:
    """The id of a new one."""
    made = await client.interactions.create(model=MODEL, input=PROMPT)
    assert isinstance(made, Interaction)
    return known(made.id)


async def hear_event(connection: InteractionWebSocketConnection, kind: str) -> Any:  # noqa: ANN401 - the SDK's
    """The next event of this kind."""
    async for event in connection.receive():
        if event.event_type == kind:
            return event
    raise AssertionError(f"no {kind} came")


async def talk(client: AsyncClient, number: str) -> None:
    """Continues an interaction, sends input, and receives its echo."""
    async with client.interactions.connect(id=number) as connection:
        assert (await hear_event(connection, "interaction.connected")).interaction_id == number
        await connection.send(PROMPT)
        assert PROMPT in (await hear_event(connection, "step.delta")).delta.text
        await connection.complete()
        assert await hear_event(connection, "interaction.completed")


async def test_a_live_interaction_uses_the_key_that_owns_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with secure_pool(tmp_path, monkeypatch) as here, async_client_of(here.url) as client:
        for _ in range(TIMES):
            number = await interaction(client)
            owner = here.mock.calls[-1].key
            await talk(client, number)
            assert here.mock.calls[-1].key == owner


async def test_a_token_of_an_interaction_opens_it_without_another_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with secure_pool(tmp_path, monkeypatch) as here, async_client_of(here.url) as client:
        for _ in range(TIMES):
            number = await interaction(client)
            token = known((await client.interactions.auth_tokens.create(number)).auth_token)
            async with async_client_of(here.url, key=token) as stranger:
                await talk(stranger, number)
            call = here.mock.calls[-1]
            sent = call.target + str(call.headers)
            assert token in sent
            assert not any(key in sent for key in here.mock.keys)
            await client.interactions.auth_tokens.delete(number, token)
