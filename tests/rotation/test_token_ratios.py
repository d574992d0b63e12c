"""The tokens of a prompt are estimated from its size, by what responses have told of the model before."""

import pytest

from proxycore.gemini.prompt_size import PromptSize
from proxycore.rotation.token_ratios import TokenRatios

FLASH, PRO = "gemini-2.5-flash", "gemini-2.5-pro"


def test_a_model_that_is_new_has_a_token_for_four_bytes() -> None:
    assert TokenRatios().estimate(FLASH, PromptSize(4000, 0)) == 1000
    assert TokenRatios().estimate(FLASH, PromptSize(0, 0)) == 1


def test_the_ratio_is_learned_for_each_model() -> None:
    ratios = TokenRatios()
    for size in range(1000, 51_000, 1000):
        ratios.learn(FLASH, PromptSize(size, 0), size // 2)  # Chinese, say
    assert ratios.estimate(FLASH, PromptSize(10_000, 0)) == pytest.approx(5000, rel=0.02)
    assert ratios.estimate(PRO, PromptSize(10_000, 0)) == 2500


def test_media_have_a_ratio_of_their_own() -> None:
    ratios = TokenRatios()
    for _ in range(50):
        ratios.learn(FLASH, PromptSize(400, 1_000_000), 100 + 258)
    assert ratios.estimate(FLASH, PromptSize(400, 1_000_000)) == pytest.approx(358, rel=0.05)
    assert ratios.estimate(FLASH, PromptSize(4000, 0)) == 1000


@pytest.mark.parametrize("tokens", [0, 1_000_000])
def test_a_prompt_whose_context_is_elsewhere_teaches_nothing(tokens: int) -> None:
    ratios = TokenRatios()
    ratios.learn(FLASH, PromptSize(400, 0), tokens)
    assert ratios.estimate(FLASH, PromptSize(4000, 0)) == 1000


def test_of_models_without_end_the_latest_are_remembered() -> None:
    ratios = TokenRatios()
    for number in range(1000):
        ratios.learn(f"model-{number}", PromptSize(1000, 0), 900)
    assert len(vars(ratios)["_models"]) == 256
