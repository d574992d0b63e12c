"""Container images without a daemon: built by buildah, run by podman, in a storage of their own.

Where no registry of images can be reached, the base image is made of Debian's packages. What pip and apt need
on this machine to reach theirs is asked of them, and lent to the build from outside.
"""

import ast
import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BASE = "docker.io/library/python:3.13-slim"
TOOLS = ("buildah", "podman", "debootstrap", "runc", "apt-get")

_DEBIAN = "trixie"  # which has the same Python
_DEBOOTSTRAP = ("--variant=minbase", "--include=python3,python3-pip,ca-certificates")
_PULL = 120  # seconds that a registry may take; where none can be reached, that is clear at once
_PIP = (
    "cert",
    "constraint",
    "extra-index-url",
    "find-links",
    "index-url",
    "no-index",
    "proxy",
    "trusted-host",
)
_PODMAN = ("--cgroup-manager", "cgroupfs", "--events-backend", "none", "--runtime", "runc")
# No systemd is needed, and no network but the host's; the limits are below those of any host. With a
# read-only root, nothing can be written to but /dev/shm, as with Docker and unlike podman.
_RUN = (
    *("--network", "host", "--env", "HOST=127.0.0.1", "--env", "PORT=0", "--log-driver", "k8s-file"),
    *("--ulimit", "nofile=4096:4096", "--ulimit", "nproc=1024:1024", "--no-healthcheck"),
    "--read-only-tmpfs=false",
)


def run(*command: str | Path, folder: Path | None = None, seconds: float = 300.0) -> str:
    """Runs a tool that must succeed; returns its standard output."""
    told = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
        stdin=subprocess.DEVNULL,
    )
    assert told.returncode == 0, f"{command}: {told.stdout[-5000:]}{told.stderr[-5000:]}"
    return told.stdout


class Engine:
    """buildah and podman, with a storage in this folder, whose path has to be short."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._storage = ("--root", str(folder / "storage"), "--runroot", str(folder / "run"))

    def buildah(self, *arguments: str, folder: Path | None = None) -> str:
        return run("buildah", *self._storage, *arguments, folder=folder)

    def podman(self, *arguments: str, folder: Path | None = None) -> str:
        return run("podman", *self._storage, *_PODMAN, *arguments, folder=folder)

    def provide_base(self) -> None:
        """Has the base image from a registry, or else from Debian's packages."""
        try:
            run("buildah", *self._storage, "pull", "--quiet", BASE, seconds=_PULL)
        except (AssertionError, subprocess.TimeoutExpired):
            self.podman("import", "--quiet", str(_debian_with_python()), BASE)

    def inspect(self, kind: str, name: str, place: str) -> Any:  # noqa: ANN401 - JSON
        """What an `image` or a `container` has at this place, like `.Config.Labels`."""
        return json.loads(self.podman(kind, "inspect", "--format", f"{{{{json {place}}}}}", name))

    def files(self, image: str, folder: str) -> list[str]:
        """The files of an image below a folder, as paths from there."""
        root = Path(self.podman("image", "mount", image).strip(), folder.lstrip("/"))
        try:
            return [str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()]
        finally:
            self.podman("image", "unmount", image)

    def build(self, *arguments: str, folder: Path) -> None:
        """`docker build` with these arguments."""
        lent = _pip_configuration(self._folder)
        flags = ("--isolation", "chroot", "--format", "docker", "--pull-never")
        self.buildah("build", *flags, *lent, *arguments, folder=folder)

    @contextlib.contextmanager
    def run(self, *arguments: str, folder: Path) -> Iterator["Container"]:
        """`docker run -d` with these arguments, on a free port; removed at the end."""
        container = Container(self, self.podman("run", *_RUN, *arguments, folder=folder).strip())
        try:
            yield container
        finally:
            self.podman("rm", "--force", "--time", "0", container.name)


