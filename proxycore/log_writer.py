"""Writes log lines in a thread of its own, so that a reader that stalls never stops the program.

    write      queues a line; one for which there is no room is dropped and counted
    thread     writes what is queued, in order, the lines of some milliseconds together
    flush      waits until everything is written, for a bounded time

After a line was dropped, none is queued until all that wait are written: then a notice with the number of
dropped lines is written in their place, and lines are queued again.
"""

import contextlib
import io
import os
import select
import threading
import time
from collections.abc import Callable
from typing import TextIO

_QUEUED_BYTES = 1024 * 1024  # about five thousand lines
# So much goes into a pipe in one piece (POSIX, write), and the lines of several processes do not mix.
_AT_ONCE = getattr(select, "PIPE_BUF", 4096)
_BEFORE_FORK = 0.1  # seconds
# Seconds in which further lines are gathered: waking the thread for each costs a twentieth of a request.
_GATHERING = 0.02


class LogWriter:
    """Lines to a stream, or to nowhere when there is none. `notice` words what stands for dropped lines."""

    def __init__(self, stream: TextIO | None, notice: Callable[[int], str]) -> None:
        self.stream = stream
        self.dropped = 0
        self._notice = notice
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self.begin()

    def begin(self) -> None:
        """Begins with nothing queued and without a thread, as in a process that was just forked."""
        self._changed = threading.Condition(threading.Lock())
        self._lines: list[bytes] = []
        self._held = 0  # bytes that are queued or being written
        self._unsaid = 0  # dropped lines that no notice stands for yet
        self._thread: threading.Thread | None = None
        self._ending = False
        self._hurried = False  # somebody waits for what is queued

    def write(self, line: str) -> None:
        """Queues a line, given without its end, or drops it. Never waits."""
        data = self._encoded(line)
        with self._changed:
            if self._unsaid or self._held + len(data) > _QUEUED_BYTES:
                self._unsaid += 1
                self.dropped += 1
                return
            self._lines.append(data)
            self._held += len(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
            if len(self._lines) == 1:
                self._changed.notify_all()

    def flush(self, seconds: float) -> bool:
        """Waits until everything is written, but no longer than this; returns whether it is."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._hurried = True
            self._changed.notify_all()
            while self._held or self._unsaid:
                if (left := deadline - time.monotonic()) <= 0:
                    return False
                self._changed.wait(left)
        return True

    def end(self) -> None:
        """Ends the thread, which begins anew with the next line. One that a reader stalls is left alone.

        To be called before a fork: what a thread holds at that moment stays locked in the child.
        """
        if not self.flush(_BEFORE_FORK):
            return
        with self._changed:
            thread, self._ending = self._thread, True
            self._changed.notify_all()
        if thread:
            thread.join()
        self._thread, self._ending = None, False

    def _run(self) -> None:
        while data := self._next():
            lost = self._send(data)
            with self._changed:
                self._held -= len(data)
                self.dropped += lost
                self._changed.notify_all()

    def _next(self) -> bytes:
        """Waits for something to write; nothing when the thread is to end."""
        with self._changed:
            while not (self._lines or self._unsaid or self._ending):
                self._changed.wait()
            if not (self._hurried or self._ending):
                self._changed.wait(_GATHERING)
            self._hurried = False
            if self._lines:
                batch, self._lines = b"".join(self._lines), []
                return batch
            if not self._unsaid:
                return b""
            notice, self._unsaid = self._encoded(self._notice(self._unsaid)), 0
            self._held += len(notice)
            return notice

    def _encoded(self, line: str) -> bytes:
        return line.encode(self._encoding, errors="backslashreplace") + b"\n"

    def _send(self, data: bytes) -> int:
        """Writes whole lines; returns how many can't be written, as when nobody reads any more."""
        try:
            number = self.stream.fileno() if self.stream else -1
        except (io.UnsupportedOperation, ValueError):
            return self._send_text(data)
        lost = begin = 0
        while begin < len(data):
            end = _end_of_piece(data, begin)
            lost += 0 if _write_whole(number, data[begin:end]) else data.count(b"\n", begin, end)
            begin = end
        return lost

    def _send_text(self, data: bytes) -> int:
        with contextlib.suppress(ValueError):
            if self.stream:
                self.stream.write(data.decode(self._encoding))
        return 0


def _end_of_piece(data: bytes, begin: int) -> int:
    """Where a piece ends: after the last line that fits into it, else after the first."""
    if len(data) - begin <= _AT_ONCE:
        return len(data)
    return data.rfind(b"\n", begin, begin + _AT_ONCE) + 1 or data.find(b"\n", begin) + 1


def _write_whole(number: int, data: bytes) -> bool:
    # Not the stream itself: its lock would be held by a stalled thread, and the interpreter wants it at exit.
    while data:
        try:
            data = data[os.write(number, data) :]
        except BlockingIOError:  # another process has set the pipe so
            select.select([], [number], [])
        except OSError:
            return False
    return True
