"""Idle cameras behind the motion gate: what one costs, how many there may be, and whether an alarm is lost."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from bench.clips import cache_dir
from bench.idle_clips import CARS, ONE_BY_ONE, STREET, Scene, empty_scene_1080p, with_idle_time
from bench.measuring import cpu_s, in_turns, median, memory_mb, spread
from bench.running import Running, house, short
from bench.table import Row, Say
from tests.e2e.harness import Ledger, Server, ledger, task, wait_for
from tests.servers.clips import Clip
from tests.servers.rtsp import RtspServer

TITLE = "Idle cameras: the motion gate"
ABOUT = """\
Cameras in front of which nothing moves: a street without anybody, 1080p25 H.264 at 4 Mb/s with a sensor's noise and a
key frame every 2 s, over RTSP (TCP) from GStreamer's server in a process of its own, whose CPU time is not ours and is
stated. Tasks of the real server (tripwire, yolox_nano at 416, DetectInterval 3) with `Extend.Gate: "motion"`; the
yardstick is the same task without it, both after the gate had time to close. CPU time is that of engine and client.

Forty of them, for a minute: alive are those whose source streams, whose gate is idle and which have analysed a picture
of each key frame, without a restart, a reconnect or a stall. How long a picture waits tells `FrameAge`.

Alarms: clips of people and cars with a minute in which nothing happens (their empty background with new noise, so
re-encoded) before each of the events, as fast as it goes; what the same task tells without the gate is the
yardstick."""

_CAMERAS = 40
_WATCH_S = 60.0
_ONE_S = 20.0
_CLOSED_S = 90.0
_PATIENCE_S = 300.0
_LINE = (0, 500, 1920, 500)
_GATE = {"Gate": "motion"}


def measure(rounds: int, say: Say) -> list[Row]:
    """One camera each way in turns, then all at once, then the alarms of the clips."""
    rows: list[Row] = []
    with ledger() as receiver, house(STREAMSERVER_CONNECTS_PER_S="5") as one:
        with RtspServer(_as_clip()) as camera:
            found = in_turns(
                rounds,
                {
                    "all": lambda: _one_camera(one, camera.url, receiver.url, {}),
                    "gate": lambda: _one_camera(one, camera.url, receiver.url, _GATE),
                },
            )
            rows.append(_against_all(found))
            say(str(rows[-1].cells()))
            rows += _many(one, camera, receiver.url, 8 if short() else _CAMERAS, say)
        for scene in (ONE_BY_ONE, CARS, STREET):
            rows.append(_alarms(one, receiver, scene))
            say(str(rows[-1].cells()))
    return rows


def _as_clip() -> Clip:
    import av

    path = empty_scene_1080p()
    elementary = cache_dir() / f"{path.stem}.h264"
    if not elementary.is_file():
        part = elementary.with_suffix(".part")
        with av.open(str(path)) as reader, part.open("wb") as file:
            filtered = av.BitStreamFilterContext("h264_mp4toannexb,h264_metadata=aud=insert", reader.streams.video[0])
            for packet in reader.demux(video=0):
                file.writelines(bytes(made) for made in filtered.filter(packet if packet.size else None))
        part.replace(elementary)
    return Clip(path, elementary, "h264", (1920, 1080), 25, 500)


def _body(task_id: str, address: str, url: str, extend: dict[str, Any]) -> dict[str, Any]:
    return task(task_id, address, url, line=_LINE, direction=(0, 60), interval=3, extend=extend)


def _one_camera(one: Server, address: str, url: str, extend: dict[str, Any]) -> float:
    """CPU milliseconds a second of one camera's two processes."""
    with Running(one, _body(f"one-{time.monotonic_ns()}", address, url, extend)) as running:
        running.wait_frames(10)
        if extend:
            wait_for(lambda: running.status().gate == "idle", "the gate closes", running.status, _CLOSED_S)
        before = running.sample()
        time.sleep(_ONE_S)
        spent = running.sample() - before
        return (spent.engine_s + spent.client_s) / spent.moment_s * 1000


def _against_all(found: dict[str, list[Any]]) -> Row:
    return Row(
        measure="CPU of one idle camera, a second of it",
        value=median(found["gate"]),
        unit="ms",
        yardstick="the same, everything decoded",
        reference=median(found["all"]),
        remark=f"{spread(found['gate'])} against {spread(found['all'])}",
    )


