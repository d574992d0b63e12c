"""The mock of the Gemini API with two keys and a turned clock, and an HTTP client of it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tornado.ioloop import IOLoop

from proxycore.demo import Call, Health, MockServer
from tests.support.clocks import TurnedClock
from tests.support.wire import Got, ask

MINE, OTHER = "AQ.mine", "AQ.other"
FLASH = "/v1beta/models/gemini-2.5-flash"
GENERATE, STREAM = f"{FLASH}:generateContent", f"{FLASH}:streamGenerateContent"
HELLO = {"contents": [{"parts": [{"text": "hi"}]}]}


@dataclass
class Served:
    """A mock that runs, and its URL."""

    mock: MockServer
    url: str

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    @property
    def last(self) -> Call:
        return self.mock.calls[-1]


@dataclass
class Here(Served):
    """A mock whose clock is turned, and a client of it."""

    clock: TurnedClock

    async def ask(
        self, method: str, target: str, body: object = None, *fields: tuple[str, str], key: str = MINE
    ) -> Got:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        credential = [("X-Goog-Api-Key", key)] if key else []
        return await ask(self.port, method, target, *credential, *fields, body=data)

    async def json(self, method: str, target: str, body: object = None, key: str = MINE) -> Any:  # noqa: ANN401
        return json.loads((await self.ask(method, target, body, key=key)).body)

    async def refusal(
        self, method: str, target: str, body: object = None, key: str = OTHER
    ) -> tuple[int, str]:
        got = await self.ask(method, target, body, key=key)
        return got.status, json.loads(got.body)["error"]["message"]

    async def generate(self, *fields: tuple[str, str], model: str = "gemini-2.5-flash") -> Got:
        return await self.ask("POST", f"/v1beta/models/{model}:generateContent", HELLO, *fields)

    async def error(self, health: Health, target: str = GENERATE, body: object = HELLO) -> Any:  # noqa: ANN401
        """Give the key a health, and return the error in the response to a request."""
        self.mock.keys[MINE] = health
        got = await self.ask("POST", target, body)
        found = json.loads(got.body)["error"]
        assert (got.status, got.one("content-type")) == (found["code"], "application/json; charset=UTF-8")
        return found

    async def upload(self, content: bytes = b"content", key: str = MINE) -> Any:  # noqa: ANN401
        raw = ("X-Goog-Upload-Protocol", "raw"), ("Content-Type", "text/plain")
        return json.loads((await self.ask("POST", "/upload/v1beta/files", content, *raw, key=key)).body)[
            "file"
        ]


def details(error: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return the details of an error by their types."""
    found = error.get("details", [])
    return {detail["@type"].removeprefix("type.googleapis.com/google.rpc."): detail for detail in found}


def started(io_loop: IOLoop) -> Iterator[Here]:
    """Yield a mock and its client for a fixture; stop it at the end."""
    clock = TurnedClock()
    mock = MockServer({MINE: Health.healthy(), OTHER: Health.healthy()}, clock=clock)
    yield Here(mock, mock.listen(), clock)
    io_loop.run_sync(mock.stop)
