"""The log: lines for people or JSON for machines on standard error, without any secret.

Loggers of all modules are below `proxycore`; the handler is that of the root, so that libraries are logged
in the same form.
"""

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any, TextIO

from proxycore.http.redaction import Redactor
from proxycore.runtime.log_writer import LogWriter

_LONGEST = 512  # characters of a field: longer than names and reasons, but paths may have thousands
_FLUSH_TIMEOUT = 1.0  # seconds that a reader of the log gets when the program ends
_ENCODER = json.JSONEncoder(ensure_ascii=False)
_COLOURS = {"DEBUG": "\x1b[2m", "WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[31m"}

Fields = dict[str, Any]


class _Formatter(logging.Formatter):
    """What both forms have in common: every secret is replaced."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def written(self, record: logging.LogRecord, write: Callable[[str, Fields], str]) -> str:
        """What `write` makes of the record's message and its fields. Numbers stay numbers."""
        message, fields, redact = record.getMessage(), getattr(record, "fields", {}), self._redactor.text
        text = write(message, fields)
        if redact(text) is text:
            return text
        return write(
            redact(message),
            {name: redact(value) if isinstance(value, str) else value for name, value in fields.items()},
        )

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
        text = self.written(record, _as_text)
        level = f"{record.levelname:<7}"
        if self._coloured and record.levelname in _COLOURS:
            level = f"{_COLOURS[record.levelname]}{level}\x1b[0m"
        line = f"{_time(int(record.created))} {level} {_printable(text)}"
        if not record.exc_info:
            return line
        return "\n".join([line, *(f"    {_printable(line)}" for line in self.traceback(record).splitlines())])


def _as_text(message: str, fields: Fields) -> str:
    return message + "".join(
        [
            f" {name}={_quoted(value) if isinstance(value, str) else value}"
            for name, value in fields.items()
            if value is not None
        ]
    )


def _quoted(value: str) -> str:
    value = _shortened(value)
    if not value or " " in value or '"' in value:
        value = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{value}"'
    return value


def _shortened(value: str) -> str:
    return f"{value[:_LONGEST]}…" if len(value) > _LONGEST else value


@lru_cache(1)
def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().isoformat()


def _printable(text: str) -> str:
    """The text on one line: nothing from outside can begin a line or control the terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


class JsonFormatter(_Formatter):
    """One JSON object a line, with the same fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a JSON object."""
        line = self.written(record, partial(self._as_json, record))
        # `json` escapes neither line separators nor direction marks outside of ASCII.
        return line if line.isprintable() else "".join(map(_escaped, line))

    def _as_json(self, record: logging.LogRecord, message: str, fields: Fields) -> str:
        entry = {
            "time": f"{_utc(int(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "message": message,
        }
        for name, value in fields.items():
            if value is not None:
                entry[name] = _shortened(value) if isinstance(value, str) else value
        if traceback := self.traceback(record):
            entry["exception"] = traceback
        return _ENCODER.encode(entry)


@lru_cache(1)
def _utc(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def _escaped(char: str) -> str:
    return char if char.isprintable() else json.dumps(char)[1:-1]


class LogHandler(logging.Handler):
    """Formats records, and passes them to a thread that writes them."""

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__()
        self.writer = LogWriter(stream, self._notice)

    def emit(self, record: logging.LogRecord) -> None:
        """Format and queue the record. It is formatted now, since the secrets to redact may change later."""
        try:
            if (own := _reworded(record)) is not None:
                self.writer.write(self.format(own))
        except Exception:  # noqa: BLE001 - a fault of the log must not reach the code that logs
            self.handleError(record)

    def flush(self) -> None:
        """Wait until all lines are written, a second at most. `logging` calls this at exit."""
        self.writer.flush(_FLUSH_TIMEOUT)

    def _notice(self, count: int) -> str:
        what = "1 log line was" if count == 1 else f"{count} log lines were"
        message = f"{what} dropped because the log output was blocked"
        return self.format(
            logging.makeLogRecord({"levelno": logging.WARNING, "levelname": "WARNING", "msg": message})
        )


def _reworded(record: logging.LogRecord) -> logging.LogRecord | None:
    """Our own record unchanged, a library's error as `internal error`; its other records only at debug."""
    if record.name.partition(".")[0] in {"proxycore", "root"}:
        return record
    if record.levelno < logging.ERROR:
        return record if logging.getLogger().level <= logging.DEBUG else None
    error = record.exc_info[1] if record.exc_info else None
    what = f"{type(error).__name__}: {error}" if error else record.getMessage()
    fields = {"library": record.name, "error": what}
    return logging.makeLogRecord(record.__dict__ | {"msg": "internal error", "args": (), "fields": fields})


def _handler() -> LogHandler | None:
    """The handler that `configure` has installed."""
    handlers = logging.getLogger().handlers
    return next((handler for handler in handlers if isinstance(handler, LogHandler)), None)


def configure(level: str, form: str, redactor: Redactor) -> None:
    """Send everything that is logged to standard error: `form` is text or json, `level` the least level.

    May be called again, to change any of them.
    """
    handler = _handler()
    if handler is None or handler.writer.stream is not sys.stderr:
        handler = LogHandler(sys.stderr)
        logging.basicConfig(handlers=[handler], force=True)
    if form == "json":
        handler.setFormatter(JsonFormatter(redactor))
    else:
        handler.setFormatter(TextFormatter(redactor, coloured=_is_coloured(sys.stderr, os.environ)))
    # No format has the place in the code, so it need not be looked up for every line
    # (docs.python.org/3/howto/logging.html#optimization).
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.getLogger().setLevel(level.upper())
    # Tornado logs every malformed request and every broken connection; websockets every message.
    least_levels = {
        "tornado": logging.WARNING,
        "websockets": logging.WARNING,
    }
    for name, least in least_levels.items():
        logging.getLogger(name).setLevel(max(least, logging.getLogger().level))


def _is_coloured(stream: TextIO | None, environment: Mapping[str, str]) -> bool:
    """Whether levels are shown in colour (no-color.org, force-color.org)."""
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR"):
        return True
    return stream is not None and stream.isatty() and environment.get("TERM") != "dumb"


def write(text: str) -> None:
    """Write a text unchanged to standard error, after what was logged before."""
    if handler := _handler():
        handler.writer.write(text)


def flush() -> None:
    """Wait until everything that was logged is written, a second at most."""
    if handler := _handler():
        handler.flush()


def dropped_lines() -> int:
    """How many lines of this process were dropped, since nobody read the log."""
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