def _many(one: Server, camera: RtspServer, url: str, count: int, say: Say) -> list[Row]:
    names = [f"idle-{number}" for number in range(count)]
    for name in names:
        reply = one.create(_body(name, camera.url, url, _GATE))
        assert reply["Code"] == 0, reply
    try:
        took_s = wait_for(lambda: _idle(one, names) == count, f"{count} idle", lambda: _idle(one, names), _PATIENCE_S)
        say(f"{count} cameras are idle after {took_s:.0f} s")
        before, pids = {name: one.query(name) for name in names}, list(one.processes())
        start, spent, server_s = time.monotonic(), cpu_s(pids, children=True), cpu_s([camera.pid])
        oldest_s = _watch(one, names)
        passed_s = time.monotonic() - start
        cpu_share = (cpu_s(pids, children=True) - spent) / passed_s
        served = (cpu_s([camera.pid]) - server_s) / passed_s
        alive = sum(_is_alive(before[name], one.query(name), passed_s) for name in names)
        memory = memory_mb(pids)
    finally:
        for name in names:
            one.post("/task/delete", {"TaskID": name})
    wait_for(lambda: not one.post("/task/list", {})["Result"], "all are deleted", patience_s=_PATIENCE_S)
    each = f"with supervisor and web; {cpu_share / count * 1000:.3g} ms a second and camera"
    return [
        Row(
            measure="idle cameras at once, alive all the time",
            value=alive,
            unit=f"of {count}",
            limit=count,
            limit_of="value",
            sense="at least",
            remark=f"for {passed_s:.0f} s; their pictures were at most {oldest_s:.1f} s old",
        ),
        Row(
            measure=f"CPU of {count} idle cameras",
            value=cpu_share,
            unit="cores",
            remark=f"{each}; the RTSP server takes {served:.3g} cores beside them",
        ),
        Row(measure=f"PSS of {count} idle cameras, each", value=memory.pss / count, unit="MB", remark="both processes"),
    ]


def _idle(one: Server, names: Sequence[str]) -> int:
    found = {entry["TaskID"]: entry for entry in one.post("/task/list", {})["Result"]}
    return sum(name in found and found[name]["Gate"] == "idle" for name in names)


def _watch(one: Server, names: Sequence[str]) -> float:
    """Waits a minute; how old a picture of any camera was at most."""
    until, oldest_s = time.monotonic() + (15 if short() else _WATCH_S), 0.0
    while time.monotonic() < until:
        time.sleep(1.0)
        found = [entry for entry in one.post("/task/list", {})["Result"] if entry["TaskID"] in names]
        oldest_s = max([oldest_s, *(math.inf if e["FrameAge"] is None else e["FrameAge"] for e in found)])
    return oldest_s


def _is_alive(before: dict[str, Any], now: dict[str, Any], passed_s: float) -> bool:
    same = all(before[key] == now[key] for key in ("Restarts", "Reconnects", "Stalls", "BrokenPackets"))
    pictures = now["Frames"] - before["Frames"]
    return same and (now["Source"], now["Gate"]) == ("streaming", "idle") and pictures >= math.floor(passed_s / 2) - 2


def _finished(one: Server, name: str) -> dict[str, Any]:
    wait_for(lambda: one.query(name).get("State") == "FINISHED", name, lambda: one.query(name), _PATIENCE_S)
    return one.query(name)


def _alarms(one: Server, receiver: Ledger, scene: Scene) -> Row:
    clip = str(with_idle_time(scene, idle_s=12.0 if short() else 60.0))
    counts, cpu = [], []
    for extend in ({}, _GATE):
        name = f"alarms-{time.monotonic_ns()}"
        extra = {"Fps": -1, "Detector": scene.detector, **extend}
        body = task(name, clip, receiver.url, line=scene.line, direction=scene.direction, interval=3, extend=extra)
        body["Algorithm"][0] |= {"TargetSize": {"MinDetect": 1, "MaxDetect": 2000}}
        assert one.create(body)["Code"] == 0
        status = _finished(one, name)
        counts.append(status["Events"])
        cpu.append(status["Frames"])
        one.post("/task/delete", {"TaskID": name})
    return Row(
        measure=f"alarms of {scene.source}, a minute idle before each event",
        value=counts[1],
        unit="alarms",
        yardstick="the same without the gate",
        reference=counts[0],
        limit=1.0,
        sense="at least",
        remark=f"{cpu[1]} frames analysed instead of {cpu[0]}",
    )
