"""An ownership: which key's project made a resource (a file, a cached content, an upload, ...). Pure."""

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
        """Return what peers are sent, beside the name and the key: a JSON value and the moments."""
        return True, [self.until] if math.isfinite(self.until) else []

    @classmethod
    def from_json(cls, name: str, key: Key, value: object, moments: Sequence[float]) -> "Ownership":
        """Return the ownership that a peer sent. Raises ValueError when the value is none."""
        match value, list(moments):
            case True, []:
                return cls(name, key, math.inf)
            case True, [until]:
                return cls(name, key, until)
        raise ValueError("not an ownership")
