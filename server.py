"""The Gemini key proxy: `python server.py`, or `python server.py --demo` without any key."""

import argparse
import asyncio
import contextlib
import gc
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from proxycore import life, log
from proxycore.check_report import check
from proxycore.demo import StandIn, demo_keys
from proxycore.env_file import EnvFile
from proxycore.headers import Redactor, with_former
from proxycore.settings import LOG_FORMATS, LOG_LEVELS, Settings, SettingsError, parse, read, without_keys
from proxycore.supervisor import Supervisor

try:
    import uvloop
except ImportError:  # there is none for Windows
    new_event_loop = asyncio.new_event_loop
else:
    new_event_loop = uvloop.new_event_loop

_T = TypeVar("_T")

_PACE = 0.15  # seconds between the pieces of the demo's answers
_TRY = """\
The stand-in for the Gemini API has %d keys in different health. Try it, several times:

  curl -N '%s://localhost:%d/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse' \\
    -H 'Content-Type: application/json'%s -d '{"contents": [{"parts": [{"text": "Write a short story"}]}]}'

and see what happens to the keys: %s://localhost:%d/
"""


def parse_flags(arguments: list[str]) -> argparse.Namespace:
    """The command line. A flag that has a variable is named like it."""
    parser = argparse.ArgumentParser(
        prog="server.py",
        description="A reverse proxy that spreads requests to the Google Gemini API over many keys.",
        epilog="Settings come from the environment and .env; .env.example explains them all. A flag wins.",
    )
    parser.add_argument("--host", metavar="ADDRESS", help="where to listen (HOST; 0.0.0.0)")
    parser.add_argument("--port", metavar="N", help="where to listen (PORT; 8000)")
    parser.add_argument(
        "--log-level", choices=LOG_LEVELS, help="least level that is logged (LOG_LEVEL; info)"
    )
    parser.add_argument("--log-format", choices=LOG_FORMATS, help="for people or machines (LOG_FORMAT; text)")
    parser.add_argument(
        "--demo", action="store_true", help="try it without a key, on a stand-in for the Gemini API"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="try every key once, which costs no quota, and tell what is found",
    )
    parser.add_argument("--json", action="store_true", help="with --check: as JSON, for scripts")
    options = parser.parse_args(arguments)
    if options.json and not options.check:
        parser.error("--json is for --check only")
    return options


@contextlib.asynccontextmanager
async def demo_upstream() -> AsyncIterator[Callable[[Settings], Settings]]:
    """A stand-in for the Gemini API, in this very process; what makes settings that use it."""
    keys = demo_keys()
    standin = StandIn(dict(keys.values()), pace=_PACE)
    standin.calls = deque(maxlen=1)  # nobody looks at them here
    names, url = {name: secret for name, (secret, _) in keys.items()}, standin.listen()

    def with_demo_keys(settings: Settings) -> Settings:
        settings = replace(settings, google_keys=names, upstream_url=url)
        log.configure(settings.log_level, settings.log_format, Redactor(settings.secrets))
        return settings

    try:
        yield with_demo_keys
    finally:
        await standin.stop()


async def serve(settings: Settings, load: Callable[[], Settings], file: EnvFile, *, wants_demo: bool) -> int:
    """The program in a single process, until a signal."""
    if not wants_demo:
        await life.run(settings, load, file)
        return 0
    async with demo_upstream() as with_demo_keys:
        settings = with_demo_keys(settings)
        credential = ' -H "x-goog-api-key: $OUTPUT_API_KEY"' if settings.client_keys else ""
        scheme, count = "https" if settings.tls_cert_file else "http", len(settings.google_keys)

        def invite(port: int) -> None:
            sys.stderr.write(_TRY % (count, scheme, port, credential, scheme, port))

        await life.run(settings, lambda: with_demo_keys(load()), file, invite)
    return 0


async def try_keys(settings: Settings, *, wants_demo: bool, as_json: bool) -> int:
    """Tries all keys once; returns 0 if at least one works, else 1."""
    async with contextlib.AsyncExitStack() as stack:
        if wants_demo:
            settings = (await stack.enter_async_context(demo_upstream()))(settings)
        return await check(settings, as_json=as_json, out=sys.stdout, err=sys.stderr)


def _run_loop(work: Coroutine[Any, Any, _T]) -> _T:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(work)


def main(arguments: list[str]) -> int:
    """Runs until a signal; returns the exit status: 0, or 2 for settings that can't be used.

    A check ends with 1 when no key works, and with 130 when it is interrupted.
    """
    flags = vars(parse_flags(arguments))
    wants_demo, wants_check, as_json = (flags.pop(name) for name in ("demo", "check", "json"))
    file, secrets = EnvFile(Path(".env")), dict[str, str]()

    def load() -> Settings:
        nonlocal secrets
        variables = read(
            Path.cwd(), {name.upper(): value for name, value in flags.items() if value is not None}
        )
        settings = parse(without_keys(variables) if wants_demo else variables)
        secrets = with_former(settings.secrets, secrets)
        log.configure(settings.log_level, settings.log_format, Redactor(secrets))
        return settings

    try:
        settings = load()
        if wants_check:
            return _run_loop(try_keys(settings, wants_demo=wants_demo, as_json=as_json))
        # What is there by now stays, and needs no look at every collection; requests leave few cycles.
        gc.freeze()
        gc.set_threshold(10_000)
        if settings.workers == 1:
            return _run_loop(serve(settings, load, file, wants_demo=wants_demo))
        Supervisor(settings, _run_loop, load, file).run()
    except SettingsError as error:
        sys.stderr.write(f"These settings can't be used:\n{error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
