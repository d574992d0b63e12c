"""What the actions need of KEYS_FILE; the program composes it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


class KeysFileError(Exception):
    """KEYS_FILE can't be changed; the message is the reason."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to be added; `name` is empty if it has none."""

    secret: str = field(repr=False)
    name: str = ""


class KeysFile(Protocol):
    """Changes KEYS_FILE. Changes are made one after the other, those of other processes included.

    All raise KeysFileError if the file can't be changed. A key that is not in it is no error.
    """

    def accepts(self, secret: str) -> bool:
        """Whether this can be a key: no placeholder, and no secret that this program uses otherwise."""
        ...

    def proxy_of(self, name: str) -> str | None:
        """The URL of the outbound proxy that a new key of this name is used through; None for none."""
        ...

    async def add(self, keys: Sequence[NewKey], note: str) -> set[str]:
        """Add those keys that are not there yet, each with the note; return their secrets."""
        ...

    async def set_paused(self, secret: str, *, paused: bool) -> None:
        """Pause or resume a key."""
        ...

    async def set_note(self, secret: str, note: str) -> None:
        """Give a key another note; an empty one removes it."""
        ...

    async def remove(self, secret: str) -> None:
        """Remove a key, with its line."""
        ...
