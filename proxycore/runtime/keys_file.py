"""Changes KEYS_FILE: adds, pauses, resumes, annotates and removes keys. All other lines stay as they are.

A change is made under a lock (flock(2)), so that none is lost, whichever process makes it. It goes to a new
file that replaces the old one at once, so that after a crash there is one or the other. Where a file can't be
replaced (a file that is mounted by itself, a folder that can't be written), it is written in place.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from proxycore.admin.keys_file import KeysFileError, NewKey
from proxycore.runtime.env_reader import is_placeholder, is_sendable
from proxycore.runtime.file_edit import edit_file
from proxycore.runtime.key_line import KeyLine, read_line, with_note, with_pause, write_line
from proxycore.runtime.regular_file import FileError

Change = Callable[[str, KeyLine], str | None]
"""Returns what becomes of a line with a key, without the end of the line; None removes it."""


class EditableKeysFile:
    """The file at `path`. `used` are secrets that are no Gemini API keys.

    `proxy_of` returns the outbound proxy of a new key, by its name.
    """

    def __init__(self, path: Path, used: Collection[str], proxy_of: Callable[[str], str | None]) -> None:
        self._path = path
        self._used = frozenset(used)
        self.proxy_of = proxy_of

    def accepts(self, secret: str) -> bool:
        """Whether this can be a key: no placeholder, and no secret that this program uses otherwise."""
        return is_sendable(secret) and not is_placeholder(secret) and secret not in self._used

    async def add(self, keys: Sequence[NewKey], note: str) -> set[str]:
        """Add those keys that are not there yet, each with the note; return their secrets."""
        added: set[str] = set()

        def add(text: str) -> str:
            lines = [line for line in map(read_line, text.split("\n")) if line]
            known = {line.secret for line in lines}
            names = {line.words[1] for line in lines if len(line.words) > 1}
            added.clear()
            ending = "\r\n" if "\r\n" in text else "\n"
            begun = text if not text or text.endswith("\n") else text + ending
            new = [key for key in keys if key.secret not in known]
            added.update(key.secret for key in new)
            return begun + "".join(
                write_line(key.secret, "" if key.name in names else key.name, note) + ending for key in new
            )

        await self._edit(add)
        return added

    async def set_paused(self, secret: str, *, paused: bool) -> None:
        """Pause or resume a key."""
        await self._change(
            secret, lambda line, key: line if key.paused is paused else with_pause(line, paused=paused)
        )

    async def set_note(self, secret: str, note: str) -> None:
        """Give a key another note; an empty one removes it."""
        await self._change(secret, lambda line, key: line if key.note == note else with_note(line, note))

    async def remove(self, secret: str) -> None:
        """Remove a key, with its line."""
        await self._change(secret, lambda *_: None)

    async def _change(self, secret: str, change: Change) -> None:
        """Change every line of a key: it may be there twice."""

        def changed(line: str) -> str | None:
            key = read_line(line)
            return change(line, key) if key and key.secret == secret else line

        def edit(text: str) -> str:
            return "\n".join(line for line in map(changed, text.split("\n")) if line is not None)

        await self._edit(edit)

    async def _edit(self, edit: Callable[[str], str]) -> None:
        try:
            await asyncio.to_thread(edit_file, self._path, edit)
        except FileError as error:
            raise KeysFileError(f"KEYS_FILE is not changed: {error}") from error
