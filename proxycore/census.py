"""The census: what all processes of a host have counted, and what is under way in each.

A process alone asks itself. Workers send what they counted to the hall, through a Unix socket: every few
seconds, at their end, and whenever one of them wants to know the sum. The hall adds it up, so that it is
exact, and nothing is lost with a worker that ends.

    worker to hall   {"counts": [...], "now": {...}}, and "question": N when it wants the sum, or
                     "answer": N when the hall has asked
    hall to worker   {"question": N}, or the sum: {"answer": N, "counts": [...], "now": [{...}, ...]}

Each question is asked anew and has a number: an answer that is under way already may lack what came last.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import Any, Generic, TypeVar

from proxycore.history import forget_old
from proxycore.meter import Meter
from proxycore.tally import Tally

_LONGEST_LINE = 256 * 1024 * 1024  # bytes
_EVERY = 5.0  # seconds between two messages of a worker that nobody asked for
_REST = 0.1  # seconds between two tries to reach the hall
_PATIENCE = 1.0  # seconds that a worker may take to answer the hall, and twice that the hall to answer it

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Figures:
    """What was counted by all, and what is under way in each process, as `Meter.now` tells it."""

    tally: Tally
    processes: list[dict[str, Any]]


class CensusError(Exception):
    """The figures can't be had now."""


class _Questions(Generic[Answer]):
    """What was asked through a connection, and is not answered yet. A future's None: it never will be."""

    def __init__(self) -> None:
        self._count = 0
        self._open: dict[int, asyncio.Future[Answer | None]] = {}

    def new(self) -> "tuple[int, asyncio.Future[Answer | None]]":
        """A question's number, and its answer to be."""
        self._count += 1
        self._open[self._count] = future = asyncio.get_running_loop().create_future()
        return self._count, future

    def answered(self, number: int, answer: Answer) -> None:
        """The answer came, which nobody may wait for any more."""
        if (future := self._open.pop(number, None)) and not future.done():
            future.set_result(answer)

    def lost(self) -> None:
        """No answer will come any more."""
        for future in self._open.values():
            if not future.done():
                future.set_result(None)
        self._open.clear()


class Census:
    """The figures of a process that is alone."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    async def figures(self) -> Figures:
        """All figures, as of now."""
        self._meter.catch_up()
        return Figures(self._meter.tally, [self._meter.now()])


class HostCensus(Census):
    """The figures of all workers of a host, through the hall's socket at `path`."""

    def __init__(self, meter: Meter, path: Path) -> None:
        super().__init__(meter)
        self._path = path
        self._writer: asyncio.StreamWriter | None = None
        self._connected = asyncio.Event()
        self._questions = _Questions[Figures]()
        self._work = [asyncio.create_task(work) for work in (self._stay_connected(), self._tell_often())]

    async def figures(self) -> Figures:
        """All figures, as of now. Raises CensusError when the hall does not tell them, even after a while.

        Our own alone would look as if everything had begun anew.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2 * _PATIENCE):
                await self._connected.wait()
                question, figures = self._questions.new()
                self._tell(question=question)
                if told := await figures:
                    return told
        raise CensusError("What the other processes have counted can't be had now.")

    async def close(self) -> None:
        """Tells what is left to tell, and ends."""
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        if self._writer:
            self._tell()
            self._writer.close()
            with contextlib.suppress(ConnectionError):
                await self._writer.wait_closed()

    async def _tell_often(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            self._tell()

    def _tell(self, **numbers: int) -> None:
        if self._writer:
            self._meter.catch_up()
            message = {"counts": self._meter.tally.take(), "now": self._meter.now(), **numbers}
            self._writer.write(_line(message))

    async def _stay_connected(self) -> None:
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_unix_connection(str(self._path), limit=_LONGEST_LINE)
                self._writer = writer
                self._connected.set()
                self._tell()
                while line := await reader.readline():
                    self._heard(json.loads(line))
            self._lost()
            await asyncio.sleep(_REST)

    def _heard(self, message: Mapping[str, Any]) -> None:
        if "question" in message:
            self._tell(answer=message["question"])
        else:
            tally = Tally()
            tally.merge(message["counts"])
            self._questions.answered(message["answer"], Figures(tally, message["now"]))

    def _lost(self) -> None:
        self._writer = None
        self._connected.clear()
        self._questions.lost()


class _Desk:
    """The hall's end of a connection to a worker."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.now: dict[str, Any] | None = None
        self.questions = _Questions[None]()
        self._writer = writer

    def ask(self) -> "asyncio.Future[None]":
        """Asks the worker for what it has counted; the future is done when that is added up."""
        question, added = self.questions.new()
        self.send({"question": question})
        return added

    def send(self, message: Mapping[str, Any]) -> None:
        """Sends it a message."""
        self._writer.write(_line(message))

    async def close(self) -> None:
        """Ends the connection."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


class CensusHall:
    """Adds up what the workers of a host have counted. `clock` tells the moment, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tally = Tally()
        self._desks: set[_Desk] = set()
        self._answers: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def serve(self, listener: socket) -> None:
        """Takes connections from now on."""
        self._server = await asyncio.start_unix_server(self._connected, sock=listener, limit=_LONGEST_LINE)

    async def close(self) -> None:
        """Takes no more, and closes those that there are."""
        if self._server:
            self._server.close()
        await asyncio.gather(*(desk.close() for desk in self._desks))

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        desk = _Desk(writer)
        self._desks.add(desk)
        try:
            while line := await reader.readline():
                message = json.loads(line)
                self._tally.merge(message["counts"])
                forget_old(self._tally, self._clock())
                desk.now = message["now"]
                if "answer" in message:
                    desk.questions.answered(message["answer"], None)
                if "question" in message:
                    task = asyncio.create_task(self._answer(desk, message["question"]))
                    self._answers.add(task)
                    task.add_done_callback(self._answers.discard)
        except ConnectionError:
            pass
        finally:
            self._desks.discard(desk)
            desk.questions.lost()
            writer.close()

    async def _answer(self, asker: _Desk, question: int) -> None:
        others = [desk.ask() for desk in self._desks if desk is not asker]
        if others:
            await asyncio.wait(others, timeout=_PATIENCE)
        now = [desk.now for desk in self._desks if desk.now]
        asker.send({"answer": question, "counts": self._tally.entries(), "now": now})


def _line(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"
