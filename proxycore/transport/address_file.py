"""The address on which a running program listens, for the health check in its container.

The program keeps it in a file in memory (memfd_create(2)), which needs no writable folder and disappears with
the program. Processes of the same user find it in /proc, among the program's open files. Linux only.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_NAME = "gemini-key-proxy-address"
_SIZE = 256  # bytes; all writes have the same length, so that a reader never sees parts of two


class Address(NamedTuple):
    """The address at which a program can be reached from its own host."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


class AddressFile:
    """The file of a program, empty until `write`. Forked processes share it."""

    def __init__(self) -> None:
        self._file = None
        # Neither Windows nor macOS has it, and some kernels refuse it. Only the health check needs it.
        with contextlib.suppress(AttributeError, OSError):
            self._file = os.fdopen(os.memfd_create(_NAME), "r+b", buffering=0)

    def write(self, address: Address) -> None:
        """Replace the address that was written before."""
        if self._file:
            # Not at the file's position: processes that share the file would move it for each other.
            os.pwrite(self._file.fileno(), " ".join(map(str, address)).ljust(_SIZE).encode(), 0)

    def close(self) -> None:
        """Close the file in this process."""
        if self._file:
            self._file.close()
            self._file = None


def served_from(folder: Path) -> Address | None:
    """The address of the program that runs in this working folder, None if none is ready.

    Of several programs, the one with the lowest process id: in a container, the container's own.
    """
    for process in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        with contextlib.suppress(OSError):  # it ended meanwhile, or is another user's
            if (process / "cwd").samefile(folder):
                for text in _texts(process):
                    scheme, host, port = text.split()
                    return Address(scheme, host, int(port))
    return None


def _texts(process: Path) -> Iterator[str]:
    for file in (process / "fd").iterdir():
        with contextlib.suppress(OSError):
            if str(file.readlink()).startswith(f"/memfd:{_NAME} ") and (text := file.read_text()):
                yield text
