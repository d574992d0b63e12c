"""How large the head of a request may be: its request line and header fields. Pure."""

LARGEST_HEAD = 64 * 1024
"""Bytes of the request line and the header fields together."""

MOST_FIELDS = 100
"""Header fields that a request may have."""

LONGEST_TARGET = 16 * 1024
"""Bytes of a request's target."""

TOO_LARGE = f"The request line and header fields are larger than {LARGEST_HEAD // 1024} kB."
TOO_MANY = f"The request has more than {MOST_FIELDS} header fields."
TOO_LONG = f"The request target is longer than {LONGEST_TARGET // 1024} kB."
