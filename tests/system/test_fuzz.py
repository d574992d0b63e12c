"""Mutated requests and responses: the program neither fails nor misreads any.

`python -m tests.bench.fuzz` does the same for hours.
"""

from pathlib import Path

import pytest

from tests.support.fuzz import Fuzzer, requests, responses
from tests.support.raw_socket import Recorder, running

pytestmark = [pytest.mark.usefixtures("io_loop"), pytest.mark.timeout(seconds=120)]

COUNT = 600
SEED = 15


async def test_a_mutated_request_reaches_the_upstream_as_it_reads_or_not_at_all(tmp_path: Path) -> None:
    async with Recorder() as upstream, running(tmp_path, upstream.url) as here:
        wrong = await Fuzzer(upstream, here.port).requests(requests(SEED, COUNT))
    assert not wrong, "\n".join(wrong)


async def test_a_mutated_response_reaches_the_client_as_it_reads_or_as_an_error(tmp_path: Path) -> None:
    async with Recorder() as upstream, running(tmp_path, upstream.url) as here:
        wrong = await Fuzzer(upstream, here.port).responses(responses(SEED, COUNT))
    assert not wrong, "\n".join(wrong)
