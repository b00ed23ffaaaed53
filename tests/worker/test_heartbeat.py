from __future__ import annotations

import dataclasses
import logging
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from streamserver.core.source_monitor import SourceReport
from streamserver.core.states import SourceState
from streamserver.core.status import ENGINE_FILE, EngineStatus
from streamserver.engine.runner import Snapshot
from streamserver.worker import heartbeat as heartbeat_module
from streamserver.worker.heartbeat import FpsMeter, Heartbeat


class FakeClock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def snapshot(frames: int = 0, loop: int = 0) -> Snapshot:
    return Snapshot(
        ready=True,
        source=SourceReport(
            state=SourceState.RECONNECTING, reason="rtsp://user:secret@cam/1 is away", connects=3, stalls=1, age_s=4.0
        ),
        frames=frames,
        dropped=3,
        loop=loop,
        detector="motion",
        left_out={"1": "objects for their size: one"},
    )


@pytest.fixture
def task_dir(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path


def status_in(task_dir: Path) -> EngineStatus:
    status = EngineStatus.read(task_dir / ENGINE_FILE)
    assert status is not None
    return status


def test_a_beat_says_everything_and_no_secret(task_dir: Path) -> None:
    heartbeat = Heartbeat(task_dir, "key")
    heartbeat.beat(snapshot(frames=7, loop=4))
    status = status_in(task_dir)
    assert (status.run, status.pid, status.ready, status.source) == ("key", os.getpid(), True, "reconnecting")
    assert (status.frames, status.dropped, status.reconnects, status.loop) == (7, 3, 2, 4)
    assert (status.detector, status.error) == ("motion", "")
    assert status.left_out == {"1": "objects for their size: one"}
    assert status.source_reason == "rtsp://***@cam/1 is away"


def test_when_a_state_began_stays_the_same_from_beat_to_beat(task_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    noon = time.time()
    wall = SimpleNamespace(time=lambda: noon + clock.now, monotonic=time.monotonic)
    monkeypatch.setattr(heartbeat_module, "time", wall)
    heartbeat = Heartbeat(task_dir, "key", clock=clock)

    def since(state: SourceState, age_s: float) -> float:
        clock.now += 1.0
        source = SourceReport(state=state, age_s=age_s)
        heartbeat.beat(dataclasses.replace(snapshot(), source=source))
        return status_in(task_dir).source_since

    began = since(SourceState.STALLED, 20.0)
    assert abs(noon + clock.now - 20.0 - began) < 0.01
    assert since(SourceState.STALLED, 21.3) == began, "two clocks never agree to the millisecond"
    assert since(SourceState.RECONNECTING, 22.3) != began
    assert since(SourceState.RECONNECTING, 3023.0) < began - 2000
    assert since(SourceState.NONE, 5.0) == 0.0


def test_a_stall_is_logged_once_and_what_the_reader_logs_itself_is_not_repeated(
    task_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    clock = FakeClock()
    heartbeat = Heartbeat(task_dir, "key", clock=clock)
    for state, reason in [
        (SourceState.CONNECTING, ""),
        (SourceState.STREAMING, ""),
        (SourceState.STREAMING, ""),
        (SourceState.STALLED, "no picture for 10 s"),
        (SourceState.STALLED, "no picture for 11 s"),
        (SourceState.STREAMING, ""),
        (SourceState.RECONNECTING, "no answer in time"),
        (SourceState.RECONNECTING, "rtsp://user:secret@cam/1 refused"),
        (SourceState.STREAMING, ""),
    ]:
        clock.now += 1.0
        heartbeat.beat(dataclasses.replace(snapshot(), source=SourceReport(state=state, reason=reason)))
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert lines == [
        ("DEBUG", "the source is connecting"),
        ("DEBUG", "the source is streaming"),
        ("WARNING", "the source is stalled: no picture for 10 s"),
        ("INFO", "the source is streaming"),
        ("DEBUG", "the source is reconnecting: no answer in time"),
        ("DEBUG", "the source is reconnecting: rtsp://***@cam/1 refused"),
        ("DEBUG", "the source is streaming"),
    ]


def test_that_the_engine_is_ready_and_has_its_first_frame_is_told_at_once(task_dir: Path) -> None:
    heartbeat = Heartbeat(task_dir, "key", clock=FakeClock())
    told = []
    for ready, frames in ((False, 0), (True, 0), (True, 2), (True, 3)):
        heartbeat.beat(dataclasses.replace(snapshot(frames=frames), ready=ready))
        told.append((status_in(task_dir).ready, status_in(task_dir).frames))
    assert told == [(False, 0), (True, 0), (True, 2), (True, 2)]


def test_it_beats_twice_a_second_and_not_more_often(task_dir: Path) -> None:
    clock = FakeClock()
    heartbeat = Heartbeat(task_dir, "key", clock=clock)
    for frames in range(1, 12):
        heartbeat.beat(snapshot(frames=frames))
        clock.now += 0.1
    assert status_in(task_dir).frames == 11
    heartbeat.beat(snapshot(frames=99))
    assert status_in(task_dir).frames == 11


def test_an_engine_that_hangs_falls_silent_until_it_goes_on(task_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    heartbeat = Heartbeat(task_dir, "key", clock=clock)
    heartbeat.beat(snapshot(frames=1))
    for _ in range(3):
        clock.now += 1.0
        heartbeat.beat(snapshot(frames=2), "element 3 'yolox' has worked on one frame for 31 s")
    assert status_in(task_dir).frames == 1
    assert caplog.text.count("element 3 'yolox' has worked on one frame for 31 s; no heartbeat") == 1
    clock.now += 1.0
    heartbeat.beat(snapshot(frames=3))
    assert status_in(task_dir).frames == 3


@pytest.mark.parametrize(("run", "frames", "start_loop"), [("key", 107, 3), ("other", 7, 0), ("", 7, 0)])
def test_counting_goes_on_after_a_crash_of_the_same_run(task_dir: Path, run: str, frames: int, start_loop: int) -> None:
    EngineStatus(run="key" if run else "", frames=100, loop=4).write(task_dir / ENGINE_FILE)
    heartbeat = Heartbeat(task_dir, run)
    assert heartbeat.start_loop == start_loop
    heartbeat.beat(None)
    assert status_in(task_dir).loop == start_loop
    heartbeat.last(snapshot(frames=7, loop=start_loop), "why: rtsp://user:secret@cam")
    status = status_in(task_dir)
    assert (status.frames, status.loop, status.error) == (frames, start_loop, "why: rtsp://***@cam")


def test_a_status_file_that_cannot_be_read_starts_anew(task_dir: Path) -> None:
    (task_dir / ENGINE_FILE).write_text("no json")
    assert Heartbeat(task_dir, "key").start_loop == 0


def test_without_a_task_folder_nothing_is_written(tmp_path: Path) -> None:
    heartbeat = Heartbeat(None, "")
    heartbeat.beat(snapshot())
    heartbeat.last(None, "error")
    assert list(tmp_path.iterdir()) == []


def test_fps_is_the_rate_of_the_last_seconds() -> None:
    meter = FpsMeter()
    rates = [meter.update(second, 10 * second) for second in range(10)]
    assert rates == [0.0, *[10.0] * 9]
    assert [meter.update(10 + second, 90) for second in range(6)][-1] == 0.0
