"""Random operations, kills and restarts against a model that is a handful of dictionaries."""

from __future__ import annotations

import random
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from streamserver.outbox.box import NewEvent, Outbox, PendingEvent
from streamserver.outbox.letters import dead_letters, replay
from tests.outbox.support import FILE, Clock, event, make, number_of

STEPS = 250


@dataclass
class Alarm:
    attempts: int = 0
    refusals: int = 0
    due: float = 0.0
    claimed: bool = False


@dataclass
class Model:
    """What an outbox should hold."""

    waiting: dict[int, Alarm] = field(default_factory=dict)
    dead: dict[int, Alarm] = field(default_factory=dict)
    delivered: set[int] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    events: int = 0

    def due(self, now: float) -> set[int]:
        return {number for number, alarm in self.waiting.items() if not alarm.claimed and alarm.due <= now}


class Play:
    """One random life of an outbox."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.clock = Clock()
        self.wall = Clock(1.7e9)
        self.model = Model()
        self.ids: dict[int, str] = {}
        self.kills = 0
        self.box = self.open()

    def open(self) -> Outbox:
        return make(self.folder, self.clock, wall=self.wall)

    def step(self) -> None:
        names = ["add"] * 4 + ["claim"] * 4 + ["deliver"] * 3 + ["fail"] * 3 + ["bury", "unclaim", "replay", "recall"]
        getattr(self, self.random.choice([*names, "restart", "kill", "wait", "early", "maintain"]))()
        counters, model = self.box.counters, self.model
        assert counters.events == model.events and counters.pending == len(model.waiting)
        assert (counters.delivered, counters.dead) == (len(model.delivered), len(model.dead))
        assert counters.dropped == counters.lost == 0

    def add(self) -> None:
        batch: list[NewEvent] = []
        for _ in range(self.random.randrange(1, 4)):
            number = self.model.events + len(batch)
            key = self.random.choice([None, f"key {self.random.randrange(40)}"])
            if key not in self.model.keys:
                batch.append(event(number, key=key, size=self.random.choice([0, 3000, 9000])))
                self.model.keys |= {key} if key else set()
        repeated = [event(999_999, key=key) for key in sorted(self.model.keys)[:1]]
        assert self.box.add(batch + repeated) == len(batch)
        for number in range(self.model.events, self.model.events + len(batch)):
            self.model.waiting[number] = Alarm(due=self.clock.now)
        self.model.events += len(batch)

    def claim(self) -> None:
        limit = self.random.randrange(1, 5)
        due, taken = self.model.due(self.clock.now), self.box.claim(limit)
        assert len(taken) <= limit and bool(taken) == bool(due)
        assert {number_of(found) for found in taken} <= due
        self.note(taken)

    def early(self) -> None:
        free = {number for number, alarm in self.model.waiting.items() if not alarm.claimed}
        taken = self.box.claim(1, early=True)
        assert bool(taken) == bool(free) and {number_of(found) for found in taken} <= free
        self.note(taken)

    def note(self, taken: list[PendingEvent]) -> None:
        for found in taken:
            number = number_of(found)
            alarm = self.model.waiting[number]
            assert found.id == self.ids.setdefault(number, found.id) and found.refusals == alarm.refusals
            assert found.attempt >= alarm.attempts + 1  # a kill may count one that never was
            alarm.attempts, alarm.claimed = found.attempt, True
        assert sorted(self.ids) == sorted(self.ids, key=lambda number: self.ids[number])

    def choose(self) -> int | None:
        claimed = sorted(number for number, alarm in self.model.waiting.items() if alarm.claimed)
        return self.random.choice(claimed) if claimed else None

    def deliver(self) -> None:
        if (number := self.choose()) is not None:
            self.box.delivered([self.ids[number], "unknown"])
            del self.model.waiting[number]
            self.model.delivered.add(number)

    def fail(self) -> None:
        if (number := self.choose()) is not None:
            delay_s, refused = self.random.uniform(0, 100), self.random.random() < 0.5
            self.box.failed(self.ids[number], delay_s, "no", refused=refused)
            alarm = self.model.waiting[number]
            alarm.claimed, alarm.due = False, self.clock.now + delay_s
            alarm.refusals += refused

    def bury(self) -> None:
        if (number := self.choose()) is not None:
            self.box.bury(self.ids[number], "never")
            self.model.dead[number] = self.model.waiting.pop(number)

    def unclaim(self) -> None:
        if (number := self.choose()) is not None:
            self.box.unclaim([self.ids[number]])
            alarm = self.model.waiting[number]
            alarm.claimed, alarm.due, alarm.attempts = False, self.clock.now, alarm.attempts - 1

    def replay(self) -> None:
        letters = dead_letters(self.folder / FILE, limit=1000)
        assert {letter.id for letter in letters} == {self.ids[number] for number in self.model.dead}
        assert replay(self.folder / FILE, None) == len(self.model.dead)
        for number, alarm in self.model.dead.items():
            self.model.waiting[number] = Alarm(attempts=alarm.attempts)
        changed, self.model.dead = bool(self.model.dead), {}
        assert self.box.maintain() or not changed

    def recall(self) -> None:
        self.box.retry_now()
        for alarm in self.model.waiting.values():
            alarm.due = min(alarm.due, self.clock.now)

    def wait(self) -> None:
        self.clock.now += self.random.uniform(0, 60)
        self.wall.now += self.random.uniform(-1e6, 1e6)

    def maintain(self) -> None:
        assert not self.box.maintain()

    def restart(self) -> None:
        self.box.close()
        self.box = self.open()
        self.release()

    def kill(self) -> None:
        """Goes on with what is on the disk now, as after a kill."""
        self.kills += 1
        after = self.folder.with_name(f"{self.folder.name}+")
        after.mkdir()
        for suffix in ("", "-wal"):
            shutil.copy(self.folder / f"{FILE}{suffix}", after)
        self.box.close()
        self.folder = after
        self.box = self.open()
        self.release()

    def release(self) -> None:
        for alarm in self.model.waiting.values():
            if alarm.claimed:
                alarm.claimed, alarm.due = False, 0.0


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_the_outbox_holds_what_it_should(seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "0").mkdir()
        play = Play(Path(folder) / "0", seed)
        for _ in range(STEPS):
            play.step()
        assert play.kills and play.model.delivered
        play.box.close()
