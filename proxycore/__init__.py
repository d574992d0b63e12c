"""A reverse proxy for the Google Gemini API that spreads requests over many keys."""
