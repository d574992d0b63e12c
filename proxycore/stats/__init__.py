"""Counts, histories, Prometheus' metrics, and the log of key events.

`meter` counts what happens in this process, `figures` add the counts of all processes, `prometheus` presents
them, and `key_log` writes a line for each bench, retirement and recovery.
"""

__all__ = [
    "counters",
    "figures",
    "history",
    "key_log",
    "meter",
    "prometheus",
]
