"""``python -m streamserver``: the command line for people (docs/operations.md)."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036 - this is what tells people that theirs is older
        sys.exit("error: Python 3.11 or newer is needed; run ./start_server.sh with a newer python3 in PATH")
    from streamserver.cli.program import main

    sys.exit(main())
