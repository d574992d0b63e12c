"""The program: its settings, what it is made of, and its processes.

`command_line` reads the flags, `launcher` the settings; `process` is the life of one process, from the first
bind to the last connection; with WORKERS, `supervisor` starts several and replaces those that crash.
`wiring` makes the parts from settings, and is the only place that knows all of them. Settings come from
`settings_source` at the start and at every reload, and fail closed.
"""

__all__ = [
    "app",
    "command_line",
    "healthcheck",
    "process",
    "settings",
    "supervisor",
]
