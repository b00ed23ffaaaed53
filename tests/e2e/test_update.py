"""``/task/update`` on the real server: in force within seconds, durable, and nothing else is touched."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.world import ALARMS_A_LOOP, FEW_FRAMES, MIDDLE, SIZE_WH, TARGET_SIZE, fast_clip
from tests.e2e.harness import Ledger, Server, ledger, server, task, wait_for

pytestmark = pytest.mark.e2e

LEFT = (SIZE_WH[0] // 3, 0, SIZE_WH[0] // 3, SIZE_WH[1])
NOWHERE = (150, 0, 155, 0)
"""Nobody's feet come so high."""

FRAMES_A_LOOP = 15 * FEW_FRAMES

UPDATES = 50 if os.environ.get("PROPERTY_TESTS") == "search" else 15
"""In a row, while a clip is played."""


def body(walkers: Path, *receivers: Ledger, loops: int = 0, line: tuple[int, int, int, int] = MIDDLE) -> dict[str, Any]:
    """The drawn clip at its own pace."""
    extend = {"Detector": "motion", "Loop": loops}
    whole = task("t", str(walkers), "", line=line, extend=extend, TargetSize=TARGET_SIZE)
    return whole | {"Reporting": {"ReportUrlList": [receiver.url for receiver in receivers]}}


class House:
    """A server with a task ``t`` whose alarms flow."""

    def __init__(self, one: Server, walkers: Path, receiver: Ledger) -> None:
        self.server = one
        self.walkers = walkers
        self.receiver = receiver
        assert one.create(body(walkers, receiver))["Code"] == 0
        self.wait_alarms()
        one.wait_state("t", "RUNNING")
        wait_for(lambda: one.query("t")["Stream"], "the engine has told what it reads", lambda: one.query("t"))

    def update(self, **changes: Any) -> int:
        """Updates the task with these top-level keys; returns the accepted revision."""
        reply = self.server.post("/task/update", {"TaskID": "t", **changes})
        assert reply["Code"] == 0, reply
        revision: int = reply["Result"]["Revision"]
        return revision

    def set(self, **changes: Any) -> None:
        """Updates and waits until that is in force."""
        self.wait_revision(self.update(**changes))

    def wait_revision(self, revision: int, *, restarts: int = 0) -> None:
        """Waits until both processes run it, after so many restarts at least."""

        def is_in_force(now: dict[str, Any]) -> bool:
            return now["State"] == "RUNNING" and now["Revision"] == revision and now["Restarts"] >= restarts

        self.server.wait_status("t", is_in_force, f"revision {revision} is in force")

    def status(self) -> dict[str, Any]:
        """What is said of the task while its engine tells of its source."""
        return self.server.wait_status("t", lambda now: now["SourceSince"], "its source is told of")

    def algorithm(self, line: tuple[int, int, int, int] = MIDDLE, **changes: Any) -> list[dict[str, Any]]:
        """The task's algorithm with some of its keys changed; those of ``extend`` beside what it has."""
        (entry,) = body(self.walkers, self.receiver, line=line)["Algorithm"]
        entry["Extend"] |= changes.pop("extend", {})
        return [entry | changes]

    def wait_alarms(self, *receivers: Ledger) -> None:
        """Waits until each receiver has got more than it had."""
        for receiver in receivers or (self.receiver,):
            before = len(receiver.counts())
            wait_for(lambda: len(receiver.counts()) > before, "alarms flow", lambda: self.server.query("t"))  # noqa: B023

    def is_calm(self, *receivers: Ledger) -> bool:
        """True when no alarm came while the whole clip was played once more; those under way may come before."""
        wait_for(lambda: self.server.query("t")["Pending"] == 0, "nothing waits", lambda: self.server.query("t"))
        before = [len(receiver.counts()) for receiver in receivers or (self.receiver,)]
        self.play()
        return before == [len(receiver.counts()) for receiver in receivers or (self.receiver,)]

    def play(self) -> None:
        """Waits until the clip was played once."""
        end = self.server.query("t")["Frames"] + FRAMES_A_LOOP
        wait_for(lambda: self.server.query("t")["Frames"] >= end, "frames go on", lambda: self.server.query("t"))

    def processes(self) -> list[int]:
        """Pids of the task's engine and client."""
        return sorted(self.server.pids("streamserver.worker") + self.server.pids("client.py"))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("update")
    with ledger() as receiver, server(folder / "state") as one:
        yield House(one, fast_clip(folder, times=8, rate=FEW_FRAMES), receiver)


def closed() -> dict[str, Any]:
    """A schedule that is closed now and for hours."""
    begins = datetime.now(UTC) + timedelta(hours=11)
    window = {"From": f"{begins:%H:%M}", "To": f"{begins + timedelta(hours=1):%H:%M}"}
    return {"TimeZone": "UTC", "Windows": [window]}


