"""Opens the state file, and says what is wrong with one that can't be used and what to do.

A file that is corrupt, or of an older version, is moved aside and a new one begun. A file of a newer version
or of another program is left as it is. The file is locked for as long as it is open: two programs can't share
one.
"""

import contextlib
import os
import sqlite3
import time
from pathlib import Path

from proxycore.storage.schema import APPLICATION, SCHEMA, VERSION

_LOCK_TIMEOUT = 0.2  # seconds that another program may hold the file
_MODE = 0o600
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_REASONS = {
    sqlite3.SQLITE_READONLY: "it is read-only; let the program write to it and to its folder",
    sqlite3.SQLITE_CANTOPEN: "it can't be opened; let the program write to it and to its folder",
    sqlite3.SQLITE_IOERR: "the disk can't be read or written; check it",
}
_LOCK = "PRAGMA locking_mode = EXCLUSIVE"
_SETTINGS = (
    # A batch is in the file once the kernel has it, which outlives `kill -9`. A power failure may cost the
    # latest batches, and leaves the file whole (sqlite.org/pragma.html#pragma_synchronous).
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA journal_size_limit = 16777216",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -8000",
)


class StateFileError(Exception):
    """The file can't be used; the message is the reason and what to do, without the file's name."""


class UselessFileError(StateFileError):
    """The file is to be moved aside: it is corrupt, or of an older version. The message says which."""


class OldFileError(UselessFileError):
    """The file is of an older version of this program, which this one does not read."""


class StatementError(StateFileError):
    """SQLite can't do what was asked, as with a value that it can't hold; the file is fine."""


class FullDiskError(StateFileError):
    """There is no space to write to; what the file has can be read."""


def open_state_file(path: Path) -> sqlite3.Connection:
    """Open the file, or make it. Raises StateFileError, and UselessFileError for one to be moved aside."""
    try:
        _make(path)
        connection = sqlite3.connect(
            path.absolute(),
            timeout=_LOCK_TIMEOUT,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=64,
        )
    except OSError as error:
        raise StateFileError(_os_reason(path, error)) from error
    except ValueError as error:
        raise StateFileError("not a valid file name; name another file") from error
    except sqlite3.Error as error:
        raise translate(error) from error
    try:
        _prepare(connection)
    except sqlite3.Error as error:
        connection.close()
        raise translate(error) from error
    except StateFileError:
        connection.close()
        raise
    return connection


def move_aside(path: Path, reason: UselessFileError) -> Path:
    """Rename a file, and what SQLite has beside it; returns its new name. Raises StateFileError."""
    word = "old" if isinstance(reason, OldFileError) else "corrupt"
    aside = path.with_name(f"{path.name}.{word}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    try:
        path.replace(aside)
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).replace(aside.with_name(aside.name + suffix))
    except OSError as error:
        raise StateFileError(f"{reason}, and can't be moved aside: {error.strerror}; remove it") from error
    return aside


def size_of(path: Path) -> int | None:
    """Return the bytes of the file and of its journal; None if they can't be read."""
    journal = path.with_name(f"{path.name}-wal")
    try:
        return path.stat().st_size + (journal.stat().st_size if journal.exists() else 0)
    except OSError:
        return None


def translate(error: Exception) -> StateFileError:
    """Return the reason of an error of SQLite, or of a value that can't be written."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # without what extends it
    if code in _CORRUPT:
        return UselessFileError("it is corrupt")
    if code == sqlite3.SQLITE_FULL:
        return FullDiskError("the disk is full; free some space")
    if code in _BUSY:
        return StateFileError("it is locked by another program; give each program a file of its own")
    if code in _REASONS:
        return StateFileError(_REASONS[code])
    return StatementError(f"{type(error).__name__}: {error}")


def _make(path: Path) -> None:
    """Make the file if there is none, so that SQLite makes it for nobody else, and its journal likewise."""
    if path.is_dir():
        raise StateFileError("it is a directory; name a file")
    if path.exists() and not path.is_file():
        raise StateFileError("it is not a regular file; name another")
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _MODE))
    if path.stat().st_mode & 0o077:
        with contextlib.suppress(OSError):  # another user's
            path.chmod(_MODE)


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute(_LOCK)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and application != APPLICATION:
        raise StateFileError("it is a database of another program; name another file")
    if version > VERSION:
        raise StateFileError("a newer version of this program wrote it; run that one, or name another file")
    if tables and version < VERSION:
        raise OldFileError("it is of an older version of this program")
    if not tables:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    for setting in _SETTINGS:
        connection.execute(setting)
    connection.execute("BEGIN IMMEDIATE")
    if not tables:
        # Not by `executescript`, which commits first.
        for statement in SCHEMA.split(";\n"):
            connection.execute(statement)
    connection.execute("COMMIT")


def _os_reason(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"there is no folder {path.parent}; make it"
    if isinstance(error, PermissionError):
        user = f" by user {os.geteuid()}" if hasattr(os, "geteuid") else ""
        return f"its folder can't be written to{user}; change its owner, or name a file elsewhere"
    return f"it can't be made: {error.strerror}; name a file elsewhere"