@dataclass
class Container:
    """A container that was started."""

    engine: Engine
    name: str

    @property
    def log(self) -> str:
        return Path(self.inspect(".HostConfig.LogConfig.Path")).read_text()

    @property
    def port(self) -> int:
        return int(self.wait_for(r"ready: http://\S+:(\d+)")[1])

    @property
    def process(self) -> Path:
        """Its first process, in the host's /proc."""
        return Path(f"/proc/{self.inspect('.State.Pid')}")

    def wait_for(self, pattern: str, seconds: float = 60.0) -> re.Match[str]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            ended = self.inspect(".State.Status") == "exited"
            if match := re.search(pattern, self.log):
                return match
            assert not ended, f"it ended: {self.log}"
            time.sleep(0.1)
        raise AssertionError(f"it never said {pattern}: {self.log}")

    def inspect(self, place: str) -> Any:  # noqa: ANN401 - JSON
        return self.engine.inspect("container", self.name, place)

    def exec(self, *command: str) -> str:
        return self.engine.podman("exec", self.name, *command)

    def stop(self) -> int:
        """`docker stop`; returns the exit status."""
        self.engine.podman("stop", self.name)
        return int(self.inspect(".State.ExitCode"))

    def memory(self) -> int:
        """Bytes in use by its processes; what they share is counted once."""
        return 1024 * sum(
            int(re.findall(r"^Pss: +(\d+)", (process / "smaps_rollup").read_text(), re.MULTILINE)[0])
            for process in _with_descendants(self.process)
        )


@contextlib.contextmanager
def engine() -> Iterator[Engine]:
    """An engine with an empty storage, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="image-") as folder:
        yield Engine(Path(folder))
        _unmount_all(folder)


def _unmount_all(folder: str) -> None:
    """Unmounts what is mounted in a folder: podman may leave its storage mounted after a container."""
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for path in reversed(mounted):  # the last that was mounted first
        if path.startswith(f"{folder}/"):
            run("umount", path)


def _with_descendants(process: Path) -> list[Path]:
    children = (process / "task" / process.name / "children").read_text().split()
    return [process, *(deeper for child in children for deeper in _with_descendants(Path("/proc", child)))]


def _debian_with_python() -> Path:
    """An archive of Debian with Python, in the user's cache; made if it is not there, which takes a while."""
    recipe = hashlib.sha256(repr((_DEBIAN, _DEBOOTSTRAP)).encode()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gemini-key-proxy-tests"
    archive = cache / f"base-{recipe}.tar"
    if not archive.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            root, made = Path(folder) / "root", Path(folder) / "base.tar"
            run("debootstrap", *_DEBOOTSTRAP, _DEBIAN, root, _debian_mirror(), seconds=600)
            # As in the image that it stands for: `python`, and a pip that installs where it is.
            (root / "usr/bin/python").symlink_to("python3")
            for refusal in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
                refusal.unlink()
            for waste in ("var/cache/apt", "var/lib/apt/lists"):
                shutil.rmtree(root / waste)
            run("tar", "--create", "--file", made, "--directory", root, ".")
            made.replace(archive)
    return archive


def _debian_mirror() -> str:
    """Where apt on this machine has Debian's packages from."""
    told = run("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages")
    debian = [line.split()[0] for line in told.splitlines() if re.search(r"/debian/? [a-z]+$", line)]
    assert debian, f"apt has no Debian among its sources: {told}"
    return debian[0]


def _pip_configuration(folder: Path) -> list[str]:
    """Volumes that lend a build what pip goes by on this machine: indexes, authorities, local files."""
    values: dict[str, str] = {}
    for line in run(sys.executable, "-m", "pip", "config", "list").splitlines():
        name, _, value = line.partition("=")
        values.setdefault(name.rpartition(".")[2], ast.literal_eval(value))  # the first has precedence
    values = {name: value for name, value in values.items() if name in _PIP}
    if authorities := os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE"):
        values.setdefault("cert", authorities)
    file = folder / "pip.conf"
    file.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in values.items()))
    volumes = {"/etc/pip.conf": str(file)}
    for word in " ".join(values.values()).split():
        # The files of an index lie beside it.
        path = Path(word.removeprefix("file://")).parent if word.startswith("file://") else Path(word)
        if path.is_absolute() and path.exists():
            volumes[str(path)] = str(path)
    return [f"--volume={source}:{target}:ro" for target, source in volumes.items()]