def test_rules_change_under_a_running_task(house: House) -> None:
    before, pids = house.status(), house.processes()
    for quiet in (
        house.algorithm(NOWHERE),
        house.algorithm(extend={"Schedule": closed()}),
        house.algorithm(TargetSize={"MinDetect": 350, "MaxDetect": 0}),
    ):
        house.set(Algorithm=quiet)
        assert house.is_calm()
        house.set(Algorithm=house.algorithm(LEFT, threshold=40))
        house.wait_alarms()
    after = house.status()
    assert house.processes() == pids and len(pids) == 2
    same = ("SourceSince", "Since", "Restarts", "Reconnects", "Stream", "Detector", "Reason", "Lost", "Dead")
    assert {key: after[key] for key in same} == {key: before[key] for key in same}
    assert after["Revision"] == before["Revision"] + 6
    assert set(house.receiver.counts().values()) == {1}


def test_report_addresses_change_under_a_running_task(house: House) -> None:
    house.set(Algorithm=house.algorithm())
    with ledger() as second:
        house.set(Reporting={"ReportUrlList": [house.receiver.url, second.url]})
        house.wait_alarms(house.receiver, second)
        house.set(Reporting={"ReportUrlList": [second.url]})
        assert house.is_calm()
        house.wait_alarms(second)
        house.set(Reporting={"ReportUrlList": [house.receiver.url]})
        assert house.is_calm(second)
        house.wait_alarms()
        assert set((house.receiver.counts() + second.counts()).values()) == {1}


def test_what_needs_another_engine_is_refused_and_the_same_again_does_nothing(house: House) -> None:
    house.set(Algorithm=house.algorithm())
    revision = house.server.query("t")["Revision"]
    refused = house.server.post("/task/update", {"TaskID": "t", "Algorithm": house.algorithm(DetectInterval=2)})
    assert (refused["Code"], refused["Msg"]) == (
        4003,
        "$.Algorithm[0].DetectInterval: cannot be changed while the task runs; use /task/create, which starts it anew",
    )
    assert house.update(Algorithm=house.algorithm()) == house.update() == revision
    assert house.server.create(body(house.walkers, house.receiver)) == {"Code": 0, "Msg": "success"}
    assert house.server.query("t")["Revision"] == revision, "the create asks for what runs"


@pytest.mark.parametrize("role", ["streamserver.worker", "client.py", "streamserver.supervise"])
def test_a_kill_right_after_the_answer_ends_with_the_new_rules(house: House, role: str) -> None:
    house.set(Algorithm=house.algorithm())
    house.wait_alarms()
    restarts = house.server.query("t")["Restarts"]
    revision = house.update(Algorithm=house.algorithm(NOWHERE))
    killed = house.server.pids(role)
    for pid in killed:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not set(killed) & set(house.server.pids(role)), "it is dead")
    house.wait_revision(revision, restarts=restarts + 1)  # else what the dead have left would do
    assert house.is_calm()


def test_many_updates_in_a_row_lose_and_double_nothing(house: House, tmp_path: Path) -> None:
    loops = 3
    walkers = fast_clip(tmp_path, times=2, rate=FEW_FRAMES)
    with ledger() as first, ledger() as second:
        one, whole = house.server, body(walkers, first, loops=loops) | {"TaskID": "many"}

        def counts() -> Counter[str]:
            return first.counts() + second.counts()

        def is_over() -> bool:
            return bool(one.query("many")["State"] == "FINISHED")

        def wait_for_one_more() -> None:
            before = len(counts())
            wait_for(lambda: len(counts()) > before or is_over(), "alarms flow", lambda: one.query("many"))

        assert one.create(whole)["Code"] == 0
        wait_for_one_more()
        for number in range(UPDATES):
            urls = [[first.url], [second.url, first.url], [second.url]][number % 3]
            (entry,) = whole["Algorithm"]
            entry = {**entry, "Extend": {**entry["Extend"], "Note": number}}
            sent = {"TaskID": "many", "Algorithm": [entry], "Reporting": {"ReportUrlList": urls}}
            reply = one.post("/task/update", sent)
            if reply["Code"] == 1:
                break
            assert (reply["Code"], reply.get("Result")) == (0, {"Revision": number + 2}), reply
            if number % ALARMS_A_LOOP == ALARMS_A_LOOP - 1 and number < 5 * ALARMS_A_LOOP:
                wait_for_one_more()
        assert number > 5, "the clip was over too soon"
        one.wait_finished("many")
        assert len(counts()) == loops * ALARMS_A_LOOP, one.query("many")
        assert one.query("many")["Pending"] == 0
        assert set(counts().values()) == {1}
        assert second.counts()
