"""The one-by-one clip as a camera shows it: over RTSP, once from beginning to end, in one piece or in several."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests import assets
from tests.e2e.harness import Server, task, wait_for
from tests.servers.clips import Clip
from tests.servers.packages import needs
from tests.servers.ports import free_port
from tests.servers.rtsp import RtspServer

FRAMES = 1394
SIZE_WH = (768, 432)
WHOLE = ((0, FRAMES),)
IN_THREE = ((0, 480), (480, 905), (905, FRAMES))
"""Cut where nobody is in the picture: the six are there in frames 70-200, 230-450, 510-700, 750-870, 940-1360."""

_STILL_BEFORE, _STILL_AFTER = 30, 600
"""Frames of nobody moving around a piece: the server goes round, and must not come so far."""

_LATE_FRAMES = 150
"""How far the analysis must be beyond a piece's end: its status is half a second old."""


def piece(folder: Path, start: int, end: int, *, fps: int) -> Clip:
    """Frames ``start`` to ``end`` of the clip, every one of them, at ``fps`` frames a second."""
    needs("ffmpeg")
    source = assets.clip("one-by-one-person-detection.mp4")
    path = folder / f"{start}_{end}_{fps}.h264"
    filters = (
        f"trim=start_frame={start}:end_frame={end},tpad=start={_STILL_BEFORE}:start_mode=clone:"
        f"stop={_STILL_AFTER}:stop_mode=clone,setpts=N/({fps}*TB)"
    )
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", str(source), "-an", "-vf", filters, "-r", str(fps)]
    encoder = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "18", "-g", str(fps)]
    aud = ["-x264-params", "aud=1:bframes=0:scenecut=0", "-f", "h264", str(path)]
    subprocess.run([*command, *encoder, *aud], check=True, timeout=300)
    return Clip(path, path, "h264", SIZE_WH, fps, _STILL_BEFORE + end - start + _STILL_AFTER)


def crossing_task(task_id: str, address: str, report_url: str, **options: Any) -> dict[str, Any]:
    """The main job's task: who crosses the middle to the right."""
    return task(task_id, address, report_url, line=(580, 0, 580, 431), direction=(60, 0), interval=3, **options)


def play_through(
    one: Server,
    task_id: str,
    report_url: str,
    pieces: Sequence[Clip],
    *,
    between: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Runs a task on a camera that shows ``pieces`` one after another, killed after each; what was said of it last.

    Args:
        one: the server that runs the task.
        task_id: the new task's name.
        report_url: where its alarms go.
        pieces: what is shown.
        between: called while the camera is away, before it comes back.
    """
    port = free_port()
    for number, clip in enumerate(pieces):
        with RtspServer(clip, port=port) as camera:
            camera.mode("still")
            if number == 0:
                assert one.create(crossing_task(task_id, camera.url, report_url))["Code"] == 0
            streams = functools.partial(_streams, one, task_id, number)
            wait_for(streams, f"{task_id}: piece {number} streams", lambda: one.query(task_id))
            _let_pass(one, task_id, camera, clip)
        wait_for(lambda: one.query(task_id)["Source"] == "reconnecting", "the kill is seen", lambda: one.query(task_id))
        if number < len(pieces) - 1:
            between()
    return one.query(task_id)


def _streams(one: Server, task_id: str, reconnects: int) -> bool:
    status = one.query(task_id)
    return bool(status["Source"] == "streaming" and status["Reconnects"] == reconnects and status["Fps"] > 0)


def _let_pass(one: Server, task_id: str, camera: RtspServer, clip: Clip) -> None:
    """Plays until the whole piece has been analysed."""
    before = _seen(one.query(task_id))
    camera.mode("play")
    frames = clip.frames - _STILL_AFTER + _LATE_FRAMES
    wait_for(lambda: _seen(one.query(task_id)) - before >= frames / 3, f"{task_id}: the piece has passed")


def _seen(status: dict[str, Any]) -> int:
    """Every third frame of the stream so far: those that were analysed and those that came too fast."""
    return int(status["Frames"] + status["Dropped"])
