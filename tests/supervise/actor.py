"""A small real process that stands in for an engine or a client: ``actor.py ROLE RUN BEHAVIOUR``."""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from streamserver.core.processes import die_with_starter
from streamserver.core.status import CLIENT_FILE, ENGINE_FILE, ClientStatus, EngineStatus

BEAT_S = 0.1


def pending() -> int:
    return int(Path("outbox.sqlite").exists() and not Path("deliver").exists())


class Actor:
    def __init__(self, role: str, run: str) -> None:
        self.is_client = role == "client"
        self.file = Path(CLIENT_FILE if self.is_client else ENGINE_FILE)
        self.status = (ClientStatus if self.is_client else EngineStatus)(run=run, pid=os.getpid())
        self.draining = False
        self.told_to_end = False

    def beat(self) -> None:
        if isinstance(self.status, ClientStatus):
            self.status.pending = pending()
            self.status.dead = int(Path("dead").exists())
        self.status.write(self.file)

    def listen(self) -> None:
        if self.is_client:
            signal.signal(signal.SIGTERM, lambda *_: setattr(self, "told_to_end", True))
            signal.signal(signal.SIGUSR1, lambda *_: setattr(self, "draining", True))

    def work(self, seconds: float = 1e9) -> int:
        self.status.ready = True
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.told_to_end and not (self.draining and not pending()):
            self.beat()
            time.sleep(BEAT_S)
        self.beat()
        return 0

    def wait_for_client(self) -> None:
        """An engine without a client has frames that wait, so it does not end before the client was ready."""
        end = time.monotonic() + 600.0
        while time.monotonic() < end and not ((client := ClientStatus.read(Path(CLIENT_FILE))) and client.ready):
            self.beat()
            time.sleep(BEAT_S)

    def play(self, behaviour: str) -> int:
        name, _, rest = behaviour.partition(":")
        if name == "exit":
            exit_code, _, self.status.error = rest.partition(":")
            self.beat()
            return int(exit_code)
        if name == "swell":  # holds so many megabytes
            held = b"x" * (1_000_000 * int(rest))
            code = self.work()
            del held
            return code
        if name == "swell_child":
            program = f"import os, time; held = b'x' * (1_000_000 * {rest}); time.sleep(1e9)"
            with subprocess.Popen([sys.executable, "-c", program]):
                self.work()
        if name == "raise":  # an alarm that nobody has taken yet
            Path("outbox.sqlite").touch()
        if name == "finish":
            self.wait_for_client()
            return self.work(0.3)
        if name == "pause":  # gives no sign of life until there is a file "go"
            self.work(0.2)
            while not Path("go").exists():
                time.sleep(BEAT_S)
        if name == "hang":
            self.work(0.2)
            time.sleep(1e9)
        if name == "unready":
            while not Path(rest or "never").exists():
                self.beat()
                time.sleep(BEAT_S)
        if name == "stubborn":
            for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGABRT):
                signal.signal(number, signal.SIG_IGN)
            self.work(0.2)
            time.sleep(1e9)
        if name == "parent":
            with subprocess.Popen(["sleep", "1000"]) as child:
                Path("grandchild").write_text(str(child.pid))
                self.work()
        if name == "mute":
            time.sleep(1e9)
        return self.work()


def main() -> int:
    faulthandler.enable()
    die_with_starter()
    role, run, behaviour = sys.argv[1:4]
    with Path("starts").open("a") as file:
        file.write(f"{role} {behaviour}\n")
    actor = Actor(role, run)
    actor.listen()
    return actor.play(behaviour)


if __name__ == "__main__":
    sys.exit(main())
