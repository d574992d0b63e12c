"""The labels of a model: its family for metrics, and its name. Invented names must not make series. Pure."""

import re

_FAMILY = re.compile(
    r"(gemini|gemma|imagen|veo|lyria|learnlm|aqa|text-embedding|embedding)"
    r"(?:-(\d{1,2}(?:\.\d)?))?(?:-(embedding|flash-lite|flash|pro|ultra|nano))?(?![a-z0-9.])"
)
_MOST = 48  # families; a process that meets more counts the later ones as `other`
_MOST_NAMES = 256

NONE, OTHER = "none", "other"
"""The label values of what names nothing, and of what has no series of its own."""


class ModelLabels:
    """The families seen so far. When there are too many, the later ones are `other`."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._names: set[str] = set()

    def of(self, model: str) -> str:
        """Return the family of a model: `gemini-2.5-flash` for `gemini-2.5-flash-preview-09-2025`.

        `none` for a request that names no model, `other` for a name that is none of Google's.
        """
        if not model:
            return NONE
        family = self._known.get(model)
        if family is None:
            family = self._family(model)
            if len(self._known) < 10 * _MOST:
                self._known[model] = family
        return family

    def _family(self, model: str) -> str:
        found = _FAMILY.match(model.lower())
        name = "-".join(filter(None, found.groups())) if found else OTHER
        if name not in self._names and len(self._names) >= _MOST:
            return OTHER
        self._names.add(name)
        return name


class ModelNames:
    """The names of models seen so far. When there are too many, the later ones are `other`."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def of(self, model: str) -> str:
        """Return the name of a model, or `other`."""
        if model not in self._names:
            if len(self._names) >= _MOST_NAMES:
                return OTHER
            self._names.add(model)
        return model
