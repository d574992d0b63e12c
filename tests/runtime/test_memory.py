"""How much memory the process may use, by the limits of the system."""

import os
import resource
from pathlib import Path

import pytest

from proxycore.runtime.memory import usable_memory

MB = 1024 * 1024
MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def usable(folder: Path, own: str, **limits: str) -> int:
    """With these control groups (slashes in names are written `__`)."""
    for name, limit in limits.items():
        file = folder / "cgroup" / name.replace("__", "/").replace("_DOT_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(limit + "\n")
    (folder / "own").write_text(own)
    return usable_memory(folder / "cgroup", folder / "own")


CASES: dict[str, tuple[str, dict[str, str], int]] = {
    "version 2, in a container": ("0::/\n", {"memory_DOT_max": "268435456"}, 256 * MB),
    "version 2, a unit": ("0::/a.slice/b\n", {"a.slice__b__memory_DOT_max": "104857600"}, 100 * MB),
    "version 2, a group around it": (
        "0::/a/b\n",
        {"a__b__memory_DOT_max": "max", "a__memory_DOT_max": "104857600"},
        100 * MB,
    ),
    "version 2, none": ("0::/\n", {"memory_DOT_max": "max"}, MACHINE),
    "version 1, in a container": (
        "5:cpu:/\n4:memory:/docker/abc\n0::/\n",
        {"memory__memory_DOT_limit_in_bytes": "134217728"},
        128 * MB,
    ),
    "version 1, a group": (
        "4:memory:/a\n",
        {"memory__a__memory_DOT_limit_in_bytes": "134217728"},
        128 * MB,
    ),
    "version 1, none": (
        "4:memory:/\n",
        {"memory__memory_DOT_limit_in_bytes": "9223372036854771712"},
        MACHINE,
    ),
    "more than there is": ("0::/\n", {"memory_DOT_max": str(2 * MACHINE)}, MACHINE),
    "nonsense": ("x\n0::\n::::\n", {"memory_DOT_max": "many"}, MACHINE),
    "nothing": ("", {}, MACHINE),
}


@pytest.mark.parametrize(("own", "limits", "expected"), CASES.values(), ids=CASES)
def test_the_lowest_limit_applies(own: str, limits: dict[str, str], expected: int, tmp_path: Path) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        expected = min(expected, soft)
    assert usable(tmp_path, own, **limits) == expected


def test_a_limit_of_the_address_space_applies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (50 * MB, 50 * MB))
    assert usable(tmp_path, "") == 50 * MB
