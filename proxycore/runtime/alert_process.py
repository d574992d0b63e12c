"""Sends alerts with Apprise, or checks its addresses, in a process of its own. Run as a script, by its path.

The import of Apprise takes a quarter of a second and 20 MB, and an address may be slow, hostile or wrong:
here that costs no request anything. Reads one JSON object from standard input, so that no address shows in a
list of processes, and writes what came of each address as a line of JSON: its number, its schema (null if
Apprise does not know it), and whether it is fine.

    {"addresses": [...]}                                           fine: Apprise knows it
    {"addresses": [...], "title": ..., "body": ..., "type": ...}   fine: the message was delivered
"""

import contextlib
import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, TextIO

TIMEOUT = 30.0
"""Seconds after which the process ends, whatever it waits for."""

_MEMORY = 256 << 20  # bytes of data: a response may be endless
_CPU = 20  # seconds
_SENT_AT_ONCE = 8
_SCHEMA = 20  # characters


def main() -> None:
    """Read, send, and write what came of it."""
    _limit()
    # What libraries print goes to standard error: standard output is for the results.
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from apprise import Apprise, AppriseAsset, PersistentStoreMode  # noqa: PLC0415 - after the limits

    asset = AppriseAsset(storage_mode=PersistentStoreMode.MEMORY, secure_logging=True)
    asset.app_id = asset.app_desc = "gemini-key-proxy"
    asset.app_url = ""
    task = json.load(sys.stdin)
    services = [Apprise.instantiate(address, asset=asset) for address in task["addresses"]]

    def send(service: Any) -> bool:  # noqa: ANN401 - any of Apprise's classes
        return bool(service.notify(title=task["title"], body=task["body"], notify_type=task["type"]))

    with ThreadPoolExecutor(_SENT_AT_ONCE) as threads:
        sent = {}
        for number, service in enumerate(services):
            if service is None or "body" not in task:
                _write(results, number, service, is_fine=service is not None)
            else:
                sent[threads.submit(send, service)] = number
        for future in as_completed(sent):
            number = sent[future]
            _write(results, number, services[number], is_fine=future.exception() is None and future.result())


def _write(results: TextIO, number: int, service: Any, *, is_fine: bool) -> None:  # noqa: ANN401 - as above
    schema = None if service is None else str(service.schema)[:_SCHEMA]
    results.write(json.dumps([number, schema, is_fine]) + "\n")
    results.flush()


def _limit() -> None:
    """End in time even if the parent has ended, and take no more memory and CPU than a message is worth."""
    timer = threading.Timer(TIMEOUT, os._exit, (1,))
    timer.daemon = True
    timer.start()
    try:
        import resource  # noqa: PLC0415 - there is none on Windows
    except ImportError:
        return
    for what, limit in ((resource.RLIMIT_DATA, _MEMORY), (resource.RLIMIT_CPU, _CPU)):
        _, hard = resource.getrlimit(what)
        allowed = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        with contextlib.suppress(OSError, ValueError):  # a system may know a limit and not support it
            resource.setrlimit(what, (allowed, hard))


if __name__ == "__main__":
    main()
