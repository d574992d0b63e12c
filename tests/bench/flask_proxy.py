"""A proxy of the usual kind, to measure against: Flask's threaded server, `requests`, a random key each time.

It does what most Gemini key proxies do and no more: no failover, and a new upstream connection each time.
Set by the environment: `PORT`, `UPSTREAM_URL`, `OUTPUT_API_KEY`, `GOOGLE_API_KEY_1` and so on.
"""

import os
import random

import requests
from flask import Flask, Response, abort, request, stream_with_context

UPSTREAM_URL = os.environ["UPSTREAM_URL"]
CLIENT_KEY = os.environ["OUTPUT_API_KEY"]
KEYS = [value for name, value in os.environ.items() if name.startswith("GOOGLE_API_KEY_")]
NOT_FORWARDED = {"host", "x-goog-api-key", "connection", "content-length"}
NOT_RETURNED = {"connection", "transfer-encoding", "content-encoding", "content-length"}

app = Flask(__name__)


@app.get("/healthz")
def healthz() -> str:
    """Say that the server is up."""
    return "ok"


@app.route("/<path:path>", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
def relay(path: str) -> Response:
    """Relay one request, and its answer as it comes."""
    if request.headers.get("x-goog-api-key") != CLIENT_KEY:
        abort(401)
    headers = {name: value for name, value in request.headers if name.lower() not in NOT_FORWARDED}
    headers["x-goog-api-key"] = random.choice(KEYS)  # noqa: S311 -- spreads load, guards nothing
    answer = requests.request(
        request.method,
        f"{UPSTREAM_URL}/{path}",
        params=request.args.to_dict(),
        data=request.get_data(),
        headers=headers,
        stream=True,
        timeout=300,
    )
    return Response(
        stream_with_context(answer.iter_content(chunk_size=8192)),
        status=answer.status_code,
        headers=[(name, value) for name, value in answer.headers.items() if name.lower() not in NOT_RETURNED],
    )


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(os.environ["PORT"]), threaded=True)
