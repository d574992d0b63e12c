"""The id of a request, for its log entry and the response's `X-Request-Id`."""

import random
import re

from proxycore.http.redaction import Redactor

# UUIDs, trace ids, and most ids that gateways generate.
_ACCEPTED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")


def request_id(offered: str, redactor: Redactor) -> str:
    """The id that the client offered, unless it is malformed or contains a secret; else a new one."""
    if offered and _ACCEPTED.fullmatch(offered) and redactor.text(offered) is offered:
        return offered
    # It is no secret, and `random` is seeded anew after a fork: `secrets` would ask the system each time.
    return f"{random.getrandbits(64):016x}"
