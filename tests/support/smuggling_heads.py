"""Requests that attack with their line and their fields, in the way of `smuggling`."""

from tests.support.smuggling import CL2, HOST, PATH, SMUGGLED, TE, WHOLE, Case, post, refused, relayed


def get(fields: bytes = HOST, *, path: bytes = PATH, version: bytes = b"HTTP/1.1") -> bytes:
    """A GET with these fields."""
    return b"GET " + path + b" " + version + b"\r\n" + fields + b"\r\n"


def hosted(value: bytes) -> Case:
    """A GET with a Host that is none."""
    return refused(get(b"Host:" + value + b"\r\n"))


def with_field(line: bytes) -> Case:
    """A GET with a field that is none."""
    return refused(get(HOST + line + b"\r\n"))


def whole(path: bytes) -> Case:
    """A GET whose target goes on as it is."""
    return relayed(get(path=path), target=path)


HOSTS = {
    "no host": refused(get(b"")),
    "two hosts": refused(get(HOST + HOST)),
    "another host": refused(get(HOST + b"Host: evil.example\r\n")),
    "an empty host": hosted(b""),
    "a host of blanks": hosted(b" \t"),
    "two hosts in one": hosted(b" a.example, evil.example"),
    "two hosts with a blank": hosted(b" a.example evil.example"),
    "a host with a path": hosted(b" a.example/evil"),
    "a host with userinfo": hosted(b" user@evil.example"),
    "a host with a query": hosted(b" a.example?evil"),
    "a host with a fragment": hosted(b" a.example#evil"),
    "a host with a backslash": hosted(b" a.example\\evil"),
    "a host with a scheme": hosted(b" http://a.example"),
    "a host with a bad port": hosted(b" a.example:evil"),
    "a host with NUL": hosted(b" a.example\x00evil"),
    "a blank before the colon of a host": refused(get(b"Host : a.example\r\n")),
    "a host after a blank": refused(get(b" Host: a.example\r\n")),
    "a host on two lines": refused(get(b"Host:\r\n a.example\r\n")),
    "no host in HTTP/1.0": Case(get(b"", version=b"HTTP/1.0"), last=True),
    "a close": Case(get(HOST + b"Connection: close\r\n"), last=True),
    "a close among others": Case(get(HOST + b"Connection: x-y, Close\r\n"), last=True),
    "a close in the second field": Case(get(HOST + b"Connection: x-y\r\nConnection: close\r\n"), last=True),
    "a host with a port": relayed(get(b"Host: a.example:8000\r\n")),
    "a host of IPv6": relayed(get(b"Host: [::1]:8000\r\n")),
}

