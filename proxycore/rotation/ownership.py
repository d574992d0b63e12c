"""That a key owns a resource: its project made a file, a cached content, an upload, ... Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from proxycore.rotation.key import Key


@dataclass(frozen=True, slots=True)
class Ownership:
    """A key owns the resource of this name, which is remembered until a moment (infinity: for good)."""

    name: str
    key: Key
    until: float

    def to_json(self) -> tuple[bool, list[float]]:
        """What to write down of it, beside the name and the key, and its moments apart."""
        return True, [self.until] if math.isfinite(self.until) else []

    @classmethod
    def from_json(cls, name: str, key: Key, value: object, moments: Sequence[float]) -> "Ownership":
        """What was written down; raises ValueError when it is none."""
        match value, list(moments):
            case True, []:
                return cls(name, key, math.inf)
            case True, [until]:
                return cls(name, key, until)
        raise ValueError("not an ownership")
