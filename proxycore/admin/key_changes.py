"""Actions that change KEYS_FILE: add keys from pasted text, pause, resume, annotate and remove them.

An action ends once this process has loaded the changed file, as after any other change of it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from proxycore.admin.action_result import ActionError, ActionResult
from proxycore.admin.key_trial import Acceptance, Trial, try_keys
from proxycore.admin.keys_file import KeysFile, KeysFileError, NewKey
from proxycore.admin.pasted_keys import find_keys
from proxycore.relay.pool import Pool
from proxycore.rotation.events import KeysReplaced
from proxycore.rotation.key import Key

logger = logging.getLogger(__name__)

CHANGES = frozenset({"add", "pause", "resume", "note", "remove"})
"""The names of the actions."""

_LONGEST_NOTE = 200  # characters
_LOADED_WITHIN = 10.0  # seconds; a file is read once it has not changed for one
_SHOWN, _LEAST_SHOWN = 4, 16  # characters of a key that are shown, of one that has so many
_LOGGED = 20  # names
_OFF = "Keys can't be changed here: set ADMIN_WRITES=on, and KEYS_FILE to the path of the file for them."
_NOT_LOADED = " The file is written, but not loaded yet: the log says why."


class Result(StrEnum):
    """What became of a key that was found in a text."""

    ADDED = "added"
    PRESENT = "already there"
    DEAD = "dead"
    UNTRIED = "not tried"


@dataclass(frozen=True, slots=True)
class _Found:
    """A key that was found. `name` is empty if it is not loaded, `reason` if nothing is wrong with it."""

    secret: str = field(repr=False)
    result: Result
    name: str
    reason: str

    @property
    def snapshot(self) -> dict[str, Any]:
        """The key for people, without the secret."""
        end = self.secret[-_SHOWN:] if len(self.secret) >= _LEAST_SHOWN else ""
        return {
            "key": f"…{end}",
            "name": self.name or None,
            "result": str(self.result),
            "reason": self.reason.replace(self.secret, "…") or None,
        }


class KeyChanges:
    """Changes the keys of KEYS_FILE.

    `file` is None while ADMIN_WRITES is off. `request_reload` makes the program read its files again.
    """

    def __init__(self, pool: Pool, file: KeysFile | None, request_reload: Callable[[], object]) -> None:
        self._rotator = pool.rotator
        self._pool = pool
        self._file = file
        self._request_reload = request_reload
        self._replaced = asyncio.Event()
        self._rotator.events.subscribe(KeysReplaced, self._on_replaced)

    @property
    def are_allowed(self) -> bool:
        """Whether keys can be changed."""
        return self._file is not None

    def set_file(self, file: KeysFile | None) -> None:
        """Set the file that later actions change; None for no file."""
        self._file = file

    async def perform(self, action: Mapping[str, object], client: str) -> ActionResult:
        """Apply one of the CHANGES for a client at this address; raise ActionError if that fails."""
        if self._file is None:
            raise ActionError(_OFF, 403)
        kind = str(action["action"])
        try:
            if kind == "add":
                return await self._add(self._file, action, client)
            return await self._change(self._file, kind, self._key(action.get("key")), action, client)
        except KeysFileError as error:
            logger.error("%s", error, extra={"fields": {"action": kind, "address": client}})  # noqa: TRY400 - no bug
            raise ActionError(f"{error}.", 503) from error

    def _key(self, name: object) -> Key:
        key = next((key for key in self._rotator.configured if key.name == name), None)
        if key is None:
            raise ActionError("There is no key of that name.", 404)
        if not key.in_file:
            raise ActionError(
                f"Key {key.name} is not in KEYS_FILE: it is set in the environment or .env; change it there.",
                409,
            )
        return key

    async def _change(
        self, file: KeysFile, kind: str, key: Key, action: Mapping[str, object], client: str
    ) -> ActionResult:
        match kind:
            case "pause" | "resume":
                paused = kind == "pause"
                await file.set_paused(key.secret, paused=paused)
                is_loaded = await self._loaded(lambda: key.paused is paused)
                word = "paused" if paused else "resumed"
            case "note":
                note = _note(action)
                await file.set_note(key.secret, note)
                is_loaded = await self._loaded(lambda: key.note == note)
                word = "annotated" if note else "without a note"
            case _:
                if len(self._rotator.configured) == 1:
                    raise ActionError(f"Key {key.name} is the only one; pause it instead.", 409)
                await file.remove(key.secret)
                is_loaded = await self._loaded(lambda: key not in self._rotator.configured)
                word = "removed"
        logger.info("key %s manually", word, extra={"fields": {"key": key.name, "address": client}})
        return ActionResult(f"Key {key.name} is {word}.{'' if is_loaded else _NOT_LOADED}", key)

    async def _add(self, file: KeysFile, action: Mapping[str, object], client: str) -> ActionResult:
        text, note = action.get("text"), _note(action)
        if not isinstance(text, str):
            raise ActionError("The text is not a string.")
        found = [key for key in find_keys(text) if file.accepts(key.secret)]
        if not found:
            raise ActionError("No key was found in the text. Put each on a line of its own.")
        known = self._names()
        new = _named([key for key in found if key.secret not in known], known.values())
        is_forced = action.get("force") is True
        proxies = {key.secret: file.proxy_of(key.name) for key in new}
        trials = {} if is_forced else await try_keys(self._pool, proxies)
        usable = [key for key in new if is_forced or trials[key.secret].acceptance is Acceptance.ACCEPTED]
        added = await file.add(usable, note) if usable else set()
        is_loaded = await self._loaded(lambda: added <= self._names().keys())
        names = self._names()
        report = [
            _Found(
                key.secret,
                _result(key.secret, added, trials),
                names.get(key.secret, ""),
                trials[key.secret].reason if key.secret in trials else "",
            )
            for key in found
        ]
        return self._reported(report, client, is_loaded=is_loaded)

    @staticmethod
    def _reported(report: Sequence[_Found], client: str, *, is_loaded: bool) -> ActionResult:
        """Log what was added, and return it for the client."""
        counts = {result: sum(one.result is result for one in report) for result in Result}
        fields: dict[str, object] = {result.name.lower(): counts[result] for result in Result}
        names = [one.name or "?" for one in report if one.result is Result.ADDED]
        fields["keys"] = ", ".join(names[:_LOGGED]) + (" …" if len(names) > _LOGGED else "")
        logger.info("keys added manually", extra={"fields": fields | {"address": client}})
        said = ", ".join(f"{count} {result}" for result, count in counts.items() if count)
        hint = " Send them with force to add them all the same." * bool(
            counts[Result.DEAD] + counts[Result.UNTRIED]
        )
        message = f"{len(report)} found: {said}.{hint}{'' if is_loaded else _NOT_LOADED}"
        return ActionResult(message, found=[one.snapshot for one in report])

    def _names(self) -> dict[str, str]:
        """The names of all keys, by the keys themselves."""
        return {key.secret: key.name for key in self._rotator.configured}

    async def _loaded(self, is_loaded: Callable[[], bool]) -> bool:
        """Have the file loaded, and wait until it is; returns False if it is not for long."""
        if is_loaded():
            return True
        self._request_reload()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOADED_WITHIN):
                while not is_loaded():
                    await self._replaced.wait()
        return is_loaded()

    def _on_replaced(self, _: KeysReplaced) -> None:
        self._replaced.set()
        self._replaced = asyncio.Event()


def _note(action: Mapping[str, object]) -> str:
    note = action.get("note", "")
    if not isinstance(note, str) or not note.isprintable() or len(note) > _LONGEST_NOTE:
        raise ActionError(f"The note must be a line of at most {_LONGEST_NOTE} characters.")
    if find_keys(note):
        raise ActionError("The note must not have a key in it.")
    return note.strip()


def _named(keys: Sequence[NewKey], taken: Collection[str]) -> list[NewKey]:
    """Return the keys, without names that others have already."""
    names = set(taken)
    named = []
    for key in keys:
        named.append(NewKey(key.secret, "" if key.name in names else key.name))
        names.add(key.name)
    return named


def _result(secret: str, added: Collection[str], trials: Mapping[str, Trial]) -> Result:
    trial = trials.get(secret)
    if secret in added:
        return Result.ADDED
    if trial is None or trial.acceptance is Acceptance.ACCEPTED:
        return Result.PRESENT
    return Result.DEAD if trial.acceptance is Acceptance.DEAD else Result.UNTRIED
