"""Reads `KEY_ORDER`: which keys go first, as groups of globs over the names of keys and projects."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from proxycore.rotation.key import KeySpec
from proxycore.runtime.env_reader import EnvReader

_LONGEST = 30  # characters of a glob that are shown: longer ones may be keys


def in_order(reader: EnvReader, variable: str, specs: Iterable[KeySpec]) -> tuple[KeySpec, ...]:
    """Return the keys with the ranks that the variable gives them; those that no glob matches come last.

    An empty group is a mistake, a glob that matches nothing is warned about.
    """
    specs, value = tuple(specs), reader.text(variable)
    if not value:
        return specs
    groups = [group.replace(",", " ").split() for group in value.split(">")]
    if not all(groups):
        reader.mistakes.append(
            f"{variable}: there is a group without a name; write names of keys or projects, * for any"
            " characters, and > between groups, the first to be used at the beginning: free* > paid*"
        )
        return specs
    for glob in dict.fromkeys(glob for group in groups for glob in group):
        if not any(_matches(spec, glob) for spec in specs):
            shown = glob if len(glob) <= _LONGEST else f"as its entry of {len(glob)} characters"
            reader.warnings.append(f"{variable}: no key or project is named {shown}")
    return tuple(replace(spec, rank=_rank(spec, groups)) for spec in specs)


def _rank(spec: KeySpec, groups: Sequence[Sequence[str]]) -> int:
    named = (rank for rank, globs in enumerate(groups) if any(_matches(spec, glob) for glob in globs))
    return next(named, len(groups))


def _matches(spec: KeySpec, glob: str) -> bool:
    return fnmatchcase(spec.name, glob) or (bool(spec.project) and fnmatchcase(spec.project, glob))
