"""Every kind of source from a real server, through the real program: ``python -m bench.live_sources``.

Each row is one task of a running server that finds motion in what it reads. A few tasks run at a time; their media
servers are killed together, stay away for 20 s and come back. Columns:

- opened: from the first try to connect to the first picture;
- from create: from the call of /task/create to the first picture, the start of the engine's process included;
- frames a second that the engine got, and that the source sent; in brackets those left out because the CPU was
  busy;
- back after: from the moment the media server takes connections again to the first new picture; at most 5 s;
- CPU: of the whole process of the engine per frame that it got, its beating and reporting included: receiving,
  decoding, finding motion. A frame that was left out costs less than one that was analysed;
- machine: how busy its CPUs were with everything, other programs too; near 100 % the figures are of the queue for the
  CPU rather than of the source.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.live_kinds import KINDS, NOT_EVERYWHERE, Kind
from streamserver.core.status import ENGINE_FILE, EngineStatus
from tests.e2e.harness import Server, ledger, server, task, wait_for
from tests.servers.clips import Clip, make_clip

AT_ONCE = 5
CPUS = os.cpu_count() or 1
MEASURED_S = 8.0
AWAY_S = 20.0
LIMIT_S = 5.0
PATIENCE_S = 90.0
_TOO_LATE = " (too late)"
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Prints the table; returns 1 when a source was back too late."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decoder", choices=("av", "opencv"), default="av")
    parser.add_argument("--only", default="", help="kinds whose name holds this")
    arguments = parser.parse_args()
    clip = make_clip(size_wh=(640, 360), seconds=10.0)
    names = [name for name in KINDS if arguments.only.lower() in name.lower()]
    print(
        f"decoder {arguments.decoder}, {clip.size_wh[0]}x{clip.size_wh[1]}, a key frame a second, {AT_ONCE} at a time"
    )
    print("| source | opened (from create), s | fps got / sent | back after, s | CPU ms/frame | machine | stream |")
    print("|---|---|---|---|---|---|---|", flush=True)
    late = False
    with tempfile.TemporaryDirectory() as folder, ledger() as receiver:
        environment = {"STREAMSERVER_DECODER": arguments.decoder}
        with server(Path(folder) / "state", environment=environment) as one:
            for start in range(0, len(names), AT_ONCE):
                with ExitStack() as stack:
                    kinds = list(made(stack, names[start : start + AT_ONCE], clip))
                    measure(one, kinds, receiver.url, clip.fps)
                    print("\n".join(kind.row() for kind in kinds), flush=True)
                    late |= any(_TOO_LATE in kind.back for kind in kinds)
            for name, address in NOT_EVERYWHERE.items():
                if arguments.only.lower() in name.lower():
                    print(not_here(one, name, address, receiver.url), flush=True)
    return int(late)


def made(stack: ExitStack, names: Sequence[str], clip: Clip) -> Iterator[Kind]:
    """The kinds with their servers started; says which cannot be, because of what is not installed."""
    for name in names:
        try:
            yield KINDS[name](stack, clip)
        except pytest.skip.Exception as e:
            print(f"| {name} | not here, because: {e} | | | | | |", flush=True)


def measure(one: Server, kinds: Sequence[Kind], report_url: str, sent_fps: int) -> None:
    """Takes some kinds through all phases together and fills in their rows."""
    tasks = [Task(one, kind, report_url) for kind in kinds]
    for each in tasks:
        each.create()
    wait_all(tasks, Task.is_open)
    for each in tasks:
        each.note_opening()
    rates_of(tasks, sent_fps)
    killed = [each for each in tasks if each.kind.camera is not None]
    for each in killed:
        each.kill()
    time.sleep(AWAY_S if killed else 0.0)
    for each in killed:
        each.bring_back()
    wait_all(killed, Task.is_back)
    for each in killed:
        each.note_return()
    for each in tasks:
        one.post("/task/delete", {"TaskID": each.task_id})


def rates_of(tasks: Sequence[Task], sent_fps: int) -> None:
    """Frames a second and CPU over some seconds."""
    before, idle_s = [each.sample() for each in tasks], machine_idle_s()
    time.sleep(MEASURED_S)
    busy = 1.0 - (machine_idle_s() - idle_s) / MEASURED_S / CPUS
    for each, start in zip(tasks, before, strict=True):
        end = each.sample()
        seconds = end.beat_s - start.beat_s
        left_out = end.left_out - start.left_out
        got = max(1, end.frames - start.frames + left_out)
        some = f" ({left_out / seconds:.1f} left out)" if left_out else ""
        each.kind.rates = f"{got / seconds:.1f} / {sent_fps}{some}"
        each.kind.cpu_ms = f"{(end.cpu_s - start.cpu_s) / got * 1000:.1f}"
        each.kind.busy = f"{max(0.0, busy):.0%}"


def machine_idle_s() -> float:
    """Seconds that the CPUs had nothing to do since the machine was started."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return int(fields[4]) / _TICKS_PER_S


