"""A bare relay on aiohttp, to measure against: what its server and client cost with nothing between them.

It changes the key, streams the response, and does no more: no failover, no log, no limits.
Set by the environment: `PORT`, `UPSTREAM_URL`, `OUTPUT_API_KEY`, `GOOGLE_API_KEY_1` and so on, and
`UPSTREAM_CA_FILE` for an upstream with TLS.
"""

import os
import random
import ssl
from collections.abc import AsyncIterator

import uvloop
from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

UPSTREAM_URL = os.environ["UPSTREAM_URL"]
CLIENT_KEY = os.environ["OUTPUT_API_KEY"]
KEYS = [value for name, value in os.environ.items() if name.startswith("GOOGLE_API_KEY_")]
NOT_FORWARDED = {"host", "x-goog-api-key", "connection", "content-length"}
NOT_RETURNED = {"connection", "transfer-encoding"}
SESSION = web.AppKey("session", ClientSession)


async def healthz(_: web.Request) -> web.Response:
    """Say that the server is up."""
    return web.Response(text="ok")


async def relay(request: web.Request) -> web.StreamResponse:
    """Relay one request, and its response as it comes."""
    if request.headers.get("x-goog-api-key") != CLIENT_KEY:
        raise web.HTTPUnauthorized
    headers = {name: value for name, value in request.headers.items() if name.lower() not in NOT_FORWARDED}
    headers["x-goog-api-key"] = random.choice(KEYS)  # noqa: S311 -- spreads load, guards nothing
    url, body = UPSTREAM_URL + request.raw_path, await request.read()
    async with request.app[SESSION].request(request.method, url, headers=headers, data=body) as upstream:
        kept = [(name, value) for name, value in upstream.headers.items() if name.lower() not in NOT_RETURNED]
        response = web.StreamResponse(status=upstream.status)
        response.headers.extend(kept)
        await response.prepare(request)
        async for piece in upstream.content.iter_any():
            await response.write(piece)
        await response.write_eof()
    return response


async def session(app: web.Application) -> AsyncIterator[None]:
    """The client, for as long as the server runs."""
    ca_file = os.environ.get("UPSTREAM_CA_FILE")
    connector = TCPConnector(
        limit=0, keepalive_timeout=75, ssl=ssl.create_default_context(cafile=ca_file) if ca_file else True
    )
    async with ClientSession(connector=connector, timeout=ClientTimeout(), auto_decompress=False) as app[
        SESSION
    ]:
        yield


def main() -> None:
    """Serve until killed."""
    app = web.Application()
    app.cleanup_ctx.append(session)
    app.router.add_get("/healthz", healthz)
    app.router.add_route("*", "/{path:.*}", relay)
    port = int(os.environ["PORT"])
    web.run_app(app, host="127.0.0.1", port=port, backlog=4096, access_log=None, loop=uvloop.new_event_loop())


if __name__ == "__main__":
    main()
