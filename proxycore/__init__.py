"""A reverse proxy for the Google Gemini API that spreads requests over many keys."""

__version__ = "0.1.0"
"""The only place that has it: the package's metadata and everything that tells it read it here."""
