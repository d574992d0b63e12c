"""The benchmark: `python -m tests.bench`. Needs Linux, and nginx for nginx's rows."""
