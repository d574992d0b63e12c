"""What users read, in English and in Chinese, has none of the private words that it once had."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from proxycore.demo import Health
from proxycore.rotation.bench import Bench, BenchPlace
from tests.support.browser import needs_chromium, visit
from tests.support.process import ROOT, Program, program
from tests.support.status_page import ADMIN, enter, generate, pool
from tests.support.wire import Got, ask

FORMER = re.compile(
    r"stand-in|\bthe hall\b|\brests?\b|\bresting\b|\bunder way\b|\bnobody\b|\bsilence\b|\bsaid nothing\b"
    r"|\bspent\b|\btrouble\b|\bby hand\b|\bis gone\b|\bstay as they were\b|\bwas tried\b|\bnot taken\b"
    r"|\bgo(ne|es)? by\b|\bmistakes?\b|\bformer\b|\bcalls an answer\b"
    r"|回答|应答|休息|退役|替身|主人|沉默|所知",
    re.IGNORECASE,
)
MEMBER = re.compile(r'"\w+": ')  # the name of a member of a JSON object, which programs read
# Latin letters and digits next to Chinese characters, and half-width punctuation after them.
CARELESS = re.compile(r"[\u4e00-\u9fff][A-Za-z0-9,;:!?()]|[A-Za-z0-9,;:!?()][\u4e00-\u9fff]")
GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
HOME = ("Host", "localhost")
TEXTS = """() => {
  const elements = [...document.querySelectorAll("[title], [aria-label], [placeholder]")];
  const names = elements.flatMap((one) => [one.title, one.ariaLabel, one.placeholder]);
  return [document.body.innerText, ...names].join("\\n");
}"""


def former(text: str) -> list[str]:
    """The former words in a text, each with what is around it."""
    return [text[max(0, found.start() - 40) : found.end() + 40] for found in FORMER.finditer(text)]


def printed(*flags: str, folder: Path) -> str:
    """What `server.py` prints with these flags."""
    command = [sys.executable, str(ROOT / "server.py"), *flags]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    return f"{done.stdout}{done.stderr}"


async def requests(demo: Program) -> list[Got]:
    """Responses of a demo: generated ones, its own pages, and errors."""
    body = b'{"contents": [{"parts": [{"text": "hi"}]}]}'
    own = [await ask(demo.port, "GET", path, HOME) for path in ("/metrics", "/status.json", "/nowhere")]
    return [await ask(demo.port, "POST", GENERATE, body=body) for _ in range(20)] + own


async def test_a_demo_prints_logs_and_responds_without_the_former_words(tmp_path: Path) -> None:
    with program("--demo", folder=tmp_path) as demo:
        responses = await requests(demo)
        demo.process.terminate()
        demo.exit_status()
        assert former(demo.log) == []
    assert "benched" in demo.log
    read = [MEMBER.sub("", response.body.decode()) for response in responses]
    assert [former(text) for text in read] == [[]] * len(responses)
    assert b"# HELP gemini_proxy_" in responses[20].body


@pytest.mark.parametrize(
    ("flags", "has"),
    [
        (("--help",), "--check"),
        (("--check", "--demo"), "What to do"),
        (("--port", "none"), "Invalid configuration"),
    ],
)
def test_flags_print_nothing_with_the_former_words(flags: tuple[str, ...], has: str, tmp_path: Path) -> None:
    text = printed(*flags, folder=tmp_path)
    assert has in text
    assert former(text) == []


async def seen(page: Page) -> str:
    """What the page shows and names in all views, with the sheet of a key and a dialog."""
    texts = [await page.evaluate(TEXTS)]
    await enter(page, ADMIN)
    for view in ("overview", "requests", "clients", "history", "keys/dead"):
        await page.evaluate("view => { location.hash = view; }", f"#/{view}")
        await expect(page.locator(f"#{view.split('/')[0]}")).to_be_visible()
        texts.append(await page.evaluate(TEXTS))
    await page.get_by_role("button", name=re.compile("Bench…|冷却…")).click()
    await expect(page.get_by_role("dialog")).to_be_visible()
    texts.append(await page.evaluate(TEXTS))
    return "\n".join(texts)


@needs_chromium
@pytest.mark.visits
@pytest.mark.usefixtures("io_loop")
@pytest.mark.parametrize(("locale", "has"), [("en-GB", "retired"), ("zh-CN", "已失效")])
async def test_the_page_shows_none_of_the_former_words(locale: str, has: str) -> None:
    async with pool({"dead": Health.healthy(), "spare": Health.healthy()}) as (here, _):
        bench = Bench("suspended or leaked", time.time() + 600)
        here.app.rotator.set_bench(here.app.rotator.keys[0], BenchPlace.RETIRED, bench)
        await generate(here, 3)
        async with visit(f"{here.url}/", locale=locale) as there:
            text = await seen(there.page)
    assert has in text
    assert former(text) == []
    # The browser itself writes times that have passed, like "2秒前".
    assert CARELESS.findall(re.sub(r"\d+(秒|分钟|小时)前", "", text)) == []
