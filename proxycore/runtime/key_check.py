"""Checks keys: lists the models with each, and then counts tokens.

`:countTokens` is a method of the same service as `:generateContent` (Google's errors name it
`GenerativeService`, while lists are of another service), so it is refused to keys that may only list models.
It costs nothing: by ai.google.dev/gemini-api/docs/billing GetTokens requests are not billed and do not count
against inference quota, and by discuss.ai.google.dev/t/189068 that holds for `countTokens`, which has a quota
of its own.

Responses are judged as in the proxy. One that is not about the key leaves the key's state unknown.
"""

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from time import localtime, monotonic, strftime, time
from typing import Any
from urllib.parse import quote

from proxycore.gemini.advice import UNREACHABLE, advice, is_known
from proxycore.gemini.errors import GoogleError, read_error
from proxycore.gemini.judge import judge
from proxycore.gemini.verdict import (
    CLIENT_ERROR,
    HEALTHY,
    NOT_GOOGLE,
    UPSTREAM_FAILURE,
    BenchScope,
    Reaction,
    Verdict,
)
from proxycore.http.credentials import credential
from proxycore.http.redaction import Redactor
from proxycore.rotation.key import KeySpec
from proxycore.runtime.settings import Settings
from proxycore.runtime.wiring import route_of
from proxycore.transport.buffered_response import BUFFERED_BYTES, BufferedResponse
from proxycore.transport.fetch import fetch_whole
from proxycore.transport.messages import Outgoing, UpstreamError
from proxycore.transport.upstream import Upstream

_AT_ONCE = 8  # keys
_LONGEST_IDLE = 30.0  # seconds: no model has to think for a list or a count
_LONGEST_REASON = 120  # characters
_MOST_PAGES = 10
_MOST_MODELS = 3  # that are tried when the first one fails, not the key
_LIST = "/v1beta/models?pageSize=1000"
_COUNT = "/v1beta/models/{model}:countTokens"
_PROMPT = b'{"contents":[{"parts":[{"text":"Hello"}]}]}'
_PLAIN_NAME = re.compile(r"[A-Za-z0-9._-]+")  # of a model, as part of a path
_USUAL_MODEL = "gemini-2.5-flash"  # if the list has none
_USES = ("generate", "embed", "predict", "bidi")  # prefixes of the methods of models that generate


class State(StrEnum):
    """The result for a key. `benched` and `retired` are what the proxy would do with it."""

    WORKS = "works"
    BENCHED = "benched"
    RETIRED = "retired"
    UNKNOWN = "unknown"


