"""Models by family, so that an invented name can't make a new series in the metrics. Pure."""

import re

_FAMILY = re.compile(
    r"(gemini|gemma|imagen|veo|lyria|learnlm|aqa|text-embedding|embedding)"
    r"(?:-(\d{1,2}(?:\.\d)?))?(?:-(embedding|flash-lite|flash|pro|ultra|nano))?(?![a-z0-9.])"
)
_MOST = 48

NONE, OTHER = "none", "other"


class Families:
    """The families that were met. When there are too many of them, the later ones are `other`."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._names: set[str] = set()

    def of(self, model: str) -> str:
        """The family of a model: `gemini-2.5-flash` for `gemini-2.5-flash-preview-09-2025`.

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
