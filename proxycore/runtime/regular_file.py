"""Reads small text files whole, without blocking, and never while they are being written."""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

try:
    import fcntl
except ImportError:  # there is none on Windows
    fcntl = None  # type: ignore[assignment]
import errno
import signal

Signature = tuple[int, ...] | None
"""The state of a file: mode, device, inode, size, mtime and ctime in nanoseconds. None: there is no file."""

MOST_BYTES = 4 * 1024 * 1024
"""The size of the largest file that is read."""

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class FileError(Exception):
    """The file can't be used; the message is the reason, without the file's name."""


class NoFileError(FileError):
    """There is no file of that name."""


class StillChangingError(Exception):
    """The file is being written; the message is its name."""


def signature_of(path: Path) -> Signature:
    """The present state of a file; links are followed."""
    try:
        return _signature(path.stat())
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return None


def _signature(found: os.stat_result) -> Signature:
    kind = found.st_mode, found.st_dev, found.st_ino
    return *kind, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@dataclass(slots=True)
class TextFiles:
    """Reads files, and remembers the state of each when it was read."""

    signatures: dict[Path, Signature] = field(default_factory=dict)
    unfinished: set[Path] = field(default_factory=set)  # files whose last line has no newline

    def text(self, path: Path) -> str:
        """The file's text, with `\\n` at the end of lines. Raises as `data` does."""
        return decoded(self.data(path)).replace("\r\n", "\n")

    def data(self, path: Path) -> bytes:
        """The file's bytes.

        Raises FileError when it can't be used, NoFileError when there is none, and StillChangingError when
        it is being written.
        """
        self.signatures[path] = None
        try:
            # Opening a device or a pipe may have effects, so they are not opened.
            _check_kind(path.stat())
            number = os.open(path, _FLAGS)
            try:
                data = self._read(path, number)
            finally:
                os.close(number)
        except FileNotFoundError as error:
            if path.is_symlink():
                raise FileError("a link to a file that does not exist") from error
            raise NoFileError("there is no such file") from error
        except PermissionError as error:
            user = f"; the program runs as user {os.geteuid()}" if hasattr(os, "geteuid") else ""
            raise FileError(f"can't be read: permission denied{user}") from error
        except OSError as error:
            raise FileError(f"can't be read: {error.strerror}") from error
        except ValueError as error:
            raise FileError("not a valid file name") from error
        finally:
            self.signatures[path] = self.signatures[path] or signature_of(path)
        if data and not data.endswith(b"\n"):
            self.unfinished.add(path)
        return data

    def _read(self, path: Path, number: int) -> bytes:
        found = os.fstat(number)
        _check_kind(found)
        self.signatures[path] = _signature(found)
        if found.st_size > MOST_BYTES:
            raise FileError(f"larger than {MOST_BYTES // 1024 // 1024} MB")
        if _is_open_for_writing(number):
            raise StillChangingError(path.name)
        with os.fdopen(number, "rb", closefd=False) as stream:
            data = stream.read(MOST_BYTES + 1)
        if _signature(os.fstat(number)) != _signature(found):
            raise StillChangingError(path.name)
        return data


def _check_kind(found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise FileError("a directory, not a file (Docker creates one if the file to mount does not exist)")
    if not stat.S_ISREG(found.st_mode):
        raise FileError("not a regular file")


def _is_open_for_writing(number: int) -> bool:
    """Whether any process has the file open for writing, as far as that is known.

    Linux grants a read lease only on files that nobody has open for writing (fcntl(2), F_SETLEASE), to their
    owner or root, on local file systems.
    """
    if not hasattr(fcntl, "F_SETLEASE") or not hasattr(fcntl, "F_SETSIG"):
        return False
    try:
        # If the file is opened while the lease is held, the kernel sends a signal. The default, SIGIO, would
        # end the program; SIGURG is ignored by default.
        fcntl.fcntl(number, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(number, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    fcntl.fcntl(number, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def decoded(data: bytes) -> str:
    """The text of a file, without a byte order mark; raises FileError if it is not UTF-8."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise FileError("UTF-16, as Windows' Notepad and PowerShell may write it; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FileError(f"line {line} is not UTF-8; save the file as UTF-8") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise FileError(f"line {line} has NUL characters; save the file as UTF-8")
    return text