_STATES = dict.fromkeys(BenchScope, State.BENCHED) | {
    BenchScope.NOTHING: State.UNKNOWN,
    BenchScope.RETIRED: State.RETIRED,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """The result for a key: state, reason, project if known, models, and the seconds that it took.

    `works` means that the key may generate; whether its quotas are spent shows only when they are used.
    `advice` is what to do, `until` when a spent quota resets, in seconds since the epoch.
    """

    name: str
    state: State
    reason: str = ""
    project: str = ""
    models: tuple[str, ...] = ()
    seconds: float = 0.0
    advice: str = ""
    until: float | None = None


@dataclass(frozen=True, slots=True)
class _Response:
    """A judged response. `document` is None if the body is no JSON object."""

    status: int
    verdict: Verdict
    document: dict[str, Any] | None
    error: GoogleError

    @property
    def is_about_the_model(self) -> bool:
        """Whether another model may get another response."""
        return self.is_mistake or self.verdict.then is Reaction.RETRY or self.verdict.rest is BenchScope.MODEL

    @property
    def is_unknown_method(self) -> bool:
        """Whether the upstream does not know the method."""
        return self.verdict in {CLIENT_ERROR, NOT_GOOGLE, UPSTREAM_FAILURE} and self.status in {404, 405, 501}

    @property
    def is_mistake(self) -> bool:
        """Whether it is about the check's own request, and not about the key or its project."""
        return (self.verdict is CLIENT_ERROR or self.verdict.unknown_model) and not is_known(self.error)

    @property
    def reason(self) -> str:
        """Why the key was refused, in a few words."""
        return self.error.message[:_LONGEST_REASON] if self.verdict is CLIENT_ERROR else self.verdict.reason

    def finding(self, name: str, reason: str) -> Finding:
        """The result for the key of this name."""
        verdict = self.verdict
        if verdict.rest is BenchScope.NOTHING and self.status != 200:
            reason += f" (status {self.status})"
        is_spent = verdict.rest is BenchScope.MODEL and verdict.then is not Reaction.ENTITLED
        comes_back = is_spent and not is_known(self.error)
        until = time() + verdict.seconds if comes_back and verdict.seconds else None
        back = strftime("%Y-%m-%d %H:%M:%S %z", localtime(until)) if until else ""
        return Finding(
            name,
            _STATES[verdict.rest],
            reason,
            verdict.project,
            advice=advice(verdict, self.error, back),
            until=until,
        )


class _RefusedError(Exception):
    """The list of models was refused."""

    def __init__(self, response: _Response) -> None:
        super().__init__(response.verdict.reason)
        self.response = response


class KeyCheck:
    """Checks the keys of some settings, a few at a time. Belongs to the running event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._redactor = Redactor(settings.secrets)
        route = route_of(settings)
        self._upstream = Upstream(
            replace(
                route,
                first_byte_timeout=min(route.first_byte_timeout, _LONGEST_IDLE),
                idle_timeout=min(route.idle_timeout, _LONGEST_IDLE),
            )
        )
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def run(self, found: Callable[[Finding], None]) -> list[Finding]:
        """Check all keys; `found` is called with the result of each as it is known."""
        tasks = [asyncio.create_task(self._one(key, found)) for key in self._settings.keys]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._upstream.close()
            await asyncio.sleep(0)  # its connections close in the loop's next turn

    async def _one(self, key: KeySpec, found: Callable[[Finding], None]) -> Finding:
        async with self._slots:
            began = monotonic()
            finding = await self._try(key)
            finding = replace(
                finding,
                reason=self._plain(finding.reason),
                project=key.project or self._plain(finding.project),
                models=tuple(map(self._plain, finding.models)),
                seconds=monotonic() - began,
            )
        found(finding)
        return finding

    def _plain(self, text: str) -> str:
        """Text from outside for a terminal: without secrets and control characters."""
        clean = self._redactor.text(text)
        return "".join(char if char.isprintable() else " " for char in clean)

    async def _try(self, key: KeySpec) -> Finding:
        name = key.name
        try:
            models = await self._models(key)
            finding = await self._count(key, _generating(models) or [_USUAL_MODEL])
        except _RefusedError as refused:
            response = refused.response
            no_list = "the list of models is not available there"
            return response.finding(name, no_list if response.is_mistake else response.reason)
        except UpstreamError as error:
            reason = f"{error} {error.detail}".strip()
            return Finding(name, State.UNKNOWN, reason, advice=UNREACHABLE)
        return replace(finding, models=tuple(_useful(models)))

    async def _models(self, key: KeySpec) -> list[dict[str, Any]]:
        """The models that the key may list; raises _RefusedError, and UpstreamError without a response."""
        models: list[dict[str, Any]] = []
        target = _LIST
        for _ in range(_MOST_PAGES):
            response = await self._ask(key, Outgoing("GET", target, [], b""))
            page = response.document or {}
            listed = page.get("models", [])
            if response.verdict is not HEALTHY or not isinstance(listed, list):
                raise _RefusedError(
                    response if response.verdict is not HEALTHY else replace(response, verdict=NOT_GOOGLE)
                )
            models += [model for model in listed if isinstance(model, dict)]
            if not (token := page.get("nextPageToken")):
                break
            target = f"{_LIST}&pageToken={quote(str(token), safe='')}"
        return models

    async def _count(self, key: KeySpec, models: list[str]) -> Finding:
        """The result of counting tokens, with the first model that does not fail itself."""
        name = key.name
        responses = []
        for model in models[:_MOST_MODELS]:
            target = _COUNT.format(model=model)
            fields = [("Content-Type", "application/json")]
            response = await self._ask(key, Outgoing("POST", target, fields, _PROMPT))
            if response.verdict is HEALTHY:
                return Finding(name, State.WORKS)
            responses.append(response)
            if not response.is_about_the_model:
                break
        response = next((response for response in responses if not response.is_mistake), responses[0])
        if response.is_mistake or response.is_unknown_method:
            reason = f"accepted; permission to generate not verified (status {response.status})"
            return Finding(name, State.WORKS, reason)
        has_reason = (
            response.verdict.rest not in {BenchScope.NOTHING, BenchScope.MODEL}
            or response.verdict is CLIENT_ERROR
        )
        return response.finding(
            name, f"{'may list models, but not generate: ' * has_reason}{response.reason}"
        )

    async def _ask(self, key: KeySpec, outgoing: Outgoing) -> _Response:
        field = credential(key.secret, outgoing.target)
        return _judged(await fetch_whole(self._upstream, outgoing, field, BUFFERED_BYTES, proxy=key.proxy))


def _judged(buffered: BufferedResponse) -> _Response:
    status = buffered.head.status
    verdict = judge(status, buffered.head.fields, buffered.body or b"", now=time())
    body = buffered.plain or b""
    document = _document(body)
    if verdict is HEALTHY and (status >= 300 or document is None):
        verdict = NOT_GOOGLE
    return _Response(status, verdict, document, read_error(body) or GoogleError())


def _document(body: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _methods(model: dict[str, Any]) -> list[str]:
    methods = model.get("supportedGenerationMethods")
    return [str(method) for method in methods] if isinstance(methods, list) else []


def _name(model: dict[str, Any]) -> str:
    return str(model.get("name", "")).removeprefix("models/")


def _useful(models: list[dict[str, Any]]) -> list[str]:
    """The models that generate something."""
    return [
        _name(model)
        for model in models
        if any(method.lower().startswith(_USES) for method in _methods(model))
    ]


def _generating(models: list[dict[str, Any]]) -> list[str]:
    """The models to count tokens with: those that generate, the simplest first."""
    names = [_name(model) for model in models if "generateContent" in _methods(model)]
    names = list(filter(_PLAIN_NAME.fullmatch, names))
    return sorted(names, key=lambda name: (name != _USUAL_MODEL, "flash" not in name, len(name)))