FIELDS = {
    "a folded field": with_field(b"X: y\r\n z"),
    "a field folded with a tab": with_field(b"X: y\r\n\tz"),
    "a fold of nothing": with_field(b"X: y\r\n "),
    "a blank before the colon": with_field(b"X : y"),
    "a tab before the colon": with_field(b"X\t: y"),
    "a blank in a name": with_field(b"X Y: z"),
    "no name": with_field(b": y"),
    "no colon": with_field(b"X"),
    "brackets in a name": with_field(b"X(Y): z"),
    "a slash in a name": with_field(b"X/Y: z"),
    "NUL in a name": with_field(b"X\x00: y"),
    "a control character in a name": with_field(b"X\x01: y"),
    "another alphabet in a name": with_field(b"X\xe9: y"),
    "NUL in a value": with_field(b"X: a\x00b"),
    "a control character in a value": with_field(b"X: a\x01b"),
    "a backspace in a value": with_field(b"X: a\x08b"),
    "DEL in a value": with_field(b"X: a\x7fb"),
    "CR in a value": with_field(b"X: a\rb"),
    "CR before the value": with_field(b"X:\ra"),
    "CR at the end of a value": with_field(b"X: a\r"),
    "LF after a field": with_field(b"X: a\nY: b"),
    "LF after the last field": refused(b"GET " + PATH + b" HTTP/1.1\r\n" + HOST + b"X: y\n\r\n"),
    "LF for the empty line": refused(b"GET " + PATH + b" HTTP/1.1\r\n" + HOST + b"\n"),
    "LF everywhere": refused(b"GET " + PATH + b" HTTP/1.1\nHost: a.example\n\n"),
    "CR for the empty line": refused(b"GET " + PATH + b" HTTP/1.1\r\n" + HOST + b"\rX: y\r\n\r\n"),
    "10,000 fields": refused(get(HOST + b"A: b\r\n" * 10_000), 400, 431),
    "a field of 100 kB": refused(get(HOST + b"X: " + b"y" * 100_000 + b"\r\n"), 400, 431),
    "a name of 100 kB": refused(get(HOST + b"x" * 100_000 + b": y\r\n"), 400, 431),
    "200 fields": refused(get(HOST + b"A: b\r\n" * 200), 400, 431),
    "another alphabet in a value": relayed(get(HOST + b"X: \xe4\xf6\r\n")),
    "an empty value": relayed(get(HOST + b"X:\r\n")),
    "80 fields": relayed(get(HOST + b"A: b\r\n" * 80)),
    "a length named by Connection": relayed(post(CL2 + b"Connection: content-length\r\n"), b"{}"),
    "a coding named by Connection": relayed(post(TE + b"Connection: transfer-encoding\r\n", WHOLE), b"{}"),
    "the host named by Connection": relayed(get(HOST + b"Connection: host\r\n")),
    "the key named by Connection": relayed(get(HOST + b"Connection: x-goog-api-key, authorization\r\n")),
    "h2c": relayed(
        get(HOST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n")
    ),
    "a WebSocket on a path without": relayed(get(HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n")),
    "100-continue": relayed(post(CL2 + b"Expect: 100-continue\r\n"), b"{}"),
    "100-continue in capitals": relayed(post(CL2 + b"Expect: 100-CONTINUE\r\n"), b"{}"),
    "100-continue without a body": relayed(get(HOST + b"Expect: 100-continue\r\n")),
    "X-HTTP-Method-Override": relayed(get(HOST + b"X-HTTP-Method-Override: DELETE\r\n")),
}

LINES = {
    "no request line": refused(b"NONSENSE\r\n\r\n"),
    "HTTP/0.9": refused(b"GET " + PATH + b"\r\n\r\n"),
    "HTTP/0.9 by name": refused(get(version=b"HTTP/0.9")),
    "HTTP/1.2": refused(get(version=b"HTTP/1.2")),
    "HTTP/1.10": refused(get(version=b"HTTP/1.10")),
    "HTTP/01.1": refused(get(version=b"HTTP/01.1")),
    "HTTP/1": refused(get(version=b"HTTP/1")),
    "HTTP/1.": refused(get(version=b"HTTP/1.")),
    "HTTP/2.0": refused(get(version=b"HTTP/2.0")),
    "HTTP/3.0": refused(get(version=b"HTTP/3.0")),
    "http/1.1": refused(get(version=b"http/1.1")),
    "ICE/1.0": refused(get(version=b"ICE/1.0")),
    "RTSP/1.0": refused(get(version=b"RTSP/1.0")),
    "HTTP /1.1": refused(get(version=b"HTTP /1.1")),
    "a blank after the version": refused(get(version=b"HTTP/1.1 ")),
    "NUL after the version": refused(get(version=b"HTTP/1.1\x00")),
    "CR after the version": refused(get(version=b"HTTP/1.1\r")),
    "LF after the version": refused(b"GET " + PATH + b" HTTP/1.1\n" + HOST + b"\r\n"),
    "the preface of HTTP/2": refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "a handshake of TLS": refused(
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + b"\x00" * 99 + b"\r\n\r\n"
    ),
    "two blanks before the target": refused(b"GET  " + PATH + b" HTTP/1.1\r\n" + HOST + b"\r\n"),
    "two blanks after the target": refused(b"GET " + PATH + b"  HTTP/1.1\r\n" + HOST + b"\r\n"),
    "a tab after the method": refused(b"GET\t" + PATH + b" HTTP/1.1\r\n" + HOST + b"\r\n"),
    "a tab after the target": refused(b"GET " + PATH + b"\tHTTP/1.1\r\n" + HOST + b"\r\n"),
    "a blank before the method": refused(b" " + get()),
    "NUL before the method": refused(b"\x00" + get()),
    "a blank line with a blank": refused(b" \r\n" + get()),
    "a method in brackets": refused(b"(GET) " + PATH + b" HTTP/1.1\r\n" + HOST + b"\r\n"),
    "a method of 100 kB": refused(b"G" * 100_000 + b" " + PATH + b" HTTP/1.1\r\n\r\n", 400, 405, 414, 431),
    "a method in small letters": refused(b"get " + PATH + b" HTTP/1.1\r\n" + HOST + b"\r\n", 400, 405),
    "CONNECT": refused(b"CONNECT evil.example:443 HTTP/1.1\r\n" + HOST + b"\r\n" + SMUGGLED, 400, 405),
    "TRACE": refused(b"TRACE " + PATH + b" HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "a blank in the target": refused(get(path=b"/v1beta/models/a b")),
    "a tab in the target": refused(get(path=b"/v1beta/models/a\tb")),
    "NUL in the target": refused(get(path=b"/v1beta/models/a\x00b")),
    "a control character in the target": refused(get(path=b"/v1beta/models/a\x01b")),
    "DEL in the target": refused(get(path=b"/v1beta/models/a\x7fb")),
    "CR in the target": refused(get(path=b"/v1beta/models/a\rb")),
    "LF in the target": refused(get(path=b"/v1beta/models/a\nb")),
    "a request in the target": refused(get(path=b"/v1beta/models/a HTTP/1.1\r\nX: y\r\n\r\n" + SMUGGLED)),
    "a target of 100 kB": refused(get(path=b"/v1beta/models/" + b"m" * 100_000), 400, 414, 431),
    "an empty line first": relayed(b"\r\n" + get()),
    "a fragment": whole(PATH + b"#fragment"),
    "a query with a target": whole(PATH + b"?a=http://evil.example/&b=@c"),
    "an escaped CRLF": whole(b"/v1beta/models/a%0d%0aX:%20y"),
    "an escaped slash": whole(b"/v1beta/models/a%2fb%2f..%2fc"),
    "a backslash": whole(b"/v1beta/models/a\\b"),
    "another alphabet": whole(b"/v1beta/models/\xc3\xa9"),
}

# Answered here, and the connection goes on: a target that is no path is no malformed request.
ELSEWHERE = {
    "a target with a host": b"http://evil.example/v1beta/models",
    "a target with our host": b"http://proxy.example/v1beta/models",
    "a target with an authority": b"evil.example:443",
    "an asterisk": b"*",
    "@evil": b"@evil.example/v1beta/models",
    "no slash at first": b"v1beta/models",
    "a colon": b":80/v1beta/models",
    "only a query": b"?a=b",
}
