"""The troubleshooting tables quote what the program says: each quotation, provoked."""

import re
import socket
import subprocess
import sys
from pathlib import Path

from tests.support.documents import OPERATIONS, README, text_of
from tests.support.process import ROOT, program
from tests.support.wire import RawUpstream, Seen, ask

MODEL = "/v1beta/models/gemini-2.5-flash:generateContent"
CLIENT = ("x-goog-api-key", "the-key-of-all-clients")
KEYS = {"GOOGLE_API_KEY_1": "the-first-upstream-key", "OUTPUT_API_KEY": CLIENT[1]}
# What belongs to Google, or is provoked by other tests: a region (test_cases_request.py), keys that are all
# in cooldown or disabled (test_cases_shown.py), resources of two keys (relay/test_owned.py), a gateway
# (test_cases_gateway.py), a timeout (transport), few open files (test_bounds.py), wrong keys (http).
ELSEWHERE = {
    "User location is not supported",
    "No Gemini API key is available for …",
    "All … are disabled",
    "These resources belong to different Gemini projects …",
    "not a Google response",
    "The upstream timed out: no data for 300 seconds.",
    "only … open files are allowed",
    "Too many requests without a valid key …",
}


def quoted() -> set[str]:
    """The quotations in the first column of the tables; with a status, if one stands before it."""
    sections = (text_of(page).partition("\n## Troubleshooting\n")[2] for page in (README, OPERATIONS))
    rows = "\n".join(re.findall(r"^\| (.*?) \|", "\n".join(sections), re.MULTILINE))
    return set(re.findall(r'"([^"]+)"', rows)) | set(re.findall(r"`([^`\n]+ [^`\n]+)`", rows))


def ended(folder: Path, **variables: str) -> str:
    """What the program writes when its settings are refused."""
    told = subprocess.run(
        [sys.executable, ROOT / "server.py"],
        cwd=folder,
        env={"HOST": "127.0.0.1", "PORT": "0", **KEYS, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert told.returncode
    return told.stderr


async def test_what_the_tables_quote_is_what_the_program_says(tmp_path: Path) -> None:
    async def garbage(_: Seen, writer: object) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")  # type: ignore[attr-defined] # a StreamWriter

    said = ended(tmp_path, OUTPUT_API_KEY="choose-a-long-random-secret")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said += ended(tmp_path, PORT=str(port)).replace(str(port), "8000")
    closed = f"http://127.0.0.1:{port}"
    with program(folder=tmp_path, environment=KEYS | {"UPSTREAM_URL": closed, "MAX_WAIT": "0"}) as running:
        for target, *fields in (
            (MODEL,),
            ("/other",),
            (MODEL, CLIENT),
            ("/status.json", (*CLIENT[:1], "no")),
        ):
            said += (await ask(running.port, "GET", target, *fields)).body.decode()
    async with RawUpstream(garbage) as upstream:
        settings = {"UPSTREAM_URL": upstream.url, "MAX_WAIT": "0", "REDIS_URL": f"redis://127.0.0.1:{port}"}
        settings["STATE_FILE"] = "state.db"
        (tmp_path / "state.db").mkdir()
        with program(folder=tmp_path, environment=KEYS | settings) as running:
            said += (await ask(running.port, "GET", MODEL, CLIENT)).body.decode()
            running.wait_for(re.compile("REDIS_URL"))
            said += running.log
    only_client = {"OUTPUT_API_KEY": CLIENT[1]}
    with program(folder=tmp_path, environment=only_client) as running:
        said += (await ask(running.port, "GET", MODEL, CLIENT)).body.decode()
    here = [one for one in quoted() - ELSEWHERE if "outage" not in one]
    assert [one for one in here if one.strip("… ").removesuffix(": …") not in said] == []
    assert len(here) >= 8
