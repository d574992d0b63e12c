"""Whether the state file is in use, as the process that has it says."""

from dataclasses import dataclass
from enum import StrEnum


class StateFileUse(StrEnum):
    """Whether the state file is in use; the values are shown to the admin."""

    ON = "on"
    OFF = "off"  # there is to be none
    UNUSABLE = "unusable"


@dataclass(frozen=True, slots=True)
class StateFileStatus:
    """The use of the state file.

    `trouble` says why it can't be used, and what to do, and `since` is when that began, by the wall clock.
    `size` is in bytes, with what is not merged into the file yet; None if it is not known. `keep_days` is for
    how many days requests, events and usage are kept.
    """

    use: StateFileUse
    trouble: str | None = None
    since: float | None = None
    size: int | None = None
    keep_days: int | None = None
