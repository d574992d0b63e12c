"""From flags to a running program: reads the settings, configures the log, and runs one of three commands.

A single process serves, several under a supervisor serve, or every key is checked once.
"""

import argparse
import asyncio
import contextlib
import gc
import os
import sys
from collections.abc import Coroutine
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TypeVar

from proxycore.runtime import process
from proxycore.runtime.demo_mode import demo_upstream
from proxycore.runtime.key_check_report import check
from proxycore.runtime.settings import Settings, SettingsError
from proxycore.runtime.settings_source import SettingsSource
from proxycore.runtime.supervisor import Supervisor

try:
    import uvloop
except ImportError:  # there is none for Windows
    new_event_loop = asyncio.new_event_loop
else:
    new_event_loop = uvloop.new_event_loop

_T = TypeVar("_T")


def launch(options: argparse.Namespace) -> int:
    """Run until a signal, or until the keys are checked; returns the exit status, see `command_line`."""
    flags = {"HOST": options.host, "PORT": options.port}
    flags |= {"LOG_LEVEL": options.log_level, "LOG_FORMAT": options.log_format}
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        source = SettingsSource(Path.cwd(), given, is_demo=options.demo)
        settings = source.settings
        process.configure_log(settings)
        if options.check:
            return _check(settings, wants_demo=options.demo, as_json=options.json)
        # Objects that exist by now stay, so collections need not visit them; requests leave few cycles.
        gc.freeze()
        gc.set_threshold(10_000)
        if settings.workers == 1:
            _run_loop(_serve(source, wants_demo=options.demo))
        else:
            Supervisor(source, _run_loop).run()
    except SettingsError as error:
        sys.stderr.write(f"Invalid configuration:\n{error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


async def _serve(source: SettingsSource, *, wants_demo: bool) -> None:
    if not wants_demo:
        await process.run(source)
        return
    async with demo_upstream() as demo:
        await process.run(source, demo.settings, partial(demo.invite, demo.settings(source.settings)))


def _check(settings: Settings, *, wants_demo: bool, as_json: bool) -> int:
    try:
        return _run_loop(_check_keys(settings, wants_demo=wants_demo, as_json=as_json))
    except BrokenPipeError:  # the reader has closed it, like `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python reports an error at exit
        return 1


async def _check_keys(settings: Settings, *, wants_demo: bool, as_json: bool) -> int:
    async with contextlib.AsyncExitStack() as stack:
        if wants_demo:
            settings = (await stack.enter_async_context(demo_upstream())).settings(settings)
            process.configure_log(settings)
        if isinstance(sys.stdout, TextIOWrapper):  # its encoding may lack characters of names
            sys.stdout.reconfigure(errors="backslashreplace")
        return await check(settings, as_json=as_json, out=sys.stdout, err=sys.stderr)


def _run_loop(work: Coroutine[Any, Any, _T]) -> _T:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(work)
