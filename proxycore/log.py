"""What the program writes about itself: lines for people or for machines, never with a secret in them."""

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TextIO

from proxycore.log_writer import LogWriter
from proxycore.redaction import Redactor

logger = logging.getLogger("proxycore")

_LONGEST = 512  # characters of a field: longer than names and reasons, but paths may have thousands
_LAST_WORDS = 1.0  # seconds that a reader of the log gets when the program ends
_COLOURS = {"DEBUG": "\x1b[2m", "WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[31m"}

Fields = dict[str, Any]


class _Formatter(logging.Formatter):
    """What both forms have in common: what a record says, with every secret in it replaced."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def said(self, record: logging.LogRecord) -> tuple[str, Fields]:
        """The message, and the fields that have a value, long ones shortened. Numbers stay numbers."""
        given: Fields = getattr(record, "fields", {})
        message = record.getMessage()
        fields = {name: _shortened(value) for name, value in given.items() if value is not None}
        together = "\n".join([message, *[value for value in fields.values() if isinstance(value, str)]])
        redact = self._redactor.text
        if redact(together) is together:
            return message, fields
        return redact(message), {
            name: redact(value) if isinstance(value, str) else value for name, value in fields.items()
        }

    def traceback(self, record: logging.LogRecord) -> str:
        """The traceback of the record's exception; empty without one."""
        return self._redactor.text(self.formatException(record.exc_info)) if record.exc_info else ""


class TextFormatter(_Formatter):
    """One line for people. Fields follow the message as `name=value`; a traceback is indented below it."""

    def __init__(self, redactor: Redactor, *, coloured: bool = False) -> None:
        super().__init__(redactor)
        self._coloured = coloured

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
        message, fields = self.said(record)
        text = message + "".join([f" {name}={_quoted(value)}" for name, value in fields.items()])
        level = f"{record.levelname:<7}"
        if self._coloured and record.levelname in _COLOURS:
            level = f"{_COLOURS[record.levelname]}{level}\x1b[0m"
        lines = [f"{_moment(int(record.created))} {level} {_printable(text)}"]
        lines += [f"    {_printable(line)}" for line in self.traceback(record).splitlines()]
        return "\n".join(lines)


def _shortened(value: object) -> object:
    return f"{value[:_LONGEST]}…" if isinstance(value, str) and len(value) > _LONGEST else value


def _quoted(value: object) -> object:
    if isinstance(value, str) and (not value or " " in value or '"' in value):
        value = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{value}"'
    return value


@lru_cache(1)
def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().isoformat()


def _printable(text: str) -> str:
    """The text on one line: what a client names can neither begin a line nor paint the terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


class JsonFormatter(_Formatter):
    """One JSON object a line, with the same fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a JSON object."""
        message, fields = self.said(record)
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        entry = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "message": message,
            **fields,
        }
        if traceback := self.traceback(record):
            entry["exception"] = traceback
        line = json.dumps(entry, ensure_ascii=False)
        # JSON leaves alone what ends a line, or turns its direction, outside of ASCII.
        return line if line.isprintable() else "".join(map(_escaped, line))


def _escaped(char: str) -> str:
    return char if char.isprintable() else json.dumps(char)[1:-1]


class LogHandler(logging.Handler):
    """Hands what is logged to a thread that writes it."""

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__()
        self.writer = LogWriter(stream, self._notice)

    def emit(self, record: logging.LogRecord) -> None:
        """Formats the record here, since what is secret is known at this moment."""
        try:
            if (said := _in_our_words(record)) is not None:
                self.writer.write(self.format(said))
        except Exception:  # noqa: BLE001 - what is logged must not fail for the log's sake
            self.handleError(record)

    def flush(self) -> None:
        """Waits until all lines are written, but not for long. At exit, `logging` calls this by itself."""
        self.writer.flush(_LAST_WORDS)

    def _notice(self, count: int) -> str:
        what = "1 log line was" if count == 1 else f"{count} log lines were"
        message = f"{what} dropped because nobody read the log"
        return self.format(
            logging.makeLogRecord({"levelno": logging.WARNING, "levelname": "WARNING", "msg": message})
        )


def _in_our_words(record: logging.LogRecord) -> logging.LogRecord | None:
    """A record of ours as it is, a library's error in our words; what else it says, at debug only."""
    if record.name.partition(".")[0] in {"proxycore", "root"}:
        return record
    if record.levelno < logging.ERROR:
        return record if logging.getLogger().level <= logging.DEBUG else None
    error = record.exc_info[1] if record.exc_info else None
    what = f"{type(error).__name__}: {error}" if error else record.getMessage()
    fields = {"library": record.name, "error": what}
    return logging.makeLogRecord(record.__dict__ | {"msg": "internal error", "args": (), "fields": fields})


def _handler() -> LogHandler | None:
    handlers = logging.getLogger().handlers
    return next((handler for handler in handlers if isinstance(handler, LogHandler)), None)


def configure(level: str, form: str, redactor: Redactor) -> None:
    """Sends everything that is logged to standard error, in this form, from this level on."""
    handler = _handler()
    if handler is None or handler.writer.stream is not sys.stderr:
        handler = LogHandler(sys.stderr)
        logging.basicConfig(handlers=[handler], force=True)
    if form == "json":
        handler.setFormatter(JsonFormatter(redactor))
    else:
        handler.setFormatter(TextFormatter(redactor, coloured=_is_coloured(sys.stderr, os.environ)))
    # Nothing here says where in the code it was logged, so nothing needs to find that out for every line
    # (docs.python.org/3/howto/logging.html#optimization).
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.getLogger().setLevel(level.upper())
    # Tornado tells of every malformed request and every connection that broke; libcurl of every header,
    # keys included; websockets of every message.
    quiet = {
        "tornado": logging.WARNING,
        "tornado.curl_httpclient": logging.INFO,
        "websockets": logging.WARNING,
    }
    for name, least in quiet.items():
        logging.getLogger(name).setLevel(max(least, logging.getLogger().level))


def _is_coloured(stream: TextIO | None, environment: Mapping[str, str]) -> bool:
    """Whether levels are shown in colour (no-color.org, force-color.org)."""
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR"):
        return True
    return stream is not None and stream.isatty() and environment.get("TERM") != "dumb"


def write(text: str) -> None:
    """Writes a text as it is to standard error, after what was logged before."""
    if handler := _handler():
        handler.writer.write(text)


def flush() -> None:
    """Waits until everything that was logged is written, but no longer than a second."""
    if handler := _handler():
        handler.flush()


def dropped_lines() -> int:
    """How many lines of this process were not written, since nobody read them."""
    handler = _handler()
    return handler.writer.dropped if handler else 0


def _before_fork() -> None:
    if handler := _handler():
        handler.writer.end()


def _in_child() -> None:
    if handler := _handler():
        handler.writer.begin()


if hasattr(os, "register_at_fork"):  # there is none on Windows
    os.register_at_fork(before=_before_fork, after_in_child=_in_child)
