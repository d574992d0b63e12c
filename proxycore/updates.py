"""The stream of updates for those who watch: server-sent events, made once a second for all of them.

event: status   all that is known: at first, and when the set of keys changed or a watcher fell behind
event: change   `time`, and each other member that has changed; of `keys` only those that have
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from proxycore.figures import FiguresError

Json = dict[str, Any]

_EVERY = 1.0  # seconds between two updates


class Updates:
    """Makes updates for as long as somebody watches. `current` returns all that is known."""

    def __init__(self, current: Callable[[], Awaitable[Json]]) -> None:
        self._current = current
        self._document: Json | None = None
        self._version = 0
        self._change: bytes | None = None  # from the version before to this one
        self._whole: bytes | None = None
        self._watchers = 0
        self._work: asyncio.Task[None] | None = None
        self._turn = asyncio.Event()  # set, and another one made, when there is news

    async def watch(self) -> AsyncGenerator[bytes, None]:
        """The events, until `end`. A watcher that is slow gets less of them, but never half of the news."""
        self._watchers += 1
        if self._work is None:
            self._work = asyncio.create_task(self._run())
        work, seen = self._work, 0
        try:
            while not work.done():
                if self._document is None or self._version == seen:
                    await self._news(work)
                    continue
                change = self._change if seen == self._version - 1 else None
                seen = self._version
                yield change or self._all()
        finally:
            self._watchers -= 1
            if not self._watchers and work is self._work:
                self.end()

    @property
    def watched(self) -> bool:
        """Whether anybody watches, or has not left yet."""
        return self._watchers > 0

    def end(self) -> None:
        """Ends all streams: those who watch have to come again."""
        if self._work:
            self._work.cancel()
            self._work = self._document = None
            self._version = 0

    async def _news(self, work: "asyncio.Task[None]") -> None:
        waiting = asyncio.ensure_future(self._turn.wait())
        try:
            await asyncio.wait({waiting, work}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()

    async def _run(self) -> None:
        while True:
            try:
                document = await self._current()
            except FiguresError:
                return  # those who watch come again
            former, self._document = self._document, document
            self._change = (
                _event("change", change) if former and (change := changes(former, document)) else None
            )
            self._whole = None
            self._version += 1
            self._turn.set()
            self._turn = asyncio.Event()
            await asyncio.sleep(_EVERY)

    def _all(self) -> bytes:
        if self._whole is None:
            self._whole = _event("status", self._document or {})
        return self._whole


def changes(former: Json, current: Json) -> Json | None:
    """What has changed; None when that is told better by telling all."""
    if [key["name"] for key in former["keys"]] != [key["name"] for key in current["keys"]]:
        return None
    changed = {name: value for name, value in current.items() if value != former[name]}
    if "keys" in changed:
        pairs = zip(former["keys"], current["keys"], strict=True)
        changed["keys"] = [now for before, now in pairs if now != before]
    return {"time": current["time"], **changed}


def _event(kind: str, content: Json) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(content, separators=(',', ':'))}\n\n".encode()
