"""Refusals of what a project's tier does not include, though another project's may.

The sentences are those that public reports quote, without details; each is named here as
owner/repository#issue where it is known.
"""

from __future__ import annotations

from proxycore.demo.asked import BATCHES, CACHING, GROUNDING, Asked
from proxycore.demo.quotas import HELP, PLAN
from proxycore.demo.refusal import Refusal

BILLED_IMAGES = Refusal(  # ammaarreshi/openjourney#1
    400, "Imagen API is only accessible to billed users at this time."
)
NO_BILLING_HERE = Refusal(
    400,
    "User location is not supported for the API use without a billing account linked.",
    status="FAILED_PRECONDITION",
)
NO_FREE_TIER_HERE = Refusal(
    400,
    "Gemini API free tier is not available in your country. Please enable billing on your project in Google"
    " AI Studio.",
    status="FAILED_PRECONDITION",
)
NOT_FOUND = Refusal(
    404,
    "models/$model is not found for API version $version, or is not supported for $method. Call ListModels to"
    " see the list of available models and their supported methods.",
)
NO_NEW_USERS = Refusal(
    404,
    "This model models/$model is no longer available to new users. Please update your code to use a newer"
    " model for the latest features and improvements.",
)
NO_SEARCH = Refusal(429, PLAN, (HELP,))  # hihumanzone/Gemini-Discord-Bot#48
NO_BATCHES = Refusal(429, PLAN, (HELP,))
NO_CACHING = Refusal(
    429,
    "TotalCachedContentStorageTokensPerModelFreeTier limit exceeded for model $model: limit=0,"
    " requested=10158",
)


def asks_a_model(asked: Asked) -> bool:
    """Return whether a request is for a model, even if it costs nothing."""
    return bool(asked.model)


def searches(asked: Asked) -> bool:
    """Return whether a request offers a tool that searches."""
    return bool(asked.tools & GROUNDING)


def batches(asked: Asked) -> bool:
    """Return whether a request begins a batch."""
    return asked.method in BATCHES


def caches(asked: Asked) -> bool:
    """Return whether a request caches content."""
    return asked.method == CACHING


def draws(asked: Asked) -> bool:
    """Return whether a request asks for an image of an Imagen model."""
    return asked.method == "predict" and asked.model.startswith("imagen-")


def films(asked: Asked) -> bool:
    """Return whether a request asks for a video."""
    return asked.method == "predictLongRunning"
