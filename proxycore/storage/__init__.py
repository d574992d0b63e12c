"""What outlives a restart: facts about the keys, usage, the request log and events, in one SQLite file.

`storage` takes rows (`rows`) from the event loop without waiting, and writes them in batches, once a second,
in a thread of its own; queries run there too, and come from this process or another one (`records`).
`state_file` opens the file, and says what is wrong with one that can't be used: the program then goes on
without it, and tries again. `facts`, `usage`, `slots`, `request_log` and `event_log` each have a part of the
file, `words` has each text that they repeat once, and `retention` deletes what is old. `schema` is the file's
layout.

The file holds what `rows` names and nothing else: no prompt, no answer, no secret.
"""

__all__ = [
    "records",
    "rows",
    "storage",
]
