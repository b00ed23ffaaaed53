"""What a second algorithm of a task costs whose detector is the first one's."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

from bench.measuring import in_turns, median, spread, telling
from bench.running import house
from bench.table import Row, Say
from tests.assets import clip
from tests.e2e.harness import Server, ledger, task, wait_for

TITLE = "One inference for two algorithms"
ABOUT = """\
A file task with one algorithm (tripwire) and one with two (tripwire and area intrusion) that share decoder, detector
and tracker: the one-by-one clip as fast as it goes, yolox_nano at every third frame. CPU time of engine and client
together, from their start to their end, whether they are programs of their own or come out of a nursery."""

LIMIT = 1.15
INTERVAL = 3
LINE = (580, 0, 580, 431)
AREA = [{"X": 512, "Y": 0}, {"X": 767, "Y": 0}, {"X": 767, "Y": 431}, {"X": 512, "Y": 431}]
_EVENTS = 6


def measure(rounds: int, say: Say) -> list[Row]:
    """Both tasks in turns."""
    numbers = itertools.count()
    with ledger() as receiver, house() as one:
        subjects = {
            f"{count} algorithms": lambda count=count: cpu_of(one, body(f"t{next(numbers)}", receiver.url, count))
            for count in (1, 2)
        }
        found = in_turns(rounds, {name: telling(name, subject, say) for name, subject in subjects.items()})
    one_s, two_s = found.values()
    return [
        Row(
            measure="task with two algorithms, CPU",
            value=median(two_s),
            unit="s",
            yardstick="with one",
            reference=median(one_s),
            limit=LIMIT,
            remark=f"{spread(two_s)} and {spread(one_s)}",
        )
    ]


def body(task_id: str, url: str, count: int) -> dict[str, Any]:
    """A task with the first ``count`` of the two algorithms."""
    path, extend = str(clip("one-by-one-person-detection.mp4")), {"Fps": -1}
    infos = [{"TripWire": None, "HotArea": AREA}]
    line = task(task_id, path, url, line=LINE, interval=INTERVAL, extend=extend)
    area = task(task_id, path, url, type_=6, interval=INTERVAL, extend={"Events": ["enter"]}, DetectInfos=infos)
    return line | {"Algorithm": [*line["Algorithm"], *area["Algorithm"]][:count]}


def cpu_of(one: Server, content: dict[str, Any]) -> float:
    """Runs a task to its end; CPU seconds of the processes that it had."""
    (supervisor,) = one.pids("streamserver.supervise")
    before_s = _of_ended_children_s(supervisor)
    assert one.create(content)["Code"] == 0
    status = one.wait_state(content["TaskID"], "FINISHED", "FAILED")
    assert status["State"] == "FINISHED" and min(entry["Events"] for entry in status["Algorithms"]) >= _EVENTS, status
    task_words = ("streamserver.worker", "client.py")
    wait_for(lambda: not any(one.pids(word) for word in task_words), "its processes have ended", one.processes)
    return _of_ended_children_s(supervisor) - before_s


def _of_ended_children_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
