"""Counts, histories, Prometheus' metrics, the log of key events, and alerts.

`meter` counts what happens in this process, `figures` add the counts of all processes, `prometheus` presents
them, and `key_log` writes a line for each bench, retirement and recovery. `alert_rules` finds what the
operator is alerted of, and `alert_digest` decides when. `limits` counts what each client uses, and admits its
requests by that.
"""

__all__ = [
    "alert",
    "alert_rules",
    "counters",
    "figures",
    "history",
    "key_log",
    "limits",
    "meter",
    "prometheus",
]
