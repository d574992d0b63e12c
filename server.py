"""The Gemini key proxy: `python server.py`, or `python server.py --demo` without any key.

What is here runs on any Python, so that an old one is told what to do. The program is in `proxycore`.
"""

import sys

if sys.version_info < (3, 11):
    sys.stderr.write(
        "The Gemini key proxy needs Python 3.11 or newer, and this is Python %d.%d.%d (%s).\n"
        "Run it with a newer one: python3.11 -m venv .venv && .venv/bin/pip install -r requirements.txt"
        " && .venv/bin/python server.py\n" % (sys.version_info[:3] + (sys.executable,))
    )
    sys.exit(2)

from proxycore.runtime.command_line import main

if __name__ == "__main__":
    sys.exit(main())
