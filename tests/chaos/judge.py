"""The verdict on a run: what was promised against what arrived. Pure: lists in, complaints out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.chaos.receivers import Delivery
from tests.chaos.world import ALARMS_A_LOOP

MOST_COPIES = 2
_SHOWN = 3


@dataclass(slots=True)
class Promises:
    """What the server has said or written down.

    Attributes:
        running: TaskIDs whose create answered Code 0 and that nobody deleted: they must be listed, and RUNNING.
        deleted: TaskIDs whose delete answered Code 0: they must not come back.
        counted: TaskID -> loops, of tasks whose file is played so often: exactly 3 alarms a loop; listed, FINISHED.
        ended: TaskID -> the State in which a task has to be listed that ended otherwise.
        uncounted: TaskIDs whose alarms may be fewer or more than whole loops, because they were edited.
        alarms: TaskID -> ids that were seen committed in an outbox.
    """

    running: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    counted: dict[str, int] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    uncounted: set[str] = field(default_factory=set)
    alarms: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    @property
    def tasks(self) -> int:
        """All tasks that were ever accepted."""
        return len(self.known())

    def known(self) -> set[str]:
        """The TaskIDs of all tasks that were ever accepted."""
        return self.running | self.deleted | set(self.counted) | set(self.ended)

    def due_states(self) -> dict[str, str]:
        """TaskID -> the State in which it has to be listed."""
        return dict.fromkeys(self.running, "RUNNING") | dict.fromkeys(self.counted, "FINISHED") | self.ended

    def committed(self) -> set[str]:
        """The ids of all alarms."""
        return set().union(*self.alarms.values())


@dataclass(frozen=True, slots=True)
class Verdict:
    """What ``judge`` found; the counts are for the table.

    Attributes:
        complaints: what does not hold, one line each.
        tasks_lost: accepted tasks that are not there, or not in the state they must have.
        alarms_lost: committed alarms, or alarms of counted loops, that no receiver has.
        alarms: different alarms that arrived.
        twice: alarms of which a copy came.
        most: how often the most frequent alarm came.
    """

    complaints: tuple[str, ...]
    tasks_lost: int
    alarms_lost: int
    alarms: int
    twice: int
    most: int

    @property
    def figure(self) -> str:
        """The counts in words."""
        return (
            f"{self.tasks_lost} tasks lost, {self.alarms_lost} of {self.alarms + self.alarms_lost:,} alarms lost,"
            f" {self.twice} came twice, none more than {max(1, self.most)} times"
        )


def judge(promises: Promises, states: Mapping[str, str], deliveries: Sequence[Delivery]) -> Verdict:
    """Compares promises with what is there.

    Args:
        promises: what was promised.
        states: TaskID -> ``State`` of every task that the server lists at the end.
        deliveries: what all receivers took.
    """
    complaints: list[str] = []
    tasks_lost = _judge_tasks(promises, states, complaints)
    copies = Counter(row.alarm_id for row in deliveries)
    lost = promises.committed() - set(copies)
    if lost:
        complaints.append(f"{len(lost)} committed alarms never arrived, e.g. {_some(lost)}")
    short = _judge_loops(promises, deliveries, complaints)
    most = max(copies.values(), default=0)
    if most > MOST_COPIES:
        often = [alarm_id for alarm_id, n in copies.items() if n > MOST_COPIES]
        complaints.append(f"{len(often)} alarms came more than twice, one {most} times, e.g. {_some(often)}")
    if not copies:
        complaints.append("no alarm arrived at all: nothing was tried")
    twice = sum(n > 1 for n in copies.values())
    return Verdict(tuple(complaints), tasks_lost, max(len(lost), short), len(copies), twice, most)


def _judge_tasks(promises: Promises, states: Mapping[str, str], complaints: list[str]) -> int:
    due = promises.due_states()
    wrong = {name: states.get(name, "not listed") for name, state in due.items() if states.get(name) != state}
    if wrong:
        complaints.append(f"{len(wrong)} accepted tasks are lost: {_some(f'{k} {v}' for k, v in wrong.items())}")
    if back := promises.deleted & set(states):
        complaints.append(f"{len(back)} deleted tasks came back: {_some(back)}")
    if strange := set(states) - promises.known():
        complaints.append(f"{len(strange)} tasks that nobody created: {_some(strange)}")
    return len(wrong)


def _judge_loops(promises: Promises, deliveries: Iterable[Delivery], complaints: list[str]) -> int:
    """Alarms that are missing from whole loops; every loop of the file raises the same ones at the same places."""
    first = {row.alarm_id: row for row in deliveries}
    places: dict[str, Counter[str]] = defaultdict(Counter)
    for row in first.values():
        places[row.task_id][row.place] += 1
    short = 0
    for name, found in places.items():
        if name not in promises.counted and name not in promises.uncounted:
            short += _judge_endless(name, found, complaints)
    for name, loops in promises.counted.items():
        found = places[name]
        if len(found) != ALARMS_A_LOOP or set(found.values()) != {loops}:
            complaints.append(f"{name}: expected {ALARMS_A_LOOP} alarms in each of {loops} loops, got {dict(found)}")
            short += max(0, ALARMS_A_LOOP * loops - sum(found.values()))
    return short


def _judge_endless(name: str, found: Counter[str], complaints: list[str]) -> int:
    """The alarms of a file that is played for ever: those later in the loop may be one behind, never ahead."""
    counts = [found[place] for place in sorted(found, key=lambda place: int(place.split()[0]))]
    counts += [0] * (ALARMS_A_LOOP - len(counts))
    in_order = counts == sorted(counts, reverse=True)
    if len(counts) > ALARMS_A_LOOP or not in_order or counts[0] - counts[-1] > 1:
        complaints.append(f"{name}: a loop with missing or additional alarms: {dict(found)}")
        return max(1, ALARMS_A_LOOP * max(counts) - sum(counts))
    return 0


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:_SHOWN]) + (" …" if len(ordered) > _SHOWN else "")
