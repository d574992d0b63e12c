"""For scripts that are a client's process: a line of JSON for each case, as `outcomes` reads them."""

import json
import os
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

PROXY_URL = os.environ["PROXY_URL"]
CLIENT_KEY = os.environ["CLIENT_KEY"]
MODEL = os.environ["MODEL"]
EMBEDDER = os.environ["EMBEDDER"]
PROMPT = os.environ["PROMPT"]
TIMES = 6  # keys fail at random, so one call shows little


def run(*cases: Callable[[], None]) -> None:
    """Runs these at once, each many times, so that requests of every kind meet the failing keys together."""

    def outcome_of(case: Callable[[], None]) -> str:
        try:
            for _ in range(TIMES):
                case()
        except Exception:  # noqa: BLE001 - the test is who minds
            return traceback.format_exc()
        return "right"

    with ThreadPoolExecutor(len(cases)) as threads:
        for case, outcome in zip(cases, threads.map(outcome_of, cases), strict=True):
            sys.stdout.write(json.dumps({"case": case.__name__, "outcome": outcome}) + "\n")
