"""What TLS connections to one server share: whom they trust, and the session that later ones resume."""

import ssl


class TlsClient:
    """How to speak TLS with one server: the trusted authorities, and its name.

    A new connection resumes the session of the latest one if the server allows it.
    """

    __slots__ = ("_context", "_host", "_latest")

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._context = context
        self._host = host
        self._latest: ssl.SSLObject | None = None

    def connect(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        """Return the client's side of a new connection."""
        # Asked for now: the tickets of TLS 1.3 come after the handshake (RFC 8446 §4.6.1).
        session = self._latest.session if self._latest else None
        return self._context.wrap_bio(incoming, outgoing, server_hostname=self._host, session=session)

    def remember(self, tls: ssl.SSLObject) -> None:
        """Let later connections resume this one's session."""
        self._latest = tls


def trusting(ca_file: str) -> ssl.SSLContext:
    """A client's context that verifies certificates and names against the authorities of a file.

    Raises OSError if the file can't be read, which includes ssl.SSLError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an intermediate in the file is trusted as such
    context.hostname_checks_common_name = False  # RFC 9110 §4.3.4
    context.load_verify_locations(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context
