"""The stream of the status as server-sent events, which are made once a second for all watchers.

event: status   the whole status: at first, and when the set of keys changed or the watcher missed an update
event: change   `time`, and each other member that changed; of `keys` only those that changed
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from proxycore.stats.figures import FiguresError

Json = dict[str, Any]

_EVERY = 1.0  # seconds between two updates


class EventStream:
    """Makes updates as long as there is a watcher. `current` returns the whole status."""

    def __init__(self, current: Callable[[], Awaitable[Json]]) -> None:
        self._current = current
        self._document: Json | None = None
        self._version = 0
        self._change: bytes | None = None  # the event from the version before to this one
        self._status: bytes | None = None  # the event with this version
        self._watchers = 0
        self._task: asyncio.Task[None] | None = None
        self._updated = asyncio.Event()  # set, and replaced by another one, at each update

    async def watch(self) -> AsyncGenerator[bytes, None]:
        """Yield the events, until `end`. A slow watcher gets fewer of them, but always the latest status."""
        self._watchers += 1
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        task, seen = self._task, 0
        try:
            while not task.done():
                if self._document is None or self._version == seen:
                    await self._wait_for_update(task)
                    continue
                change = self._change if seen == self._version - 1 else None
                seen = self._version
                yield change or self._status_event()
        finally:
            self._watchers -= 1
            if not self._watchers and task is self._task:
                self.end()

    @property
    def watched(self) -> bool:
        """Whether there is a watcher, or one whose stream has not ended yet."""
        return self._watchers > 0

    def end(self) -> None:
        """End all streams; the watchers connect again."""
        if self._task:
            self._task.cancel()
            self._task = self._document = None
            self._version = 0

    async def _wait_for_update(self, task: "asyncio.Task[None]") -> None:
        waiting = asyncio.ensure_future(self._updated.wait())
        try:
            await asyncio.wait({waiting, task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()

    async def _run(self) -> None:
        while True:
            try:
                document = await self._current()
            except FiguresError:
                return  # the watchers connect again
            former, self._document = self._document, document
            self._change = (
                _event("change", change) if former and (change := changes(former, document)) else None
            )
            self._status = None
            self._version += 1
            self._updated.set()
            self._updated = asyncio.Event()
            await asyncio.sleep(_EVERY)

    def _status_event(self) -> bytes:
        if self._status is None:
            self._status = _event("status", self._document or {})
        return self._status


def changes(former: Json, current: Json) -> Json | None:
    """Return the members that changed; None if the set or order of the keys did: the whole status is sent."""
    if [key["name"] for key in former["keys"]] != [key["name"] for key in current["keys"]]:
        return None
    changed = {name: value for name, value in current.items() if value != former[name]}
    if "keys" in changed:
        pairs = zip(former["keys"], current["keys"], strict=True)
        changed["keys"] = [now for before, now in pairs if now != before]
    return {"time": current["time"], **changed}


def _event(kind: str, content: Json) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(content, separators=(',', ':'))}\n\n".encode()
