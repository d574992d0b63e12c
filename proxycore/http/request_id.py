"""The id of a request, for its log entry and the response's `X-Request-Id`."""

import re
import secrets

from proxycore.http.redaction import Redactor

# UUIDs, trace ids, and most ids that gateways generate.
_ACCEPTED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")


def request_id(offered: str, redactor: Redactor) -> str:
    """The id that the client offered, unless it is malformed or contains a secret; else a new one."""
    if _ACCEPTED.fullmatch(offered) and redactor.text(offered) is offered:
        return offered
    return secrets.token_hex(8)
