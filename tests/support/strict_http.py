"""HTTP/1.1 read as strictly as RFC 9112 can be: what tests compare both ends of the proxy with.

It repairs nothing unless it is told to, and guesses nothing: a message is whole, has not yet come to its end,
or is malformed.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_TEXT = rb"[\t\x20-\x7e\x80-\xff]*"
_REQUEST_LINE = re.compile(rb"(%b) ([\x21-\x7e\x80-\xff]+) HTTP/1\.([01])" % _TOKEN)
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5]\d\d) (%b)" % _TEXT)
_ODD_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5]\d\d)((?:[^0-9\n][^\n]*)?)")
_FIELD = re.compile(rb"(%b):[ \t]*((?:%b[\x21-\x7e\x80-\xff])?)[ \t]*" % (_TOKEN, _TEXT))
_LENGTH = re.compile(rb"[0-9]{1,18}")
_QUOTED = rb'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
_EXTENSION = rb"[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?" % (_TOKEN, _TOKEN, _QUOTED)
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:%b)*" % _EXTENSION)


class MalformedError(ValueError):
    """These bytes are not HTTP/1.1."""


class _IncompleteError(Exception):
    """More bytes are needed."""


@dataclass(frozen=True, repr=False)
class Message:
    """A request (`line` is method, target, minor version) or a response (minor version, status, reason)."""

    line: tuple[bytes, bytes, bytes]
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""
    ended_by_close: bool = False

    def __repr__(self) -> str:
        return f"<{b' '.join(self.line)!r}, {len(self.fields)} fields, {self.body!r}>"

    def all(self, name: bytes) -> list[bytes]:
        """The values of a field."""
        return [value for known, value in self.fields if known.lower() == name]

    @property
    def target(self) -> bytes:
        return self.line[1]

    @property
    def status(self) -> int:
        return int(self.line[1])


@dataclass
class Reading:
    """Whole messages, then either nothing, the beginning of a message (`rest`), or what is malformed."""

    messages: list[Message] = field(default_factory=list)
    rest: bytes = b""
    error: str = ""

    @property
    def whole(self) -> bool:
        """Whether there is nothing else than whole messages."""
        return not self.rest and not self.error


def read_requests(data: bytes) -> Reading:
    """Read the requests of one connection."""
    return _read(_Reader(data), _request)


def read_responses(
    data: bytes, methods: Iterable[bytes] = (), *, closed: bool = False, lenient: bool = False
) -> Reading:
    """Read the final responses of one connection; `methods` are those of its requests, else GET.

    With `closed` the sender has ended the connection in good order (FIN), as far as TCP can tell. `lenient`
    reads what recipients may repair: lines that end in LF alone, fields on several lines, and whatever is in
    a reason or in a value; a field whose name is none does not count. It is strict about all framing.
    """
    asked = iter(methods)

    def response(reader: _Reader) -> Message:
        return _response(reader, next(asked, b"GET"), closed=closed)

    return _read(_Reader(data, lenient=lenient), response)


class _Reader:
    """Bytes, and how many of them were read."""

    def __init__(self, data: bytes, *, lenient: bool = False) -> None:
        self.data, self.at, self.lenient = data, 0, lenient

    def line(self) -> bytes:
        """The next line, which ends in CRLF."""
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise _IncompleteError
        line = self.data[self.at : end]
        self.at = end + 1
        if line.endswith(b"\r"):
            return line[:-1]
        if self.lenient:
            return line
        raise MalformedError(f"a line ends in LF alone: {line[:80]!r}")

    def take(self, size: int) -> bytes:
        """So many bytes."""
        if len(self.data) - self.at < size:
            raise _IncompleteError
        self.at += size
        return self.data[self.at - size : self.at]

    def remaining(self) -> bytes:
        """All that is left."""
        return self.take(len(self.data) - self.at)


def _read(reader: _Reader, one: Callable[[_Reader], Message]) -> Reading:
    reading, begun = Reading(), 0
    try:
        while reader.at < len(reader.data):
            begun = reader.at
            reading.messages.append(one(reader))
    except _IncompleteError:
        reading.rest = reader.data[begun:]
    except MalformedError as error:
        reading.rest, reading.error = reader.data[begun:], str(error)
    return reading


def _match(pattern: re.Pattern[bytes], line: bytes, what: str) -> re.Match[bytes]:
    found = pattern.fullmatch(line)
    if not found:
        raise MalformedError(f"{what}: {line[:80]!r}")
    return found


def _request(reader: _Reader) -> Message:
    while reader.data.startswith(b"\r\n", reader.at):
        reader.line()  # RFC 9112 section 2.2: a server ignores at least one empty line
    method, target, minor = _match(_REQUEST_LINE, reader.line(), "request line").groups()
    message = Message((method, target, minor), _fields(reader))
    hosts = message.all(b"host")
    if len(hosts) > 1 or (minor == b"1" and not hosts):
        raise MalformedError(f"{len(hosts)} Host fields")
    body = _framed(message, minor, reader)
    return Message(message.line, message.fields, body or b"")


def _response(reader: _Reader, method: bytes, *, closed: bool) -> Message:
    while True:
        pattern = _ODD_STATUS_LINE if reader.lenient else _STATUS_LINE
        minor, status, reason = _match(pattern, reader.line(), "status line").groups()
        message = Message((minor, status, reason), _fields(reader))
        if not 100 <= message.status < 200 or message.status == 101:
            break
    if method == b"HEAD" or message.status in (101, 204, 304):
        # A proxy removes the length of 0 that a 204 must not have.
        allowed: tuple[object, ...] = (None, ([b"0"], [])) if reader.lenient else (None,)
        if message.status != 304 and method != b"HEAD" and _framing(message) not in allowed:
            raise MalformedError(f"a {message.status} with a body")
        return message
    body = _framed(message, minor, reader)
    if body is not None:
        return Message(message.line, message.fields, body)
    if not closed:
        raise _IncompleteError
    return Message(message.line, message.fields, reader.remaining(), ended_by_close=True)


def _fields(reader: _Reader) -> tuple[tuple[bytes, bytes], ...]:
    fields: list[tuple[bytes, bytes]] = []
    while line := reader.line():
        if reader.lenient:
            _add_odd(fields, line)
            continue
        name, value = _match(_FIELD, line, "field").groups()
        fields.append((name, value))
    return tuple(fields)


def _add_odd(fields: list[tuple[bytes, bytes]], line: bytes) -> None:
    if line[:1] in b" \t":
        if fields:
            name, value = fields[-1]
            fields[-1] = (name, (value + b" " + line.strip(b" \t")).strip(b" \t"))
        return
    name, _, value = line.partition(b":")
    if re.fullmatch(_TOKEN, name.rstrip(b" \t")):
        # RFC 9112 section 2.2: a bare CR is replaced by a blank, if the field is not refused for it.
        fields.append((name.rstrip(b" \t"), value.replace(b"\r", b" ").strip(b" \t")))


def _framing(message: Message) -> tuple[list[bytes], list[bytes]] | None:
    lengths, codings = message.all(b"content-length"), message.all(b"transfer-encoding")
    return (lengths, codings) if lengths or codings else None


def _framed(message: Message, minor: bytes, reader: _Reader) -> bytes | None:
    """The body as lengths or chunks delimit it; None if there are neither (RFC 9112 section 6.3)."""
    lengths, codings = _framing(message) or ([], [])
    if codings:
        if lengths or minor == b"0" or [coding.lower() for coding in codings] != [b"chunked"]:
            raise MalformedError(f"codings {codings}, lengths {lengths}, HTTP/1.{minor.decode()}")
        return _chunks(reader)
    if not lengths:
        return None
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise MalformedError(f"lengths {lengths}")
    return reader.take(int(lengths[0]))


def _chunks(reader: _Reader) -> bytes:
    body = b""
    while size := int(_match(_CHUNK_SIZE, reader.line(), "chunk size")[1], 16):
        body += reader.take(size)
        if reader.take(2) != b"\r\n":
            raise MalformedError("no CRLF after a chunk")
    _fields(reader)
    return body
