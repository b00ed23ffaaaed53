"""What a second algorithm of a task costs whose detector is the first one's: ``python -m bench.shared_inference``.

Real engine and client processes on the one-by-one clip, as fast as it goes, with YOLOX-nano at every third frame. A
task with one algorithm (tripwire) and one with two (tripwire and area intrusion) run in turns, so that both see the
same machine. CPU time is user and system time of engine and client together, from their start to their end.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.assets import clip, model
from tests.e2e.harness import Server, ledger, server, task, wait_for

ROUNDS = 5
LIMIT = 1.15
INTERVAL = 3
WORDS = ("streamserver.worker", "client.py")
LINE = (580, 0, 580, 431)
AREA = [{"X": 512, "Y": 0}, {"X": 767, "Y": 0}, {"X": 767, "Y": 431}, {"X": 512, "Y": 431}]


def main() -> int:
    """Prints the table; 1 if two algorithms cost more than they may."""
    one_s: list[float] = []
    two_s: list[float] = []
    environment = {"STREAMSERVER_MODELS": str(model("yolox_nano.onnx").parent)}
    with (
        tempfile.TemporaryDirectory() as folder,
        ledger() as receiver,
        server(Path(folder) / "state", environment=environment) as house,
    ):
        for number in range(ROUNDS):
            for count, spent in ((1, one_s), (2, two_s)):
                spent.append(cpu_of(house, body(f"{number} with {count}", receiver.url, count)))
            print(f"round {number + 1}: {one_s[-1]:.2f} s, {two_s[-1]:.2f} s", file=sys.stderr, flush=True)
    ratio = statistics.median(two_s) / statistics.median(one_s)
    print("| CPU time of engine and client, median | value |\n|---|---|")
    print(
        f"| one algorithm | {statistics.median(one_s):.2f} s |\n| two algorithms | {statistics.median(two_s):.2f} s |"
    )
    print(f"| ratio (at most {LIMIT}) | {ratio:.3f} |")
    return int(ratio > LIMIT)


def body(task_id: str, url: str, count: int) -> dict[str, Any]:
    """A task with the first ``count`` of the two algorithms."""
    path, extend = str(clip("one-by-one-person-detection.mp4")), {"Fps": -1}
    infos = [{"TripWire": None, "HotArea": AREA}]
    line = task(task_id, path, url, line=LINE, interval=INTERVAL, extend=extend)
    area = task(task_id, path, url, type_=6, interval=INTERVAL, extend={"Events": ["enter"]}, DetectInfos=infos)
    return line | {"Algorithm": [*line["Algorithm"], *area["Algorithm"]][:count]}


def cpu_of(house: Server, content: dict[str, Any]) -> float:
    """Runs a task to its end; CPU seconds of the processes that it had."""
    (supervisor,) = house.pids("streamserver.supervise")
    before = cpu_of_children_s(supervisor)
    assert house.create(content)["Code"] == 0
    status = house.wait_state(content["TaskID"], "FINISHED", "FAILED")
    assert status["State"] == "FINISHED" and min(entry["Events"] for entry in status["Algorithms"]) >= 6, status
    wait_for(lambda: not any(house.pids(word) for word in WORDS), "its processes have ended", house.processes)
    return cpu_of_children_s(supervisor) - before


def cpu_of_children_s(pid: int) -> float:
    """User and system time of all children of a process that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
