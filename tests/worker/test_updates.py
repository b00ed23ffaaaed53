"""The engine follows the revision of its files, and a bad one changes nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamserver.core.errors import GraphError
from streamserver.core.revision import forget_revision, read_revision, write_revision
from streamserver.core.status import ENGINE_FILE, EngineStatus
from streamserver.engine.reconfigure import Change
from streamserver.worker.updates import Updates
from tests.business.support import wait_until
from tests.elements.receiver import Receiver
from tests.media.clips import write_clip
from tests.worker.tasks import DECODE, push, worker, write_task

TASK = ("--demo_config_path=demo.json", "--task_dir=.", "--run=key")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        self.now += 10.0
        return self.now


def done() -> Change:
    return Change(0)


def test_a_new_revision_is_read_once_and_in_force_when_it_is_taken_over(tmp_path: Path) -> None:
    write_revision(tmp_path, 4)
    updates = Updates(tmp_path, clock=Clock())
    reads: list[int] = []
    change = Change(1)

    def read() -> Callable[[], Change]:
        reads.append(read_revision(tmp_path))
        return lambda: change

    updates.look(read)
    assert (updates.revision, reads) == (4, [])
    write_revision(tmp_path, 5)
    updates.look(read)
    write_revision(tmp_path, 6)
    updates.look(read)
    assert (updates.revision, reads) == (4, [5]), "one after the other"
    change._left = 0
    for _ in range(4):
        updates.look(read)
    assert (updates.revision, reads, updates.problem) == (6, [5, 6], "")


@pytest.mark.parametrize("where", ["reading", "taking over", "unforeseen"])
def test_what_goes_wrong_is_told_until_the_next_revision(tmp_path: Path, where: str) -> None:
    write_revision(tmp_path, 1)
    updates = Updates(tmp_path, clock=Clock())
    write_revision(tmp_path, 2)

    def fail() -> Change:
        raise KeyError("odd") if where == "unforeseen" else GraphError("rules: wrong", cure="mend it")

    updates.look(fail if where != "taking over" else lambda: fail)  # type: ignore[arg-type]
    told = "KeyError('odd')" if where == "unforeseen" else "rules: wrong; mend it"
    assert (updates.revision, updates.problem) == (1, f"revision 2 is not in force: {told}")
    updates.look(lambda: done)
    assert updates.problem, "the same file is not read again"
    write_revision(tmp_path, 3)
    updates.look(lambda: done)
    assert (updates.revision, updates.problem) == (3, "")


@pytest.mark.parametrize("fails", [True, False])
def test_files_that_are_written_while_they_are_read_are_read_again(tmp_path: Path, fails: bool) -> None:
    write_revision(tmp_path, 1)
    updates = Updates(tmp_path, clock=Clock())
    write_revision(tmp_path, 2)

    def torn() -> Callable[[], Change]:
        forget_revision(tmp_path)
        if fails:
            raise GraphError("half of a file")
        return done

    updates.look(torn)
    assert (updates.revision, updates.problem) == (1, "")
    updates.look(lambda: done)
    assert updates.revision == 1, "there is no number while they are written"
    write_revision(tmp_path, 2)
    updates.look(lambda: done)
    assert updates.revision == 2


def test_without_a_task_there_is_nothing_to_look_at() -> None:
    updates = Updates(None)
    updates.look(lambda: done)
    assert (updates.revision, updates.problem) == (0, "")


def test_an_engine_at_work_goes_on_with_other_rules(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", frames=10)
    motion = ("motion", {"min_area": 1, "warmup_frames": 1})
    entry: dict[str, Any] = {
        "type": 2,
        "areas": [],
        "classes": [5],
        "alert_first_frames": 0,
        "alert_frame_skip_nums": 1,
    }
    entry["times"] = [{"time_start": "00 00 00", "time_end": "23 59 59"}]
    rules = {"rules": [{"channel_id": 0, "filters": [entry]}]}
    with Receiver() as receiver:
        write_task(tmp_path, clip, [DECODE, motion, ("filter", rules), push(receiver.port)], loop_num=0, fps=25)
        write_revision(tmp_path, 1)
        file = tmp_path / "elements" / "3_filter.json"

        def status() -> EngineStatus:
            return EngineStatus.read(tmp_path / ENGINE_FILE) or EngineStatus()

        def rewrite(revision: int, text: str) -> None:
            forget_revision(tmp_path)
            file.write_text(text)
            write_revision(tmp_path, revision)

        with worker(tmp_path, *TASK) as process:
            wait_until(lambda: status().revision == 1 and status().frames > 5, what="it works", limit_s=90)
            rewrite(2, file.read_text().replace('"rules"', '"wrong"'))
            wait_until(lambda: "revision 2 is not in force" in status().update_problem, what="it is told", limit_s=90)
            assert status().revision == 1
            rewrite(
                3, json.dumps({"name": "filter", "configure": rules, "shared_object": "x.so"}).replace("[5]", "[6]")
            )
            wait_until(lambda: status().revision == 3 and not status().update_problem, what="it is mended", limit_s=90)
            frames = status().frames
            wait_until(lambda: status().frames > frames, what="it goes on", limit_s=90)
            assert process.poll() is None and status().pid == process.pid
            os.kill(process.pid, 15)
