"""Actions of the operator: release a key, bench it for a time, probe it, change KEYS_FILE, end a request."""

import logging
from typing import Any

from proxycore.admin.action_result import ActionError, ActionResult
from proxycore.admin.key_changes import CHANGES, KeyChanges
from proxycore.gemini.verdict import BenchScope
from proxycore.relay.open_requests import OpenRequests
from proxycore.relay.pool import Pool
from proxycore.relay.probe import probe_key
from proxycore.rotation.bench import NO_MODEL, NO_ORIGIN, Bench, BenchPlace
from proxycore.rotation.key import Key
from proxycore.storage.rows import EventKind, EventRow
from proxycore.transport.messages import UpstreamError

logger = logging.getLogger(__name__)

LONGEST_REST = 30 * 86400
"""Seconds that the operator may bench a key for."""

MANUAL = "manual"
"""The reason of a bench that the operator set."""


_RELEASABLE = {  # what a client may name: how an empty name is shown, and the places of the benches
    "model": (NO_MODEL, (BenchPlace.MODEL, BenchPlace.CALLER)),
    "origin": (NO_ORIGIN, (BenchPlace.ORIGIN,)),
}


class Actions:
    """Applies actions to the keys of a pool, and to requests; `changes` are those that change KEYS_FILE."""

    def __init__(self, pool: Pool, changes: KeyChanges, requests: OpenRequests) -> None:
        self._pool = pool
        self._changes = changes
        self._requests = requests

    async def perform(self, action: object, client: str, request: str) -> ActionResult:
        """Apply the action that a JSON object names; raise ActionError if it is not valid.

        `client` is the address that it came from, `request` the id of the request that asks for it.
        """
        if not isinstance(action, dict):
            raise ActionError("Send a JSON object with an action and a key.")
        done = await self._perform(action, client, request)
        if journal := self._pool.journal:
            key, now = done.key.name if done.key else "", self._pool.clock.wall()
            journal.put_event(EventRow(now, EventKind.ACTION, key, why=done.message, request=request))
        return done

    async def _perform(self, action: dict[str, Any], client: str, request: str) -> ActionResult:
        kind = action.get("action")
        if isinstance(kind, str) and kind in CHANGES:
            return await self._changes.perform(action, client)
        if kind == "end":
            return await self._end(action.get("id"), client)
        keys = [key for key in self._pool.rotator.configured if key.name == action.get("key")]
        if not keys:
            raise ActionError("There is no key of that name.", 404)
        if keys[0].paused:
            raise ActionError(f"Key {keys[0].name} is paused: resume it first.", 409)
        match kind:
            case "release":
                return self.release(keys[0], action.get("model"), action.get("origin"))
            case "rest":
                return self.rest(keys[0], action.get("seconds"), request)
            case "try":
                return await self.try_now(keys[0], request)
        raise ActionError("Unknown action: send release, rest, try, end, add, pause, resume, note or remove.")

    def release(self, key: Key, model: object, origin: object = None) -> ActionResult:
        """End the key's bench or retirement, or only its benches for a model or an origin."""
        names = {"model": model, "origin": origin}
        for kind, name in names.items():
            if name is not None and not isinstance(name, str):
                raise ActionError(f"The {kind} is not a string.")
        for kind, name in names.items():
            if isinstance(name, str) and name:
                return self._release_for(key, kind, name)
        if not self._pool.rotator.release(key):
            return ActionResult(f"Key {key.name} is not benched as a whole.", key)
        self._log("released manually", key)
        return ActionResult(f"Key {key.name} is released.", key)

    def _release_for(self, key: Key, kind: str, name: str) -> ActionResult:
        """End the key's benches for a model or an origin of this name."""
        unnamed, places = _RELEASABLE[kind]
        about = "" if name == unnamed else name
        running = [place for place in places if key.bench_at(place, about)]
        if not running:
            return ActionResult(f"Key {key.name} is not benched for {name}.", key)
        for place in running:
            self._pool.rotator.clear_bench(key, place, about)
        self._log("released manually", key, **{kind: name})
        return ActionResult(f"Key {key.name} is released for {name}.", key)

    def rest(self, key: Key, seconds: object, request: str = "") -> ActionResult:
        """Bench the whole key for a time, as the request of this id asks for."""
        if not isinstance(seconds, int | float) or not 1 <= seconds <= LONGEST_REST:
            raise ActionError(f"The seconds must be a number from 1 to {LONGEST_REST}.")
        now = self._pool.clock()
        bench = Bench(MANUAL, now + seconds, since=now)
        self._pool.rotator.begin_bench(key, BenchPlace.WHOLE, bench, request=request)
        return ActionResult(f"Key {key.name} is benched for {seconds:g} s.", key)

    async def try_now(self, key: Key, request: str = "") -> ActionResult:
        """Probe the key with a call that costs no quota, as the request of this id asks for."""
        try:
            verdict = await probe_key(self._pool, key, request)
        except UpstreamError as error:
            self._log("tested manually", key, result="unknown", reason=f"{error} {error.detail}".strip())
            return ActionResult(f"Key {key.name} could not be tested: {error}", key)
        if verdict.healthy:
            if key.whole and key.whole.reason != MANUAL:
                self._pool.rotator.recover(key, BenchPlace.WHOLE, request=request)
            self._log("tested manually", key, result="accepted")
            return ActionResult(f"Key {key.name} was tested: accepted.", key, accepted=True)
        if verdict.rest is BenchScope.NOTHING:
            self._log("tested manually", key, result="unknown", reason=verdict.reason)
            return ActionResult(f"Key {key.name} was tested without a result: {verdict.reason}.", key)
        self._log("tested manually", key, result="refused", reason=verdict.reason)
        return ActionResult(f"Key {key.name} was tested: refused ({verdict.reason}).", key, accepted=False)

    async def _end(self, name: object, client: str) -> ActionResult:
        """End the open request of this id."""
        if not isinstance(name, str):
            raise ActionError("The id is not a string.")
        if not await self._requests.end(name):
            raise ActionError("There is no open request of that id; it may have ended already.", 404)
        logger.info("request ended manually", extra={"fields": {"id": name, "address": client}})
        return ActionResult(f"Request {name} is ended.")

    @staticmethod
    def _log(message: str, key: Key, **fields: str) -> None:
        logger.info("%s", message, extra={"fields": {"key": key.name, **fields}})
