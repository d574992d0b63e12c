"""The requests of mixtures as bytes on the wire, and what the program parses from them."""

from functools import lru_cache

from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from proxycore.gemini.request_scope import RequestScope, scope_of
from tests.support.google_model import LARGE_TOKENS, Poison, Request


def lane(scope: RequestScope) -> str:
    """What the quotas of a request with this scope are counted for."""
    return scope.lane or scope.model


@lru_cache(maxsize=64)
def written(poison: Poison, model: str) -> tuple[str, str, bytes, RequestScope]:
    """A request as it comes over the wire: method, path and body; and what the program reads in it."""
    path, text, more = f"/v1beta/models/{model}:generateContent", "hi", ""
    if poison is Poison.SEARCH:
        more = ',"tools":[{"google_search":{}}]'
    elif poison is Poison.CACHE:
        path, more = "/v1beta/cachedContents", f',"model":"models/{model}"'
    elif poison is Poison.LARGE:
        text = "word " * LARGE_TOKENS
    body = f'{{"contents":[{{"parts":[{{"text":"{text}"}}]}}]{more}}}'.encode()
    return "POST", path, body, scope_of(path, body)


def received(request: Request) -> HTTPServerRequest:
    """The head of the request, as the server has it."""
    method, path, _, _ = written(request.poison, request.model)
    headers = HTTPHeaders({"Host": "proxy"})
    if request.origin:
        headers["Referer"] = f"{request.origin}/page"
    return HTTPServerRequest(start_line=RequestStartLine(method, path, "HTTP/1.1"), headers=headers)
