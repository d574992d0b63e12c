"""The meaning of requests to the Gemini API and of its responses. Pure: no I/O, no clock, no state of keys.

A request names a model and resources (`request_scope`), continues a conversation (`conversation`), and counts
against the quotas of a lane (`lane`).
`errors` parses Google's errors, `sentences` their messages, and `judge` derives a `verdict` on the key from
both; `advice` says what to do about it. `response_scanner` and `usage_reader` read responses while they are
streamed.
"""

__all__ = [
    "advice",
    "auth_token",
    "conversation",
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
    "usage_reader",
    "verdict",
]
