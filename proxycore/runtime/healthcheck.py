"""`python -m proxycore.runtime.healthcheck`: asks the running program for `/healthz`, as HEALTHCHECK does.

The address is that of the program that serves from this working folder, not that of the settings: those may
have changed, or be faulty, while the program serves with the previous ones.
"""

import http.client
import ssl
import sys
from pathlib import Path

from proxycore.transport.address_file import Address, served_from

_TIMEOUT = 4.0  # seconds: less than HEALTHCHECK's, so that there is time to print the reason


def main() -> int:
    """The exit status for HEALTHCHECK: 0 healthy, 1 not healthy, with the reason on standard error."""
    address = served_from(Path.cwd())
    if address is None:
        return _unhealthy("no proxy of this user is ready in this working folder")
    try:
        status = _status(address)
    except (OSError, http.client.HTTPException) as error:
        return _unhealthy(f"{address}/healthz: {error}")
    return 0 if status == 200 else _unhealthy(f"{address}/healthz returned {status}")


def _status(address: Address) -> int:
    scheme, host, port = address
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT)
    if scheme == "https":
        # The certificate is for the name that clients use, and this connects to the same host.
        unverified = ssl._create_unverified_context()  # noqa: S323 - see above
        connection = http.client.HTTPSConnection(host, port, timeout=_TIMEOUT, context=unverified)
    connection.request("GET", "/healthz")
    return connection.getresponse().status


def _unhealthy(reason: str) -> int:
    sys.stderr.write(f"not healthy: {reason}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
