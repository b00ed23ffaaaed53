"""The business process of one task: takes an engine's frames, raises alarms and reports them.

``python client.py --config=client.json`` is how the supervisor starts it; the other options are those of the old
server's client.py, for use by hand. By hand, alarms wait in ``<state_dir>/clients/<port>-<hash of the TaskID>.sqlite``
and the log goes to stderr.
"""

from __future__ import annotations

import sys

from streamserver.core import interpreter

if __name__ == "__main__":
    interpreter.with_packages()  # before the first import that needs one of them

from streamserver.business.process import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
