"""Gemini CLI without a terminal, unchanged but for address and key."""

import json
from pathlib import Path

import pytest

from proxycore.demo import Health
from proxycore.demo.model import PROSE
from tests.clients.common import CLIENT_KEY, JAVASCRIPT, MODEL, NODE, POOL, PROMPT, pool, run

pytestmark = pytest.mark.usefixtures("io_loop", "npm_packages")

GEMINI = JAVASCRIPT / "node_modules" / "@google" / "gemini-cli" / "bundle" / "gemini.js"
SETTINGS = {
    "security": {"auth": {"selectedType": "gemini-api-key"}},  # a base URL alone makes it another, refused
    "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False},
    "privacy": {"usageStatisticsEnabled": False},
}
DEAD = {key: POOL[key] for key in ("AQ.expired", "AQ.day-spent", "AQ.suspended", "AQ.invalid", "AQ.disabled")}


async def test_gemini_cli_prints_the_answer(tmp_path: Path) -> None:
    (tmp_path / ".gemini").mkdir()
    (tmp_path / ".gemini" / "settings.json").write_text(json.dumps(SETTINGS))
    # It is slow to start, so there are few calls: of these keys, each fails the first time that it is asked.
    keys = DEAD | {"AQ.waking": Health.in_turn(Health.overloaded(), Health.healthy())}
    async with pool(keys) as here:
        environment = {
            "HOME": str(tmp_path),
            "GOOGLE_GEMINI_BASE_URL": here.url,
            "GEMINI_API_KEY": CLIENT_KEY,
            "GEMINI_CLI_TRUST_WORKSPACE": "true",  # it asks, and there is nobody to answer
            "GEMINI_CLI_NO_RELAUNCH": "true",  # it starts itself again, for more memory
        }
        for _ in range(2):
            said = await run(NODE, GEMINI, "-m", MODEL, "-p", PROMPT, **environment)
            assert said.strip().endswith(PROSE.strip())
        answered = [call for call in here.mock.calls if call.status == 200]
        assert len(answered) == 2
        assert all(PROMPT.encode() in call.body for call in answered)
