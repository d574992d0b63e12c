"""What requests to the Gemini API and its responses mean. Pure: no I/O, no clock, no state of the pool.

A request names a model and resources (`request_scope`), and is counted against the quotas of a lane
(`lane`). A response is read once: `errors` has the shapes that Google's errors come in, `sentences` Google's
own words, and `judge` turns both into a `verdict` about the key. `response_scanner` and `token_usage` read
what passes through.
"""

__all__ = [
    "auth_token",
    "errors",
    "first_event",
    "judge",
    "lane",
    "list_pages",
    "methods",
    "paths",
    "request_scope",
    "response_opening",
    "response_scanner",
    "token_usage",
    "upload_protocol",
    "verdict",
]
