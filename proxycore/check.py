"""The check: every key is asked once which models it may use, which costs no quota.

What an answer says of a key is judged as always; what is nobody's fault leaves the key's state unknown.
"""

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import monotonic, time
from typing import Any
from urllib.parse import quote

from proxycore.affinity import Scope
from proxycore.app import route_of
from proxycore.attempt import Attempt, Outgoing, UpstreamError
from proxycore.coding import decode
from proxycore.headers import Redactor, credential
from proxycore.kept import KEPT_BYTES, Kept
from proxycore.settings import Settings
from proxycore.upstream import Upstream
from proxycore.verdict import FOREIGN, HEALTHY, MISTAKE, Rest, Verdict

WORKS, BENCHED, RETIRED, UNKNOWN = "works", "benched", "retired", "unknown"

_AT_ONCE = 8  # keys
_LONGEST_SILENCE = 30.0  # seconds: a list of models needs no thought
_MOST_PAGES = 10
_TARGET = "/v1beta/models?pageSize=1000"
_STATES = {Rest.NOTHING: UNKNOWN, Rest.MODEL: BENCHED, Rest.KEY: BENCHED, Rest.RETIRED: RETIRED}
_USES = ("generate", "embed", "predict", "bidi")  # how the methods of models begin that make something
_TOOK = re.compile(r" after \d+ (?:ms|milliseconds)\b")  # in libcurl's words; each key has its own time told


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out about a key: a state, why, its project if known, its models, seconds taken.

    `works` says that the key is accepted; whether its quotas are spent is not known before they are used.
    """

    name: str
    state: str
    reason: str = ""
    project: str = ""
    models: tuple[str, ...] = ()
    seconds: float = 0.0


class Check:
    """Tries the keys of some settings, a few at a time. Belongs to the running event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._redactor = Redactor(settings.secrets)
        route = route_of(settings)
        self._upstream = Upstream(
            replace(
                route,
                first_byte_timeout=min(route.first_byte_timeout, _LONGEST_SILENCE),
                idle_timeout=min(route.idle_timeout, _LONGEST_SILENCE),
            )
        )
        self._turn = asyncio.Semaphore(_AT_ONCE)

    async def run(self, found: Callable[[Finding], None]) -> list[Finding]:
        """Tries all keys; `found` is told of each when it is done."""
        tasks = [asyncio.create_task(self._one(name, found)) for name in self._settings.google_keys]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._upstream.close()

    async def _one(self, name: str, found: Callable[[Finding], None]) -> Finding:
        async with self._turn:
            began = monotonic()
            finding = await self._try(name)
            finding = replace(
                finding,
                reason=self._plain(finding.reason),
                project=self._settings.projects.get(name) or self._plain(finding.project),
                models=tuple(map(self._plain, finding.models)),
                seconds=monotonic() - began,
            )
        found(finding)
        return finding

    def _plain(self, text: str) -> str:
        """What came from outside, fit for a terminal: without secrets and control characters."""
        clean = self._redactor.text(text)
        return "".join(char if char.isprintable() else " " for char in clean)

    async def _try(self, name: str) -> Finding:
        models: list[str] = []
        target = _TARGET
        try:
            for _ in range(_MOST_PAGES):
                answer = await self._ask(self._settings.google_keys[name], target)
                verdict = answer.verdict(time(), Scope(""))
                if verdict is not HEALTHY or answer.head.status >= 300:
                    return _refused(name, verdict, answer.head.status)
                page = _document(answer)
                if page is None:
                    return Finding(name, UNKNOWN, FOREIGN.reason)
                models += _useful(page)
                if not (token := page.get("nextPageToken")):
                    break
                target = f"{_TARGET}&pageToken={quote(str(token), safe='')}"
        except UpstreamError as error:
            return Finding(name, UNKNOWN, _TOOK.sub("", f"{error} {error.detail}".strip()))
        return Finding(name, WORKS, models=tuple(models))

    async def _ask(self, secret: str, target: str) -> Kept:
        outgoing = Outgoing("GET", target, [], b"")
        attempt = Attempt(self._upstream, outgoing, credential(secret, target), fresh=False)
        try:
            return Kept(await attempt.head(), await attempt.read(KEPT_BYTES))
        finally:
            attempt.end()


def _refused(name: str, verdict: Verdict, status: int) -> Finding:
    reason = FOREIGN.reason if verdict is HEALTHY else verdict.reason
    if verdict is MISTAKE:  # it was we who asked
        reason = "the list of models is not to be had there"
    if verdict.rest is Rest.NOTHING:
        reason += f" (status {status})"
    return Finding(name, _STATES[verdict.rest], reason, verdict.project)


def _document(answer: Kept) -> dict[str, Any] | None:
    encodings = [value for field, value in answer.head.fields if field.lower() == "content-encoding"]
    try:
        document = json.loads(decode(answer.body or b"", encodings) or b"")
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) and isinstance(document.get("models", []), list) else None


def _useful(page: dict[str, Any]) -> list[str]:
    """The models of a page that make something of what they are asked."""
    names = []
    for model in page.get("models", []):
        methods = model.get("supportedGenerationMethods") if isinstance(model, dict) else None
        if isinstance(methods, list) and any(str(method).lower().startswith(_USES) for method in methods):
            names.append(str(model.get("name", "")).removeprefix("models/"))
    return names
