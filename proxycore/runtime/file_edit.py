"""Changes a small text file that other programs may change as well. Blocks; to be called in a thread.

The new text is written to a new file beside it, which replaces it at once: whoever reads it, and whatever
happens meanwhile, finds the old text or the new one. The file has mode 0600 then, and its owner.
"""

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from proxycore.runtime.regular_file import (
    MOST_BYTES,
    FileError,
    Signature,
    StillChangingError,
    TextFiles,
    decoded,
    signature_of,
)

try:
    import fcntl
except ImportError:  # there is none on Windows
    fcntl = None  # type: ignore[assignment]

_PATIENCE = 5.0  # seconds in which others have to finish with the file
_PAUSE = 0.02  # seconds between two looks at whether they have
_MODE = 0o600
_BOM = b"\xef\xbb\xbf"
_CLOSED = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | _CLOSED
# A folder that can't be written, and a file that can't be replaced: one that is mounted by itself is busy.
_NOT_REPLACEABLE = {errno.EROFS, errno.EACCES, errno.EPERM, errno.EBUSY, errno.EXDEV}
_REASONS = {
    errno.EROFS: "it is on a read-only file system; mount it writable",
    errno.ENOSPC: "there is no space left",
    errno.EDQUOT: "there is no space left",
}


def edit_file(path: Path, edit: Callable[[str], str]) -> None:
    """Replace the file's text by what `edit` returns for it; lines keep their ends, `\\r\\n` as well.

    `edit` is called again if the file was changed meanwhile. Raises FileError when the file can't be used or
    written, or another program does not finish with it within five seconds.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            target = path.resolve(strict=True)  # a link stays one
            with _locked(target):
                if _edited(target, edit):
                    return
        except (StillChangingError, BlockingIOError):
            pass
        except FileNotFoundError as error:
            raise FileError("there is no such file") from error
        except OSError as error:
            raise FileError(_reason(error)) from error
        if time.monotonic() > deadline:
            raise FileError("another program is writing it; try again")
        time.sleep(_PAUSE)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file; raises BlockingIOError if another one has it or has replaced the file."""
    if fcntl is None:
        yield
        return
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _CLOSED)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(number), path.stat()):
            raise BlockingIOError
        yield
    finally:
        os.close(number)


def _edited(path: Path, edit: Callable[[str], str]) -> bool:
    """Edit the file; returns False if another program has changed it meanwhile."""
    files = TextFiles()
    former = files.data(path)
    text = decoded(former)
    changed = edit(text)
    if changed == text:
        return True
    data = (_BOM if former.startswith(_BOM) else b"") + changed.encode()
    if len(data) > MOST_BYTES:
        raise FileError(f"it would be larger than {MOST_BYTES // 1024 // 1024} MB")
    try:
        return _replace(path, data, files.signatures[path])
    except OSError as error:
        if error.errno not in _NOT_REPLACEABLE:
            raise
    return _overwrite(path, data, former, files.signatures[path])


def _replace(path: Path, data: bytes, former: Signature) -> bool:
    """Put a new file in the place of one; returns False if that is not in its `former` state any more."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)  # left behind by a crash: the lock is ours
    number = os.open(new, _NEW, _MODE)
    try:
        try:
            _keep_owner(number, path)
            _write(number, data)
            os.fsync(number)
        finally:
            os.close(number)
        is_current = signature_of(path) == former
        if is_current:
            new.replace(path)
    except OSError:
        new.unlink()
        raise
    if not is_current:
        new.unlink()
        return False
    # From here on others may hold the lock of the new file, and write `new` again.
    _sync_folder(path.parent)
    return True


def _keep_owner(number: int, path: Path) -> None:
    """Give a new file the owner of the old one; raises PermissionError if that is not allowed."""
    if hasattr(os, "fchown"):
        new, old = os.fstat(number), path.stat()
        if new.st_uid != old.st_uid:
            os.fchown(number, old.st_uid, -1)
        with contextlib.suppress(PermissionError):
            os.fchown(number, -1, old.st_gid)


def _overwrite(path: Path, data: bytes, former: bytes, state: Signature) -> bool:
    """Write a file in place; the former text comes back if the new one can't be written."""
    if signature_of(path) != state:
        return False
    number = os.open(path, os.O_WRONLY | _CLOSED)
    try:
        with contextlib.suppress(OSError, AttributeError):  # another one's file keeps its mode
            os.fchmod(number, _MODE)
        try:
            _write(number, data)
        except OSError:
            _write(number, former)
            raise
        os.fsync(number)
    finally:
        os.close(number)
    return True


def _write(number: int, data: bytes) -> None:
    os.lseek(number, 0, os.SEEK_SET)
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(number, rest) :]
    os.ftruncate(number, len(data))


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # Windows has no such thing
        number = os.open(folder, os.O_RDONLY | _CLOSED)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _reason(error: OSError) -> str:
    if error.errno in {errno.EACCES, errno.EPERM}:
        user = f"; the program runs as user {os.geteuid()}" if hasattr(os, "geteuid") else ""
        return f"it can't be written: permission denied{user}"
    return _REASONS.get(error.errno or 0, f"it can't be written: {error.strerror}")
