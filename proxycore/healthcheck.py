"""`python -m proxycore.healthcheck`: asks the running program for `/healthz`, for a container's HEALTHCHECK.

It reads the same settings as the program, so it asks where the program listens.
"""

import http.client
import ssl
import sys
from pathlib import Path

from proxycore.settings import SettingsError, parse, read

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - listened on everywhere, asked at home
_TIMEOUT = 4.0  # seconds


def main() -> int:
    """The exit status that HEALTHCHECK wants: 0 for healthy, 1 for not."""
    try:
        settings = parse(read(Path.cwd(), {}))
        host = _ANYWHERE.get(settings.host, settings.host)
        connection = http.client.HTTPConnection(host, settings.port, timeout=_TIMEOUT)
        if settings.tls_cert_file:
            # The certificate is for the name that clients use, and this is nobody but ourselves.
            anyone = ssl._create_unverified_context()  # noqa: S323 - see above
            connection = http.client.HTTPSConnection(host, settings.port, timeout=_TIMEOUT, context=anyone)
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except (SettingsError, OSError, http.client.HTTPException) as error:
        sys.stderr.write(f"not healthy: {error}\n")
        return 1
    return 0 if status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
