"""Python clients that need a process of their own: for their warnings, or for conflicting dependencies."""

import sys
from pathlib import Path

import pytest

from tests.clients.common import SPREAD, all_right, outcomes, pool

pytestmark = pytest.mark.usefixtures("io_loop")


async def test_googles_legacy_sdk_works() -> None:
    async with pool() as here:
        said = await outcomes(here, sys.executable, "-m", "tests.clients.generativeai_cases")
        assert said == all_right("generate", "stream", "chat", "count", "embed", "models", "unknown_model")


async def test_googles_legacy_sdk_finds_its_resources_again() -> None:
    async with pool(SPREAD) as here:
        said = await outcomes(here, sys.executable, "-m", "tests.clients.generativeai_resources")
        assert said == all_right("files", "caches")


async def test_langchain_works(langchain_python: Path) -> None:
    async with pool() as here:
        said = await outcomes(here, langchain_python, "-m", "tests.clients.langchain_cases")
        assert said == all_right("invoke", "stream", "embed", "unknown_model")


async def test_langchain_finds_its_resources_again(langchain_python: Path) -> None:
    async with pool(SPREAD) as here:
        said = await outcomes(here, langchain_python, "-m", "tests.clients.langchain_resources")
        assert said == all_right("files", "caches")
