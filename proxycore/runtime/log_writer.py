"""Writes log lines in a thread, so that a slow reader of the log never blocks the program.

    write      queues a line; when the queue is full, drops and counts it
    thread     writes the queued lines in order, those of a tenth of a second together
    flush      waits until the queue is written, for a bounded time

Once a line was dropped, further lines are dropped until the queue is written. Then a notice with the number
of dropped lines is written, and lines are queued again.
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
# A write of so many bytes to a pipe is atomic (POSIX, write), so lines of several processes do not mix.
_ATOMIC = getattr(select, "PIPE_BUF", 4096)
_FORK_TIMEOUT = 0.1  # seconds
# Seconds in which lines are collected for one write: waking the thread for each costs a twentieth of a
# request.
_COLLECTING = 0.1


class LogWriter:
    """Writes lines to a stream; None discards them. `notice` makes the line that replaces dropped ones."""

    def __init__(self, stream: TextIO | None, notice: Callable[[int], str]) -> None:
        self.stream = stream
        self.dropped = 0
        self._notice = notice
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self.begin()

    def begin(self) -> None:
        """Start with an empty queue and without a thread, also in a child after a fork."""
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._lines: list[bytes] = []
        self._held = 0  # bytes that are queued or being written
        self._unreported = 0  # dropped lines since the last notice
        self._thread: threading.Thread | None = None
        self._ending = False
        self._flushing = False  # somebody waits for the queue

    def write(self, line: str) -> None:
        """Queue a line, given without its end, or drop it. Never blocks."""
        data = self._encoded(line)
        with self._lock:  # not by way of the condition, which enters it in Python
            if self._unreported or self._held + len(data) > _QUEUED_BYTES:
                self._unreported += 1
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
        """Wait until everything is written, so many seconds at most; returns whether it is."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._flushing = True
            self._changed.notify_all()
            while self._held or self._unreported:
                if (left := deadline - time.monotonic()) <= 0:
                    return False
                self._changed.wait(left)
        return True

    def end(self) -> None:
        """End the thread; the next line starts a new one. A thread that is blocked by the reader is left.

        To be called before a fork: a lock that a thread holds then stays locked in the child.
        """
        if not self.flush(_FORK_TIMEOUT):
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
        """Wait for bytes to write; empty when the thread is to end."""
        with self._changed:
            while not (self._lines or self._unreported or self._ending):
                self._changed.wait()
            if not (self._flushing or self._ending):
                self._changed.wait(_COLLECTING)
            self._flushing = False
            if self._lines:
                batch, self._lines = b"".join(self._lines), []
                return batch
            if not self._unreported:
                return b""
            notice, self._unreported = self._encoded(self._notice(self._unreported)), 0
            self._held += len(notice)
            return notice

    def _encoded(self, line: str) -> bytes:
        return line.encode(self._encoding, errors="backslashreplace") + b"\n"

    def _send(self, data: bytes) -> int:
        """Write whole lines; returns how many could not be written, as when the reader has ended."""
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
    if len(data) - begin <= _ATOMIC:
        return len(data)
    return data.rfind(b"\n", begin, begin + _ATOMIC) + 1 or data.find(b"\n", begin) + 1


def _write_whole(number: int, data: bytes) -> bool:
    # Not through the stream: a blocked thread would hold its lock, which the interpreter needs at exit.
    while data:
        try:
            data = data[os.write(number, data) :]
        except BlockingIOError:  # another process has made the pipe non-blocking
            select.select([], [number], [])
        except OSError:
            return False
    return True
