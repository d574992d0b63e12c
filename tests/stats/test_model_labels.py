"""Families of models: few, whatever clients ask for."""

import pytest

from proxycore.stats.model_labels import ModelLabels


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("gemini-2.5-flash", "gemini-2.5-flash"),
        ("gemini-2.5-flash-preview-09-2025", "gemini-2.5-flash"),
        ("gemini-2.5-flash-lite", "gemini-2.5-flash-lite"),
        ("gemini-2.5-flash-live-preview", "gemini-2.5-flash"),
        ("gemini-3-pro-preview", "gemini-3-pro"),
        ("gemini-embedding-001", "gemini-embedding"),
        ("gemini-flash-latest", "gemini-flash"),
        ("gemma-3-27b-it", "gemma-3"),
        ("imagen-4.0-generate-001", "imagen-4.0"),
        ("text-embedding-004", "text-embedding"),
        ("", "none"),
        ("tunedModels/mine", "other"),
        ("geminiofmine", "other"),
        ("gpt-5", "other"),
    ],
)
def test_a_model_goes_by_its_family(model: str, family: str) -> None:
    assert ModelLabels().of(model) == family


def test_invented_models_make_few_families() -> None:
    families = ModelLabels()
    assert families.of("gemini-2.5-flash") == "gemini-2.5-flash"
    made = {
        families.of(f"gemini-{n}.{m}-{kind}") for n in range(99) for m in range(9) for kind in ("pro", "x")
    }
    assert len(made) <= 50
    assert "other" in made
    assert families.of("gemini-2.5-flash") == "gemini-2.5-flash"
