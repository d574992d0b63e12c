"""Ways in which people and programs rewrite a file, and clients that send requests meanwhile.

Each manner yields where others may look at a file that is not finished.
"""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

Manner = Callable[[Path, str], Iterator[None]]


def _pieces(text: str, size: int = 37) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def truncate_and_write(path: Path, text: str) -> Iterator[None]:
    """As `cp` and shells do: opened empty, written at once, closed."""
    with path.open("w") as stream:
        yield
        stream.write(text)


def in_pieces(path: Path, text: str) -> Iterator[None]:
    """Emptied, and written slowly while it is open."""
    with path.open("w") as stream:
        for piece in _pieces(text):
            stream.write(piece)
            stream.flush()
            yield


def over_itself(path: Path, text: str) -> Iterator[None]:
    """Written over what is there, and cut to its length at the end."""
    path.touch()
    with path.open("r+") as stream:
        for piece in _pieces(text):
            stream.write(piece)
            stream.flush()
            yield
        stream.truncate()


def line_by_line(path: Path, text: str) -> Iterator[None]:
    """As `echo … >> .env` does: opened and closed for each line."""
    path.write_text("")
    for line in text.splitlines(keepends=True):
        yield
        with path.open("a") as stream:
            stream.write(line)


def closed_within_a_line(path: Path, text: str) -> Iterator[None]:
    """Closed in the middle of a line, and gone on with later."""
    half = text.rindex("=") + 3
    path.write_text(text[:half])
    yield
    with path.open("a") as stream:
        stream.write(text[half:])


def rename_over(path: Path, text: str) -> Iterator[None]:
    """As careful editors do: a new file, which replaces the old one."""
    new = path.with_name("new")
    yield from in_pieces(new, text)
    new.replace(path)


def delete_and_create(path: Path, text: str) -> Iterator[None]:
    """Gone for a while."""
    path.unlink()
    yield
    path.write_text(text)


def folder_for_a_while(path: Path, text: str) -> Iterator[None]:
    """As a mount that comes too late leaves it."""
    path.unlink()
    path.mkdir()
    yield
    path.rmdir()
    path.write_text(text)


def pipe_for_a_while(path: Path, text: str) -> Iterator[None]:
    """A FIFO that nobody writes to: who opens it to read would wait."""
    path.unlink()
    os.mkfifo(path)
    yield
    path.unlink()
    path.write_text(text)


def swapped_links(path: Path, text: str) -> Iterator[None]:
    """A link that leads nowhere for a while, and then to the new file."""
    target, link = path.with_name("target"), path.with_name("link")
    target.unlink(missing_ok=True)
    link.symlink_to(target)
    link.replace(path)
    yield
    target.write_text(text)
    yield
    target.replace(path)


def strangers() -> Iterator[str]:
    """Addresses of this host to call from, all different: wrong keys of one address are delayed."""
    return (f"127.0.{number // 250 % 250 + 1}.{number % 250 + 1}" for number in itertools.count())


MANNERS: tuple[Manner, ...] = (
    truncate_and_write,
    in_pieces,
    over_itself,
    line_by_line,
    closed_within_a_line,
    rename_over,
    delete_and_create,
    folder_for_a_while,
    pipe_for_a_while,
    swapped_links,
)
