"""Power is lost: whatever was not fsynced is gone, all of it or any part, block by block, as disks do.

Four of five rounds are those of a lone client, which the harness feeds with frames from two threads and kills in the
middle; the state it left is the next round's. In the fifth the whole server loses power over creates, deletes and
alarms. Every other round loses all that can be lost; the others keep what the seed says.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.context import Context, Outcome, judged
from tests.chaos.feeder import Feeder, dead_camera_task, frame_of, wait_client
from tests.chaos.forgetful_disk import ForgetfulDisk, kill_all, missing_tools
from tests.chaos.lone_client import LoneClient
from tests.chaos.world import Mode, Receivers
from tests.e2e.harness import Server

FAULT = "unsynced writes dropped (a shim that keeps writes in memory until fsync, then kill) 100 times"
PASS = "0 accepted lost, files open"
ORDER = 50

_CLIENT_ROUNDS, _SERVER_ROUNDS = 80, 20
_CLIENT_LIFE_S = (0.05, 0.8)
_SERVER_LIFE_S = (0.3, 3.0)
_ENOUGH = 3
_SMALL_DISK = {"STREAMSERVER_DISK_RESERVE_MB": "1"}


@dataclass(slots=True)
class Tally:
    """What all rounds together came to; ``patience_s`` is how long no alarm may come while some are missing."""

    patience_s: float = 120.0
    rounds: int = 0
    tasks: int = 0
    deletes: int = 0
    alarms: int = 0
    writes: int = 0
    names: int = 0
    complaints: list[str] = field(default_factory=list)

    @property
    def hopeless(self) -> bool:
        """So much was found that more rounds tell nothing new."""
        return len(self.complaints) >= _ENOUGH

    def __str__(self) -> str:
        lost = len(self.complaints)
        return (
            f"{self.rounds} losses of power, {self.writes:,} writes and {self.names:,} names taken back: {lost} "
            f"complaints over {self.tasks} accepted tasks, {self.deletes} deletes and {self.alarms:,} committed alarms"
        )


def run(context: Context) -> Outcome:
    """Runs both kinds of rounds."""
    if reason := missing_tools():
        return Outcome(False, reason, (reason,))
    tally = Tally()
    client_rounds(context, context.count(_CLIENT_ROUNDS), tally)
    server_rounds(context, context.count(_SERVER_ROUNDS), tally)
    return judged(str(tally), tally.complaints)


def client_rounds(context: Context, rounds: int, tally: Tally) -> None:
    """A client loses power ``rounds`` times."""
    state = context.folder / "lone"
    with Receivers(1) as receivers:
        client = LoneClient(state, context.project, receivers.urls)
        feeder = Feeder()
        with ForgetfulDisk(state, context.folder / "lone-shim") as disk:
            try:
                for number in range(rounds):
                    if tally.hopeless:
                        break
                    chance = random.Random(f"{context.seed}/client {number}")  # whatever the rounds before have drawn
                    _client_round(number, client, feeder, disk, receivers, tally=tally, chance=chance)
                    context.say(f"powerloss: client round {number + 1} of {rounds}, {len(feeder.promised)} alarms")
            finally:
                client.kill()
                feeder.stop()
        tally.alarms += len(feeder.promised)


def _client_round(
    number: int,
    client: LoneClient,
    feeder: Feeder,
    disk: ForgetfulDisk,
    receivers: Receivers,
    *,
    tally: Tally,
    chance: random.Random,
) -> None:
    receivers.set_mode(chance.choice((Mode.TAKE, Mode.UNAVAILABLE)))
    client.start(**disk.environment)
    feeder.start(client.port, threads=2)
    if number:  # in the first round the power may go before there is anything to lose
        feeder.wait_promised(1)
    time.sleep(chance.uniform(*_CLIENT_LIFE_S))
    client.kill()
    feeder.stop()
    _roll_back(disk, number, chance, tally)
    receivers.set_mode(Mode.TAKE)
    client.start()
    _check_alarms(f"client round {number}", feeder, receivers, tally)
    client.end()
    _check_files(f"client round {number}", client.state, tally)


def server_rounds(context: Context, rounds: int, tally: Tally) -> None:
    """The whole server loses power ``rounds`` times; each start is also the check of the round before."""
    state = context.folder / "state"
    state.mkdir()
    with Receivers(1) as receivers, ForgetfulDisk(state, context.folder / "shim") as disk:
        world = _World(context, receivers, tally)
        for number in range(rounds + 1):
            last = number == rounds
            environment = _SMALL_DISK | ({} if last else disk.environment)
            server = Server(state, project=context.project, environment=environment)
            server.start()
            try:
                world.check(f"server round {number}", server)
                if not last:
                    world.live(server)
            finally:
                _cut(server)
            world.stop()
            if last or tally.hopeless:
                break
            _roll_back(disk, number, context.random, tally)
            context.say(f"powerloss: server round {number} of {rounds}, {len(world.wanted)} tasks")
        tally.alarms += sum(len(feeder.promised) for feeder in world.feeders.values())


def _cut(server: Server) -> None:
    """The plug is pulled."""
    assert server.process is not None
    kill_all(lambda: server.processes())
    server.process.wait()


class _World:
    """What was promised by the server, in all rounds."""

    def __init__(self, context: Context, receivers: Receivers, tally: Tally) -> None:
        self._context = context
        self._receivers = receivers
        self._tally = tally
        self._created = 0
        self.wanted: set[str] = set()
        self.gone: set[str] = set()
        self.feeders: dict[str, Feeder] = {}

    def check(self, name: str, server: Server) -> None:
        """Everything promised so far is there: tasks run, deleted ones do not, alarms come."""
        listed = {row["TaskID"] for row in server.post("/task/list", {})["Result"]}
        if lost := self.wanted - listed:
            self._tally.complaints.append(f"{name}: accepted tasks lost: {sorted(lost)}")
        if back := self.gone & listed:
            self._tally.complaints.append(f"{name}: deleted tasks are back: {sorted(back)}")
        for task_id in sorted(self.wanted & listed):
            wait_client(server, task_id)
        for task_id, feeder in self.feeders.items():
            _check_alarms(f"{name}, {task_id}", feeder, self._receivers, self._tally, task_id)
        _check_files(name, server.state_dir, self._tally)

    def live(self, server: Server) -> None:
        """Creates, feeds and deletes for a while; the plug is pulled in the middle of it."""
        chance = self._context.random
        self._receivers.set_mode(chance.choice((Mode.TAKE, Mode.UNAVAILABLE)))
        self._create(server)
        for task_id in sorted(self.wanted)[-2:]:
            self.feeders.setdefault(task_id, Feeder()).start(wait_client(server, task_id), pause_s=0.005)
        self.feeders[max(self.wanted)].wait_promised(1)
        time.sleep(chance.uniform(*_SERVER_LIFE_S))
        self._create(server)
        if len(self.wanted) > 2:
            self._delete(server, sorted(self.wanted)[0])
        time.sleep(chance.choice((0.0, chance.uniform(0.0, 1.0))))

    def stop(self) -> None:
        """The engines are dead too."""
        for feeder in self.feeders.values():
            feeder.stop()
        self._receivers.set_mode(Mode.TAKE)

    def _create(self, server: Server) -> None:
        self._created += 1
        task_id = f"t{self._created:04d}"
        reply = server.create(dead_camera_task(task_id, self._receivers.urls))
        assert reply["Code"] == 0, reply
        self.wanted.add(task_id)
        self._tally.tasks += 1

    def _delete(self, server: Server, task_id: str) -> None:
        reply = server.post("/task/delete", {"TaskID": task_id})
        assert reply["Code"] == 0, reply
        self.wanted.discard(task_id)
        self.gone.add(task_id)
        self._tally.deletes += 1


def _roll_back(disk: ForgetfulDisk, number: int, chance: random.Random, tally: Tally) -> None:
    gone = disk.roll_back(chance if number % 2 else None)
    tally.rounds += 1
    tally.writes += gone.writes
    tally.names += gone.names


def _check_alarms(name: str, feeder: Feeder, receivers: Receivers, tally: Tally, task_id: str = "t1") -> None:
    """Every alarm that was promised comes, and none under two ids."""

    def missing() -> set[int]:
        return feeder.promised - {frame_of(row) for row in receivers.all() if row.task_id == task_id}

    left, since = len(missing()), time.monotonic()
    while left and time.monotonic() - since < tally.patience_s:
        time.sleep(0.05)
        if len(missing()) < left:
            left, since = len(missing()), time.monotonic()
    if lost := sorted(missing()):
        tally.complaints.append(f"{name}: {len(lost)} of {len(feeder.promised)} alarms lost: frames {lost[:5]}")
        feeder.promised -= set(lost)  # said once is enough
    known: dict[int, str] = {}
    for row in receivers.all():
        if row.task_id == task_id and known.setdefault(frame_of(row), row.alarm_id) != row.alarm_id:
            tally.complaints.append(f"{name}: frame {frame_of(row)} came under two ids")


def _check_files(name: str, state: Path, tally: Tally) -> None:
    """A loss of power damages nothing."""
    marks = [path for pattern in ("*.damaged-*", "damage.jsonl") for path in state.rglob(pattern)]
    if marks:
        tally.complaints.append(f"{name}: damage was found: {', '.join(path.name for path in marks[:3])}")
        for path in marks:
            path.rename(path.with_name("seen"))
