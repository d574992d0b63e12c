"""Collects the Gemini API keys from variables, which may have several each, and from a file."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from proxycore.rotation.key import KeySpec
from proxycore.runtime.env_reader import is_placeholder, is_sendable
from proxycore.runtime.key_line import read_line
from proxycore.runtime.quoting import has_comment, has_lone_quote, listed

_MOST_LINES = 10
_LONGEST_NAME = 64
# The forms of Google's keys. Other keys are accepted as well; but a name of this form is a misplaced key.
_KEY_LIKE = re.compile(r"AIza[\w-]{20,}|AQ\.[\w-]{20,}")
_SEPARATORS = re.compile(r"[,;]")  # between keys in a variable
_NO_NAME = "the second word is not a valid key name, ignored; write: key [name] [project] [# note]"


@dataclass(slots=True)
class Keyring:
    """Collects the keys; those that can't be used are left out, with a warning."""

    warnings: list[str] = field(default_factory=list)
    _keys: dict[str, KeySpec] = field(default_factory=dict)  # by name
    _names: dict[str, str] = field(default_factory=dict)  # secret -> name

    @property
    def specs(self) -> tuple[KeySpec, ...]:
        """The keys, in the order in which they were added."""
        return tuple(self._keys.values())

    def add_variable(self, variable: str, suffix: str, value: str) -> None:
        """Add the keys of one variable. `suffix` is `name`, `name__project` or `name__project__account`."""
        name, project, account = _parts(suffix)
        # Checked before the value is split: a placeholder may have spaces.
        secrets = [value] if is_placeholder(value) and not _SEPARATORS.search(value) else listed(value)
        if has_comment(value):
            self.warnings.append(f"{variable}: the text after # is a comment and ignored")
        if not secrets:
            self.warnings.append(f"{variable}: empty, ignored")
        for number, secret in enumerate(secrets, 1):
            is_one_of_many = len(secrets) > 1
            spec = KeySpec(f"{name}.{number}" if is_one_of_many else name, secret, project, account)
            if fault := self._add(spec):
                which = f"number {number} of {len(secrets)}: " if is_one_of_many else ""
                self.warnings.append(f"{variable}: {which}{fault}")

    def add_lines(self, variable: str, text: str) -> None:
        """Add the keys of a file with lines like `key [name] [project] [# note]`; `variable` has its path."""
        faults = list(self._faults_of(text.split("\n")))
        self.warnings += [f"{variable}: line {line}: {fault}" for line, fault in faults[:_MOST_LINES]]
        if len(faults) > _MOST_LINES:
            self.warnings.append(f"{variable}: {len(faults) - _MOST_LINES} more lines like these")

    def _faults_of(self, lines: Iterable[str]) -> Iterable[tuple[int, str]]:
        for number, line in enumerate(lines, 1):
            found = read_line(line)
            if found is None:
                continue
            secret, name, project, *rest = [*found.words, "", "", ""]
            if _KEY_LIKE.match(name) or len(name) > _LONGEST_NAME:
                yield number, _NO_NAME
                continue
            spec = KeySpec(
                name or self._fingerprint(secret),
                secret,
                project,
                paused=found.paused,
                note=_KEY_LIKE.sub("…", found.note),  # which is shown
                in_file=True,
            )
            if fault := self._add(spec):
                yield number, fault
            if any(rest):
                yield number, "more words than key, name and project; put # before a note"

    def _add(self, spec: KeySpec) -> str:
        """Add a key; returns what is wrong with it, empty if nothing."""
        name, secret = spec.name, spec.secret
        if not f"{name}{spec.project}{spec.account}".isprintable():
            return "the key's name has non-printable characters, ignored"
        if is_placeholder(secret):
            return "still a placeholder, ignored; put a Gemini API key there"
        if not is_sendable(secret) or _SEPARATORS.search(secret) or has_lone_quote(secret):
            return "has characters that an API key can't have, ignored"
        if secret in self._names:
            return f"duplicate of key {self._names[secret]}, counted once"
        if name in self._keys:
            return f"there is a key {name} already, ignored"
        self._keys[name], self._names[secret] = spec, name
        return ""

    def _fingerprint(self, secret: str) -> str:
        """A name for a key without one, the same wherever its line is."""
        digest = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
        return next((digest[:n] for n in (8, 12, 16) if digest[:n] not in self._keys), digest)


def _parts(suffix: str) -> tuple[str, str, str]:
    name, _, rest = suffix.partition("__")
    project, _, account = rest.partition("__")
    return (name, project, account) if name and rest else (suffix, "", "")
