"""``python -m streamserver.supervise``: the supervisor as a process of its own."""

from __future__ import annotations

import faulthandler
import signal
import sys
import threading

from streamserver.core import exitcodes, logs, settings
from streamserver.core.errors import StateLostError, StoreDamagedError, StreamServerError
from streamserver.core.processes import adopt_orphans, die_with_starter
from streamserver.store import TaskStore, store_url
from streamserver.supervise import folders, lock
from streamserver.supervise.supervisor import Supervisor


def main() -> int:
    """Runs until SIGTERM or SIGINT; returns the exit code."""
    die_with_starter()
    faulthandler.enable()  # the guard sends SIGABRT to a supervisor that has hung
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        return _supervise(settings.load(), stop)
    except (StateLostError, StoreDamagedError) as e:
        print(f"supervisor: {e}", file=sys.stderr)
        return exitcodes.STATE_LOST
    except StreamServerError as e:
        print(f"supervisor: {e}", file=sys.stderr)
        return exitcodes.USAGE


def _supervise(chosen: settings.Settings, stop: threading.Event) -> int:
    file = lock.lock_file(chosen.state_path)
    held = lock.acquire(file)
    if held is None:
        print(f"supervisor: process {lock.holder(file)} already supervises {chosen.state_path}", file=sys.stderr)
        return exitcodes.USAGE
    with held:
        try:
            _work(chosen, held, stop)
        except (StreamServerError, OSError):
            held.beat()  # raises StateLostError where the folder is gone, which is the cause then
            raise
    return exitcodes.FINISHED


def _work(chosen: settings.Settings, held: lock.SupervisorLock, stop: threading.Event) -> None:
    logs.configure_file(chosen, chosen.state_path, "supervisor", console=True)
    folders.tighten(chosen.state_path)
    store = TaskStore(store_url(chosen.state_path))
    try:
        Supervisor(chosen, store, beat=held.beat, bury=adopt_orphans()).run(stop)
    finally:
        store.close()


if __name__ == "__main__":
    raise SystemExit(main())
