"""How much memory this process may use, by its container, its limits and the machine."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

try:
    import resource
except ImportError:  # there is none on Windows
    resource = None  # type: ignore[assignment]

_UNKNOWN = 2 * 1024 * 1024 * 1024  # bytes that are assumed where nothing is known
_UNLIMITED = 1 << 60  # bytes from which on a number means that there is no limit
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def usable_memory(cgroups: Path = _CGROUPS, own: Path = _OWN_CGROUPS) -> int:
    """Bytes: the lowest limit of the control groups (cgroups(7), both versions), RLIMIT_AS and the machine.

    `cgroups` is where the control groups are mounted, `own` the file that lists those of this process.
    """
    limits = [*_cgroup_limits(cgroups, own), *_address_space(), *_physical()]
    return min((limit for limit in limits if 0 < limit < _UNLIMITED), default=_UNKNOWN)


def _cgroup_limits(cgroups: Path, own: Path) -> Iterator[int]:
    """The limits of the groups that this process is in, and of their parents."""
    for line in _text(own).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        if controllers not in {"", "memory"} and "memory" not in controllers.split(","):
            continue
        root = cgroups / "memory" if controllers else cgroups
        file = "memory.limit_in_bytes" if controllers else "memory.max"
        group = root / name.lstrip("/")
        # In a container the name may be the host's, whose folder is not visible there: then the root counts.
        for folder in (group, *group.parents):
            if folder.is_relative_to(root):
                with contextlib.suppress(ValueError):  # "max", or there is no such file
                    yield int(_text(folder / file))


def _address_space() -> Iterator[int]:
    if resource is not None and (soft := resource.getrlimit(resource.RLIMIT_AS)[0]) != resource.RLIM_INFINITY:
        yield soft


def _physical() -> Iterator[int]:
    with contextlib.suppress(AttributeError, OSError, ValueError):  # Windows has no sysconf
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
