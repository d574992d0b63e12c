"""The command line: parses the flags, and starts the program. Needs only Python's standard library.

The program is imported once the flags are parsed: `--help` is fast, and a missing library can be reported in
plain words.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from proxycore import __version__

_ROOT = Path(__file__).parents[2]
_REQUIREMENTS = _ROOT / "requirements.txt"


def parse_flags(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags in `arguments`, or in `sys.argv`. A flag for a variable has the variable's name.

    Values are checked together with the variables. Raises SystemExit for `--help` and `--version` (0), and
    for unknown flags (2).
    """
    parser = argparse.ArgumentParser(
        description="A reverse proxy that spreads requests to the Google Gemini API over many keys.",
        epilog="Settings come from the environment and .env; see .env.example. Flags take precedence.",
    )
    parser.add_argument("--version", action="version", version=f"gemini-key-proxy {__version__}")
    parser.add_argument("--host", metavar="ADDRESS", help="address to listen on (HOST; default 0.0.0.0)")
    parser.add_argument("--port", metavar="N", help="port to listen on (PORT; default 8000)")
    parser.add_argument(
        "--log-level",
        metavar="LEVEL",
        help="minimum level to log: debug, info, warning or error (LOG_LEVEL; default info)",
    )
    parser.add_argument("--log-format", metavar="FORMAT", help="text or json (LOG_FORMAT; default text)")
    parser.add_argument(
        "--demo", action="store_true", help="run without a key, in front of a mock of the Gemini API"
    )
    parser.add_argument(
        "--check", action="store_true", help="test every key once, free of charge, and report what to fix"
    )
    parser.add_argument("--json", action="store_true", help="with --check: print the report as JSON")
    options = parser.parse_args(arguments)
    if options.json and not options.check:
        parser.error("--json needs --check")
    return options


def main() -> int:
    """Run the command; returns the exit status.

    0: ended as asked. 1: a check found no key that works. 2: unknown flags, settings that can't be used, or a
    library that is missing. 130: interrupted before it served.
    """
    options = parse_flags()
    try:
        import_module("tornado.web")  # the library to name where all are missing
        from proxycore.runtime.launcher import launch  # noqa: PLC0415 - see the head of this module
    except KeyboardInterrupt:
        return 130
    except ImportError as error:
        if not error.name or error.name.partition(".")[0] == "proxycore":
            raise  # a bug of ours
        sys.stderr.write(missing_library(error))
        return 2
    return launch(options)


def missing_library(error: ImportError) -> str:
    """Two lines: which library can't be imported, and what to type."""
    module = str(error.name).partition(".")[0]
    what = f"The Python library {module} is missing"
    if not isinstance(error, ModuleNotFoundError):
        what = f"The Python library {module} can't be used ({error})"
    return f"{what}; this is {sys.executable}.\nInstall what the program needs: {_install_command()}\n"


def _install_command() -> str:
    python = shlex.quote(sys.executable)
    if not _REQUIREMENTS.exists():  # installed as a package
        return "install the package gemini-key-proxy again, with its dependencies"
    if sys.prefix != sys.base_prefix:
        return f"{python} -m pip install -r {shlex.quote(str(_REQUIREMENTS))}"
    # Debian's Python, among others, does not allow installing into it (PEP 668).
    return (
        f"cd {shlex.quote(str(_ROOT))} && {python} -m venv .venv"
        " && .venv/bin/pip install -r requirements.txt && .venv/bin/python server.py"
    )
