"""Clients that want to stop the program for all others, each in a process of its own, for a few seconds.

Each has a few connections, on which it does what costs most, as fast as it is answered.

    python -m tests.bench.attackers NAME --port N --seconds S

prints how often each status came back, as JSON. `upstream` is what the program relays to meanwhile.
"""

import argparse
import asyncio
import contextlib
import gzip
import itertools
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

CLIENT_KEY = "the-key-of-clients-in-the-bench"
MB = 1024 * 1024

_GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
_BOMBED = "/v1beta/models/bombed:generateContent"
_ENDLESS = "/v1beta/models/endless:generateContent"
_INTERACTIONS = "/v1beta/interactions"
_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
_ERROR = b'{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "%b"}}' % (b"a" * 8 * MB)

Use = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Attack:
    """Where it goes, for how long, and what came back."""

    port: int
    until: float
    statuses: Counter[str] = field(default_factory=Counter)

    @property
    def over(self) -> bool:
        return time.monotonic() > self.until

    async def connected(self, use: Use) -> None:
        """Connections that are used so, one after the other, each until it breaks, until the time is over."""
        while not self.over:
            try:
                async with asyncio.timeout(self.until - time.monotonic()):
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=MB)
                    try:
                        await use(reader, writer)
                    finally:
                        writer.transport.abort()
            except TimeoutError:
                return
            except (OSError, EOFError) as error:
                self.statuses[type(error).__name__] += 1
                await asyncio.sleep(0.01)

    async def repeat(self, *requests: bytes) -> None:
        """The same requests on one connection, as fast as they are answered."""

        async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                for request in requests:
                    writer.write(request)
                    await writer.drain()
                    await self.answer(reader)

        await self.connected(ask)

    async def answer(self, reader: asyncio.StreamReader) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.statuses[head.split(b" ", 2)[1].decode()] += 1
        if length := re.search(rb"(?i)\r\ncontent-length: (\d+)", head):
            await reader.readexactly(int(length[1]))


def _head(target: str, size: int = 0, *fields: str, method: str = "POST", key: str = CLIENT_KEY) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: bench", f"x-goog-api-key: {key}", *fields]
    return ("\r\n".join([*lines, f"Content-Length: {size}"]) + "\r\n\r\n").encode()


def _post(target: str, body: bytes, *fields: str) -> bytes:
    return _head(target, len(body), *fields) + body


async def names(attack: Attack) -> None:
    """Bodies with 500,000 names of resources, some with the same ones and some with others."""
    body = b"{%b}" % b",".join(b'"fileUri":"files/%d"' % number for number in range(500_000))
    await asyncio.gather(*(attack.repeat(_post(_GENERATE, body)) for _ in range(2)))


async def large_bodies(attack: Attack) -> None:
    """Bodies of 100 MB, eight at a time."""
    piece = bytes(MB)

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_head(_GENERATE, 100 * MB))
        for _ in range(100):
            writer.write(piece)
            await writer.drain()
        await attack.answer(reader)

    await asyncio.gather(*(attack.connected(send) for _ in range(8)))


