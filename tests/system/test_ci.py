"""What holds where everything is installed: nothing is skipped."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.process import ROOT

OPTIONS = ("-n", "0", "-p", "tests.conftest", "-c", str(ROOT / "pyproject.toml"))
SKIPPED = """\
import pytest

@pytest.mark.skipif(True, reason="buildah is not installed")
def test_the_image() -> None: ...

def test_the_image_halfway() -> None:
    pytest.skip("needs root")
"""


def outcome(folder: Path, **variables: str) -> tuple[int, str]:
    """Exit status and last line of these tests, run as ours are."""
    told = subprocess.run(
        [sys.executable, "-m", "pytest", *OPTIONS, folder],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "CI"} | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    return told.returncode, told.stdout.splitlines()[-1]


def test_a_skipped_test_fails_with_ci_set_and_only_then(tmp_path: Path) -> None:
    (tmp_path / "test_skipped.py").write_text(SKIPPED)
    status, line = outcome(tmp_path)
    assert (status, line.startswith("2 skipped")) == (0, True), line
    status, line = outcome(tmp_path, CI="true")
    assert (status, line.startswith("1 failed, 1 error")) == (1, True), line
