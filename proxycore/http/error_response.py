"""Error responses in the shape of Google's APIs (AIP-193). Pure."""

import json
from collections.abc import Sequence
from typing import Any

_STATUS = {  # google/rpc/code.proto, by the HTTP codes that its comments name
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "INVALID_ARGUMENT",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    414: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    431: "INVALID_ARGUMENT",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
}


def error_body(code: int, message: str, status: str = "", details: Sequence[dict[str, Any]] = ()) -> bytes:
    """The JSON body of an error with this HTTP status code.

    `status` is Google's name of the error, by default the usual one for the code.
    """
    error: dict[str, Any] = {
        "code": code,
        "message": message,
        "status": status or _STATUS.get(code, "UNKNOWN"),
    }
    if details:
        error["details"] = details
    return json.dumps({"error": error}, indent=2).encode() + b"\n"


def retry_info(seconds: int) -> dict[str, Any]:
    """The detail of an error that names the seconds after which the request may be sent again."""
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{seconds}s"}


def summary_of(message: str) -> str:
    """The first sentence of an error's message, without the full stop."""
    return message.partition(". ")[0].rstrip(".")
