"""What the program writes about itself: lines for people or for machines, never with a secret in them."""

import json
import logging
import sys
import time
from functools import lru_cache
from typing import Any

from proxycore.headers import Redactor

logger = logging.getLogger("proxycore")


class TextFormatter(logging.Formatter):
    """One line for people. Fields follow the message as `name=value`."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line, secrets replaced, a traceback below it."""
        fields: dict[str, Any] = getattr(record, "fields", {})
        text = record.getMessage() + "".join([f" {name}={_quoted(value)}" for name, value in fields.items()])
        line = f"{_moment(int(record.created))} {record.levelname:<7} {_printable(text)}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return self._redactor.text(line)


def _quoted(value: object) -> object:
    return f'"{value}"' if isinstance(value, str) and " " in value else value


@lru_cache(1)
def _moment(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _printable(text: str) -> str:
    """The text on one line: what a client names can neither begin a line nor paint the terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with the same fields."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """The record as a JSON object, secrets replaced."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return self._redactor.text(json.dumps(entry, ensure_ascii=False))


def configure(level: str, form: str, redactor: Redactor) -> None:
    """Sends everything that is logged to standard error, in this form, from this level on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter((JsonFormatter if form == "json" else TextFormatter)(redactor))
    # Nothing here says where in the code it was logged, so nothing needs to find that out for every line
    # (docs.python.org/3/howto/logging.html#optimization).
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Tornado tells of every malformed request and every connection that broke; libcurl of every header,
    # keys included; websockets of every message.
    quiet = {
        "tornado": logging.WARNING,
        "tornado.curl_httpclient": logging.INFO,
        "websockets": logging.WARNING,
    }
    for name, least in quiet.items():
        logging.getLogger(name).setLevel(max(least, logging.getLogger().level))