@dataclass(frozen=True, slots=True)
class Sample:
    """An engine's counts at one moment.

    Attributes:
        beat_s: the moment, by the monotonic clock.
        frames: analysed so far.
        left_out: frames that were read and not analysed.
        cpu_s: CPU seconds of the process so far.
    """

    beat_s: float
    frames: int
    left_out: int
    cpu_s: float


class Task:
    """One task of the server and what its engine says."""

    def __init__(self, one: Server, kind: Kind, report_url: str) -> None:
        self.kind = kind
        self.task_id = "".join(letter if letter.isalnum() else "-" for letter in kind.name)
        self._server = one
        self._body = task(
            self.task_id,
            kind.address,
            report_url,
            line=(320, 0, 320, 359),
            extend={"Detector": "motion", **kind.extend},
        )
        self._folder = Path()
        self._created_s = self._returned_s = 0.0
        self._connecting_s: float | None = None
        self._status = EngineStatus()

    def create(self) -> None:
        """Creates it, and remembers when."""
        before = self._folders()
        self._created_s = time.time()
        reply = self._server.create(self._body)
        assert reply["Code"] == 0, reply
        wait_for(lambda: self._folders() - before, f"{self.task_id} has a folder", patience_s=PATIENCE_S)
        (self._folder,) = self._folders() - before

    def _folders(self) -> set[Path]:
        return set((self._server.state_dir / "tasks").glob("*"))

    def look(self) -> EngineStatus:
        """Reads what the engine says."""
        self._status = EngineStatus.read(self._folder / ENGINE_FILE) or self._status
        if self._status.source == "connecting":
            self._connecting_s = self._status.source_since
        return self._status

    def is_open(self) -> bool:
        """True once it streams."""
        return self.look().source == "streaming"

    def note_opening(self) -> None:
        """What the first picture took."""
        first_s = self._status.source_since
        took = f"{first_s - self._connecting_s:.2f}" if self._connecting_s else "< 0.5"
        self.kind.opened = f"{took} ({first_s - self._created_s:.1f})"
        self.kind.stream = self._status.stream

    def kill(self) -> None:
        """A power cut at the camera's."""
        assert self.kind.camera is not None
        self.kind.camera.stop()

    def bring_back(self) -> None:
        """The power is back; the moment is when it takes connections."""
        assert self.kind.camera is not None
        self.kind.camera.start()
        self._returned_s = time.time()

    def is_back(self) -> bool:
        """True once it streams again."""
        status = self.look()
        return status.source == "streaming" and status.source_since > self._returned_s - 1.0

    def note_return(self) -> None:
        """What the first new picture took."""
        took_s = max(0.0, self._status.source_since - self._returned_s)
        self.kind.back = f"{took_s:.1f}{'' if took_s <= LIMIT_S else _TOO_LATE}"

    def sample(self) -> Sample:
        """The counts of the next status that the engine writes."""
        beat = self.look().beat
        wait_for(lambda: self.look().beat > beat, f"{self.task_id} beats", patience_s=PATIENCE_S)
        fields = Path(f"/proc/{self._status.pid}/stat").read_text().rpartition(")")[2].split()
        cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
        return Sample(self._status.beat, self._status.frames, self._status.dropped, cpu_s)

    def __str__(self) -> str:
        return f"{self.task_id}: {self._server.query(self.task_id)}"


def wait_all(tasks: Sequence[Task], condition: Callable[[Task], bool]) -> None:
    """Waits until it holds for all."""
    open_ = set(tasks)

    def all_done() -> bool:
        open_.difference_update([each for each in open_ if condition(each)])
        return not open_

    wait_for(all_done, condition.__name__, lambda: [str(each) for each in open_], patience_s=PATIENCE_S)


def not_here(one: Server, name: str, address: str, report_url: str) -> str:
    """The row of a kind that this machine has not got: what the program itself says of it."""
    one.create(task("absent", address, report_url, extend={"Detector": "motion"}))
    wait_for(lambda: one.query("absent").get("Reason"), f"a reason for {name}", patience_s=PATIENCE_S)
    reason = one.query("absent")["Reason"]
    one.post("/task/delete", {"TaskID": "absent"})
    return f"| {name} | not here, because: {reason} | | | | | |"


if __name__ == "__main__":
    sys.exit(main())
