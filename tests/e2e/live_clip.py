"""The one-by-one clip as a camera shows it: over RTSP, once from beginning to end, in one piece or in several."""

from __future__ import annotations

import functools
import subprocess
import time
from collections.abc import Sequence
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
FILMED_FPS = 10
WHOLE = ((0, FRAMES),)
IN_THREE = ((0, 480), (480, 905), (905, FRAMES))
"""Cut where nobody is in the picture: the six are there in frames 70-200, 230-450, 510-700, 750-870, 940-1360."""

_LINE, _TO_THE_RIGHT, _INTERVAL = (580, 0, 580, 431), (60, 0), 3
"""The main job: who crosses the middle to the right."""

_LATE_FRAMES = 60
"""So many more frames must have been analysed once the last was sent: the count that we see may be a little old."""

_LEAST_AHEAD, _MOST_AHEAD = _INTERVAL, 3 * _INTERVAL
"""The camera is no more frames ahead of what the engine has told, which it does twice a second: so many are lost at
most while the machine stands still, and a person is lost with a dozen. Once some were left out it waits for each that
is analysed, and dares more little by little.
"""

_PAUSE_S = 3.0
_HUNGRY_S = 4.0
"""An engine that waits so long for a picture while the camera waits for it has lost some that it does not count."""

PATIENT = {"STREAMSERVER_STALLED_AFTER_S": "600", "STREAMSERVER_FROZEN_AFTER_S": "0"}
"""For a server that watches a camera which waits for it."""

_PATIENCE_S = 1200.0
_SLOWER, _FASTER = 0.5, 1.08
"""Per half second with frames that were left out, and without."""

_DELIMITER = b"\x00\x00\x00\x01\x09"


def pieces_of(folder: Path, parts: Sequence[tuple[int, int]]) -> list[Clip]:
    """The clip, every frame of it, cut before and after the frames of each of ``parts``."""
    needs("ffmpeg")
    source, path = assets.clip("one-by-one-person-detection.mp4"), folder / f"in_{len(parts)}.h264"
    keys = "+".join(f"eq(n,{start})" for start in {start for start, _ in parts})
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", str(source), "-an", "-force_key_frames", f"expr:{keys}"]
    encoder = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "22", "-g", "25", "-forced-idr", "1"]
    aud = ["-x264-params", "aud=1:bframes=0:scenecut=0", "-f", "h264", str(path)]
    subprocess.run([*command, *encoder, *aud], check=True, timeout=300)
    units = [_DELIMITER + unit for unit in path.read_bytes().split(_DELIMITER) if unit]
    assert len(units) == FRAMES
    return [_piece(folder, units, *part) for part in parts]


def _piece(folder: Path, units: Sequence[bytes], start: int, end: int) -> Clip:
    path = folder / f"{start}_{end}.h264"
    path.write_bytes(b"".join(units[start:end]))
    return Clip(path, path, "h264", SIZE_WH, FILMED_FPS, end - start)


def play_through(
    one: Server,
    task_id: str,
    report_url: str,
    pieces: Sequence[Clip],
    *,
    fps: tuple[float, float] = (FILMED_FPS, FILMED_FPS),
) -> dict[str, Any]:
    """Runs a task on a camera that shows ``pieces`` one after another, killed after each; what was said of it last.

    Args:
        one: the server that runs the task.
        task_id: the new task's name.
        report_url: where its alarms go.
        pieces: what is shown.
        fps: the camera's slowest and fastest pace; it is as fast as the engine keeps up with.
    """
    port = free_port()
    for number, clip in enumerate(pieces):
        with RtspServer(clip, port=port) as camera:
            camera.mode("still")
            if number == 0:
                body = task(task_id, camera.url, report_url, line=_LINE, direction=_TO_THE_RIGHT, interval=_INTERVAL)
                assert one.create(body)["Code"] == 0
            streams = functools.partial(_streams, one, task_id, number)
            wait_for(streams, f"{task_id}: piece {number} streams", lambda: one.query(task_id))
            show = _Show(one, task_id, camera, fps)
            wait_for(show.is_over, f"{task_id}: piece {number}", lambda: one.query(task_id), _PATIENCE_S)
        wait_for(lambda: one.query(task_id)["Source"] == "reconnecting", "the kill is seen", lambda: one.query(task_id))
    return one.query(task_id)


class _Show:
    """A camera shows its clip once, at the pace that the engine keeps up with, and never far ahead of it."""

    def __init__(self, one: Server, task_id: str, camera: RtspServer, fps: tuple[float, float]) -> None:
        self._one, self._task_id, self._camera = one, task_id, camera
        self._slowest, self._fastest = fps
        self._fps = max(self._slowest, self._fastest / 2)
        assert camera.clip is not None
        self._frames = camera.clip.frames
        camera.hold(0)
        camera.mode("once")
        self._status = one.wait_status(task_id, self._has_paused, "all that was sent before is analysed")
        self._first = self._passed(self._status)
        self._ahead: float = _LEAST_AHEAD
        self._uncounted, self._fed_at = 0, time.monotonic()
        self._end: float | None = None
        camera.pace(self._fps)

    @staticmethod
    def _has_paused(status: dict[str, Any]) -> bool:
        """Whether the engine has got no picture for so long that it has told of all that it had."""
        return (status["FrameAge"] or 0.0) > _PAUSE_S

    def is_over(self) -> bool:
        """True once the whole clip has been shown, and what came after it has been analysed."""
        before, now = self._status, self._one.query(self._task_id)
        shown = (self._passed(now) - self._first) * _INTERVAL
        if self._passed(now) > self._passed(before):
            factor = _SLOWER if now["Dropped"] > before["Dropped"] else _FASTER
            self._fps = min(self._fastest, max(self._slowest, self._fps * factor))
            self._ahead = min(_MOST_AHEAD, self._ahead * factor) if factor > 1 else _LEAST_AHEAD
            self._fed_at = time.monotonic()
            self._camera.pace(self._fps)
        elif (now["FrameAge"] or 0.0) > _HUNGRY_S and time.monotonic() - self._fed_at > _HUNGRY_S:
            self._uncounted += _INTERVAL
            self._fed_at = time.monotonic()
        self._camera.hold(shown + self._uncounted + round(self._ahead))
        self._status = now
        if self._end is None and shown + self._uncounted >= self._frames - _MOST_AHEAD and self._is_shown():
            self._end = self._passed(now) + _LATE_FRAMES / _INTERVAL
        return self._end is not None and self._passed(now) >= self._end

    def _is_shown(self) -> bool:
        """Whether the camera has sent its last picture."""
        return any(place == self._frames - 1 for place, _ in self._camera.sent)

    @staticmethod
    def _passed(status: dict[str, Any]) -> int:
        """Every third frame of the stream so far: those that were analysed and those that came too fast."""
        return int(status["Frames"] + status["Dropped"])


def _streams(one: Server, task_id: str, reconnects: int) -> bool:
    status = one.query(task_id)
    return bool(status["Source"] == "streaming" and status["Reconnects"] == reconnects and status["Fps"] > 0)
