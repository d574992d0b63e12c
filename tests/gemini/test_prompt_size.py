"""The size of a prompt: its text and its inline media, in every API."""

import base64
import json
import time

import pytest

from proxycore.gemini.prompt_size import prompt_size

IMAGE = base64.b64encode(b"pixels" * 5000).decode()
BODIES = {
    "native": {
        "contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": IMAGE}}, {"text": "?"}]}]
    },
    "OpenAI": {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}}],
            }
        ]
    },
    "OpenAI audio": {"messages": [{"content": [{"type": "input_audio", "input_audio": {"data": IMAGE}}]}]},
    "interactions": {"input": [{"type": "image", "data": IMAGE, "mime_type": "image/png"}]},
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("indent", [None, 2])
def test_media_are_told_from_text(name: str, indent: int | None) -> None:
    body = json.dumps(BODIES[name], indent=indent).encode()
    size = prompt_size(body)
    assert size.text + size.media == len(body)
    assert len(IMAGE) <= size.media <= len(IMAGE) + 30
    assert size.text < 1000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"contents":[{"parts":[{"text":"the \\"data\\" of a \\"data:\\" URL"}]}]}',
        b'"data":"short"',
        b'"data',
        b"\xff" * 99,
    ],
)
def test_what_has_no_media_is_text(body: bytes) -> None:
    assert prompt_size(body) == (len(body), 0)


def test_several_are_added_up_and_one_without_an_end_counts_to_the_end() -> None:
    assert prompt_size(b'{"data":"' + b"a" * 1000 + b'","data": "' + b"b" * 2000).media == 3000


def test_a_body_that_is_full_of_beginnings_takes_no_longer_than_one_that_is_not() -> None:
    began = time.process_time()
    assert prompt_size(b'"data' * 4_000_000).media == 0
    assert time.process_time() - began < 1.0
