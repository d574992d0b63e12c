"""How many tokens a prompt has, estimated from its size by ratios that are learned for each model. Pure."""

from collections import OrderedDict
from dataclasses import dataclass

from proxycore.gemini.prompt_size import PromptSize

_MOST_MODELS = 256
_WEIGHT = 0.1  # of one response in the ratios
_OF_MEDIA = 0.5  # of a prompt's tokens: with more, it tells the ratio of media
_LARGEST = 4.0  # tokens of a byte; a prompt with more tells nothing of its size: its context was cached


@dataclass(slots=True)
class _Ratios:
    """Tokens of a byte. English has about four characters a token (ai.google.dev/gemini-api/docs/tokens)."""

    text: float = 0.25
    media: float = 0.001


class TokenRatios:
    """The ratios of the models that were used last."""

    def __init__(self) -> None:
        self._models: OrderedDict[str, _Ratios] = OrderedDict()

    def estimate(self, model: str, size: PromptSize) -> int:
        """Return about how many tokens a prompt of this size has, at least 1."""
        ratios = self._models.get(model) or _Ratios()
        return max(1, round(size.text * ratios.text + size.media * ratios.media))

    def learn(self, model: str, size: PromptSize, tokens: int) -> None:
        """Learn from a response how many tokens a prompt of this size had."""
        ratios = self._models.get(model)
        if ratios is None:
            ratios = self._models[model] = _Ratios()
            if len(self._models) > _MOST_MODELS:
                self._models.popitem(last=False)
        if size.media == 0:
            if 0 < tokens <= size.text * _LARGEST:
                ratios.text += (tokens / size.text - ratios.text) * _WEIGHT
            return
        of_media = tokens - size.text * ratios.text
        if tokens * _OF_MEDIA < of_media <= size.media * _LARGEST:
            ratios.media += (of_media / size.media - ratios.media) * _WEIGHT
