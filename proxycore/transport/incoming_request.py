"""A request as handlers see it: Tornado's `HTTPServerRequest`, without what no handler of ours asks for."""

import time
from functools import cached_property

from tornado.httputil import HTTPConnection, HTTPServerRequest, split_host_and_port

from proxycore.transport.request_head import RequestHead


class IncomingRequest(HTTPServerRequest):
    """A request from a head that was checked. Its query is not parsed: handlers read it byte for byte."""

    def __init__(self, head: RequestHead, connection: HTTPConnection, remote_ip: str, protocol: str) -> None:
        self.method, self.uri, self.version, self.headers = (
            head.method,
            head.target,
            head.version,
            head.headers,
        )
        self.path, _, self.query = head.target.partition("?")
        self.connection = self.server_connection = connection
        self.remote_ip, self.protocol = remote_ip, protocol
        self.host = head.headers.get("Host", "127.0.0.1")  # absent only in HTTP/1.0, as in Tornado
        self.body = b""
        self.files = {}
        self.arguments = self.query_arguments = self.body_arguments = {}
        self._start_time = time.time()
        self._finish_time = None

    @cached_property
    def host_name(self) -> str:  # type: ignore[override] # made when it is asked for, which is hardly ever
        """The host without its port, in lower case."""
        return split_host_and_port(self.host.lower())[0]
