"""What the tests' nursery forks: does what its command line says, forked or as a program of its own."""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

if os.environ.get("ACTOR_THREAD"):
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code."""
    what, *rest = arguments
    if what == "look":
        print(json.dumps(_surroundings(arguments)))
    elif what == "raise":
        raise ValueError("on purpose")
    elif what == "leave":
        atexit.register(print, "at exit")
        sys.exit("a last word")
    elif what == "count":
        dice = sys.modules.get("numpy.random", random)
        with Path(rest[0]).open("a") as file:
            file.write(f"{os.getpid()} {os.getppid()} {dice.random()}\n")
        time.sleep(float(rest[1]))
    elif what == "return":
        return int(rest[0])
    return 0


def _surroundings(arguments: Sequence[str]) -> dict[str, object]:
    """What a program can find out about how it was started."""
    death = ctypes.c_int()
    ctypes.CDLL(None).prctl(2, ctypes.byref(death))
    return {
        "arguments": list(arguments),
        "command line": Path("/proc/self/cmdline").read_bytes().rstrip(b"\0").decode().split("\0"),
        "environment": sorted(Path("/proc/self/environ").read_text().split("\0")),
        "folder": os.getcwd(),
        "parent": os.getppid(),
        "leads": os.getsid(0) == os.getpgid(0) == os.getpid(),
        "input": sys.stdin.read(),
        "descriptors": [os.path.basename(os.readlink(f"/proc/self/fd/{n}")) for n in (0, 1, 2)],
        "count": len(os.listdir("/proc/self/fd")),
        "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "handlers": [str(signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE)],
        "threads": threading.active_count(),
        "dies with its parent": death.value == signal.SIGKILL,
    }


if __name__ == "__main__":
    from streamserver.core.processes import die_with_starter

    die_with_starter()
    sys.exit(main(sys.argv[1:]))