async def searched_bodies(attack: Attack) -> None:
    """Bodies of 20 MB in which everything looks like a name at first."""
    bodies = [b'"uri":"https://x/v1/files/%d",' * (20 * MB // 30), b'"' * 20 * MB, b'"uri":"' * (3 * MB)]
    await asyncio.gather(*(attack.repeat(_post(_INTERACTIONS, body)) for body in bodies))


async def json_bodies(attack: Attack) -> None:
    """JSON that takes long to parse: deep, of many values, of long numbers."""
    size = 250_000
    bodies = [b"[" * size, b"[" + b"{}," * (size // 3) + b"{}]", b"[" + (b"9" * 4000 + b",") * 60 + b"1]"]
    await asyncio.gather(*(attack.repeat(_post(_INTERACTIONS, body)) for body in bodies))


async def bombs(attack: Attack) -> None:
    """Requests that the upstream refuses with 8 kB that unfold to 8 MB."""
    await asyncio.gather(*(attack.repeat(_post(_BOMBED, b"{}")) for _ in range(2)))


async def models(attack: Attack) -> None:
    """A model that nobody ever heard of with every request."""

    numbers = itertools.count()

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in numbers:
            writer.write(_post(f"/v1beta/models/invented-{number}:generateContent", b"{}"))
            await attack.answer(reader)

    await asyncio.gather(*(attack.connected(ask) for _ in range(2)))


async def targets(attack: Attack) -> None:
    """Targets of 15 kB (parameters, and escapes) and of 200 kB."""
    queries = ["?" + "x=1&" * 3800, "?" + "%6b=1&" * 2500, "?uri=" + "%61" * 5000, "?" + "x" * 200_000]
    await asyncio.gather(*(attack.repeat(_head(_GENERATE + query)) for query in queries))


async def fields(attack: Attack) -> None:
    """Thousands of header fields, and a Connection field that names thousands."""
    many = [f"X{number}: x" for number in range(5000)]
    named = [f"Connection: {','.join(f'x{number}' for number in range(7000))}"]
    await asyncio.gather(*(attack.repeat(_head(_GENERATE, 0, *some)) for some in (many, named)))


async def open_heads(attack: Attack) -> None:
    """Heads that never end, and come in small pieces."""

    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/1.1\r\nX: ")
        for _ in range(1000):
            writer.write(b"x" * 60)
            await asyncio.sleep(0.1)

    await asyncio.gather(*(attack.connected(drip) for _ in range(30)))


async def slow_bodies(attack: Attack) -> None:
    """A hundred bodies of half a megabyte, of which a few bytes come every second."""

    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_head(_GENERATE, MB // 2))
        while True:
            writer.write(b"xxxx")
            await asyncio.sleep(0.5)

    await asyncio.gather(*(attack.connected(drip) for _ in range(100)))


async def credentials(attack: Attack) -> None:
    """Wrong credentials, as fast as they are refused."""
    wrong = _head(_GENERATE, key="wrong-key")
    many = _head(f"{_GENERATE}?{'key=x&' * 2000}", key="wrong-key")
    await asyncio.gather(*(attack.repeat(request) for request in (wrong, many)))


async def slow_readers(attack: Attack) -> None:
    """A hundred who ask for an answer without end, and never read it."""

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(_post(_ENDLESS, b"{}"))
        await asyncio.sleep(60)

    await asyncio.gather(*(attack.connected(ask) for _ in range(100)))


ATTACKS: dict[str, Callable[[Attack], Coroutine[Any, Any, None]]] = {
    attack.__name__: attack
    for attack in (
        names,
        large_bodies,
        searched_bodies,
        json_bodies,
        bombs,
        models,
        targets,
        fields,
        open_heads,
        slow_bodies,
        credentials,
        slow_readers,
    )
}


async def upstream(port: int) -> None:
    """Takes bodies of any size, and answers at once: 200, or the bomb."""
    bomb = gzip.compress(_ERROR, 9)
    refusal = (
        b"HTTP/1.1 429 X\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: "
    )
    refusal += b"%d\r\n\r\n" % len(bomb) + bomb

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
                left = int(length[1]) if length else 0
                while left and (data := await reader.read(min(left, MB))):
                    left -= len(data)
                if _ENDLESS.encode() in head:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
                while _ENDLESS.encode() in head:
                    writer.write(bytes(MB // 16))
                    await writer.drain()
                writer.write(refusal if _BOMBED.encode() in head else _OK)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, limit=MB)
    await server.serve_forever()


def main() -> None:
    """Attacks, or is the upstream."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=[*ATTACKS, "upstream"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    if options.name == "upstream":
        asyncio.run(upstream(options.port))
        return
    os.nice(10)  # what is measured is the program, not who gets the load's core
    attack = Attack(options.port, time.monotonic() + min(options.seconds, 30))
    asyncio.run(ATTACKS[options.name](attack))
    sys.stdout.write(json.dumps(attack.statuses) + "\n")


if __name__ == "__main__":
    main()
