"""A small file is changed at once or not at all, and no change is lost."""

import errno
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from proxycore.runtime import file_edit
from proxycore.runtime.file_edit import edit_file
from proxycore.runtime.regular_file import FileError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="modes, links and locks of POSIX")
FEW = "AIza-one\n"
MORE = "AIza-one\nAIza-two # new\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(FEW)
    return path


def write_more(path: Path) -> None:
    edit_file(path, lambda _: MORE)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("before", [0o600, 0o644, 0o666])
def test_a_changed_file_is_only_its_owners(file: Path, before: int) -> None:
    file.chmod(before)
    write_more(file)
    assert file.read_text() == MORE
    assert mode_of(file) == 0o600
    assert names(file.parent) == ["keys"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
@pytest.mark.parametrize("is_root", [True, False])
def test_a_file_stays_its_owners(*, is_root: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "keys")
        file.write_text(FEW)
        file.chmod(0o666)
        file.parent.chmod(0o777)
        os.chown(file, 12345, 12346)
        os.seteuid(0 if is_root else 12347)
        try:
            write_more(file)
        finally:
            os.seteuid(0)
        assert (file.stat().st_uid, file.stat().st_gid) == (12345, 12346)
        assert mode_of(file) == (0o600 if is_root else 0o666)
        assert file.read_text() == MORE


def test_a_change_of_nothing_leaves_the_file_alone(file: Path) -> None:
    before = file.stat()
    edit_file(file, lambda text: text)
    assert file.stat() == before


def test_a_link_stays_a_link_and_its_target_is_changed(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    file.rename(folder / "real")
    file.symlink_to(folder / "real")
    write_more(file)
    assert file.is_symlink()
    assert (folder / "real").read_text() == MORE
    assert names(folder) == ["real"]


def test_ends_of_lines_and_a_byte_order_mark_stay(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbfAIza-one\r\nAIza-two\n")
    edit_file(file, lambda text: text.replace("two", "three"))
    assert file.read_bytes() == b"\xef\xbb\xbfAIza-one\r\nAIza-three\n"


@pytest.mark.parametrize("fault", [errno.EBUSY, errno.EXDEV])
def test_a_file_that_is_mounted_by_itself_is_written_in_place(
    file: Path, fault: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(Path, "replace", refuse)
    before = file.stat().st_ino
    for text in (MORE, FEW):
        edit_file(file, lambda _, text=text: text)  # type: ignore[misc]
        assert file.read_text() == text
    assert file.stat().st_ino == before
    assert mode_of(file) == 0o600
    assert names(file.parent) == ["keys"]


@pytest.mark.parametrize("fault", [errno.EROFS, errno.EACCES])
def test_a_file_in_a_folder_that_cannot_be_written_is_written_in_place(
    file: Path, fault: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_to_open(monkeypatch, fault, os.O_CREAT)
    write_more(file)
    assert file.read_text() == MORE


def refuse_to_open(monkeypatch: pytest.MonkeyPatch, fault: int, flag: int) -> None:
    """Opening a file in this way fails from now on."""
    opened = os.open

    def refusing(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & flag:
            raise OSError(fault, os.strerror(fault), str(path))
        return opened(path, flags, mode)

    monkeypatch.setattr(os, "open", refusing)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (errno.EROFS, "it is on a read-only file system; mount it writable"),
        (errno.EACCES, f"it can't be written: permission denied; the program runs as user {os.geteuid()}"),
        (errno.ENOSPC, "there is no space left"),
    ],
)
def test_a_file_that_cannot_be_written_says_why(
    file: Path, fault: int, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_to_open(monkeypatch, fault, os.O_WRONLY)
    with pytest.raises(FileError) as caught:
        write_more(file)
    assert str(caught.value) == reason
    assert file.read_text() == FEW


@pytest.mark.parametrize("in_place", [False, True])
def test_a_full_disk_leaves_the_former_text(
    file: Path, monkeypatch: pytest.MonkeyPatch, *, in_place: bool
) -> None:
    if in_place:
        monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(errno.EBUSY, "busy")))
    write, filled = os.write, file.stat().st_ino

    def fails_late(number: int, data: bytes) -> int:
        is_full = os.fstat(number).st_ino == filled if in_place else True
        if is_full and len(data) > len(FEW):
            return write(number, data[:3])
        if is_full and bytes(data) != FEW.encode():
            raise OSError(errno.ENOSPC, "full")
        return write(number, data)

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", fails_late)
        with pytest.raises(FileError, match="no space left"):
            edit_file(file, lambda _: "A" * (len(FEW) + 1))
    assert file.read_text() == FEW
    assert names(file.parent) == ["keys"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff\xfeA\0", "UTF-16"),
        (b"AIza\xe9\n", "line 1 is not UTF-8"),
        (b"A\0", "NUL"),
        (b"A" * 5_000_000, "4 MB"),
    ],
)
def test_a_file_that_is_no_text_is_not_changed(file: Path, content: bytes, reason: str) -> None:
    file.write_bytes(content)
    with pytest.raises(FileError, match=reason):
        write_more(file)
    assert file.read_bytes() == content


def test_a_file_does_not_grow_beyond_what_is_read(file: Path) -> None:
    with pytest.raises(FileError, match="4 MB"):
        edit_file(file, lambda _: "A" * 5_000_000)
    assert file.read_text() == FEW


def test_a_missing_file_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        write_more(tmp_path / "keys")
    (tmp_path / "keys").symlink_to(tmp_path / "nothing")
    with pytest.raises(FileError, match="no such file"):
        write_more(tmp_path / "keys")
    assert names(tmp_path) == ["keys"]


def test_a_file_that_changes_meanwhile_is_read_again(file: Path) -> None:
    texts = []

    def edit(text: str) -> str:
        texts.append(text)
        if len(texts) == 1:
            file.write_text("AIza-other\n")  # an editor, which takes no lock
        return f"{text}AIza-two\n"

    edit_file(file, edit)
    assert texts == [FEW, "AIza-other\n"]
    assert file.read_text() == "AIza-other\nAIza-two\n"


def test_a_file_that_another_program_holds_open_for_long_is_not_changed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_edit, "_PATIENCE", 0.1)
    with file.open("a"), pytest.raises(FileError, match="another program is writing it; try again"):
        write_more(file)
    assert file.read_text() == FEW
    write_more(file)


def test_what_a_crash_left_behind_is_in_nobodys_way(file: Path, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / ".keys.new").symlink_to(tmp_path / "victim")
    write_more(file)
    assert file.read_text() == MORE
    assert (tmp_path / "victim").read_text() == "precious"


def test_changes_at_the_same_time_are_all_made(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_edit, "_PATIENCE", 60.0)  # the machine may be busy
    monkeypatch.setattr(file_edit, "_sync_folder", lambda _: time.sleep(0.002))  # on a slow disk

    def add(number: int) -> None:
        for turn in range(10):
            edit_file(file, lambda text, turn=turn: f"{text}AIza-{number}-{turn}\n")  # type: ignore[misc]

    threads = [threading.Thread(target=add, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = file.read_text().splitlines()
    assert sorted(lines) == sorted(
        ["AIza-one", *(f"AIza-{n}-{turn}" for n in range(6) for turn in range(10))]
    )


WRITER = """
import sys
from pathlib import Path
from proxycore.runtime.file_edit import edit_file
number = 0
print("ready", flush=True)
while True:
    number = 1 - number
    edit_file(Path(sys.argv[1]), lambda _: str(number) * 200_000 + "\\n")
"""


def test_a_kill_during_a_change_leaves_the_old_text_or_the_new_one(file: Path) -> None:
    source = random.Random(1)  # noqa: S311 - a reproducible case
    for _ in range(12):
        command = [sys.executable, "-c", WRITER, str(file)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(source.uniform(0, 0.05))
            writer.send_signal(signal.SIGKILL)
        text = file.read_text()
        assert text == FEW or (len(set(text)) == 2 and len(text) == 200_001)
        assert set(names(file.parent)) <= {"keys", ".keys.new"}
    write_more(file)
    assert names(file.parent) == ["keys"]
