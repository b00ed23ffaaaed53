"""How many live cameras two cores hold."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bench.clips import RATE, street_1080p
from bench.floor import decode_ms, infer_ms
from bench.measuring import cpu_s, machine_idle_s, median
from bench.running import Running, Sample, house, weights
from bench.servers import camera_of
from bench.table import Row, Say
from tests.e2e.harness import Server, ledger, task
from tests.servers.rtsp import RtspServer

TITLE = "Live cameras"
ABOUT = """\
RTSP cameras over TCP, 1080p25, H.264 at 4 Mb/s, each from a GStreamer server of its own on the same machine; a
tripwire task of the real server for each, yolox_nano at 416 in every third frame (`DetectInterval` 3). A number of
cameras holds when every single one has at least 95 % of the frames processed that 25 / 3 a second ask for, over the
whole time. Eight are measured for `BENCH_LIVE_S` seconds (300 unless set); then two more at a time are tried for a
fifth of that (fewer, if eight do not hold; `--rounds 1` leaves this out). The cameras' servers use the same cores;
their CPU time is stated, and so is that of other programs: it has to be small for the figures to mean something. The
floor is the decoder alone for 25 frames and the network alone for 25 / 3, measured just before.

With one round there is one time window: the figures are of that, not medians."""

CAMERAS, MOST, STEP = 8, 20, 2
INTERVAL = 3
SHARE_PCT = 95.0
_INFER_RUNS = 200
_WARM_UP_FRAMES = 50
_SETTLE_S = 5.0
_SEARCH_PART = 5


@dataclass(frozen=True, slots=True)
class Window:
    """What happened in a window of time.

    Attributes:
        shares_pct: of each camera, the frames processed of those that its rate asks for.
        engine_pct: CPU of an engine, as a share of one core; median of all.
        client_pct: the same of a client.
        servers_pct: CPU of the cameras' servers together, as a share of one core.
        others_pct: CPU of all other programs of the machine, as a share of one core.
        idle_pct: of the machine.
    """

    shares_pct: tuple[float, ...]
    engine_pct: float
    client_pct: float
    servers_pct: float
    others_pct: float
    idle_pct: float

    @property
    def held(self) -> bool:
        """Every camera has its frames."""
        return min(self.shares_pct) >= SHARE_PCT


class Cameras:
    """Cameras with a task each; more of them, or fewer, as asked."""

    def __init__(self, one: Server, report_url: str) -> None:
        self._server = one
        self._url = report_url
        self._pairs: list[tuple[ExitStack, RtspServer, Running]] = []

    def be(self, count: int) -> None:
        """Starts or ends some, so that there are ``count`` and all of them run."""
        while len(self._pairs) > count:
            self._pairs.pop()[0].close()
        while len(self._pairs) < count:
            self._pairs.append(self._one_more(len(self._pairs)))
        for _, _, running in self._pairs:
            running.wait_frames(_WARM_UP_FRAMES)
        time.sleep(_SETTLE_S)

    def _one_more(self, number: int) -> tuple[ExitStack, RtspServer, Running]:
        with ExitStack() as stack:
            camera = stack.enter_context(RtspServer(camera_of(street_1080p()), transports=("tcp",)))
            body = task(f"camera-{number}", camera.url, self._url, line=(0, 500, 1920, 500), interval=INTERVAL)
            running = stack.enter_context(Running(self._server, body))
            return stack.pop_all(), camera, running

    def watch(self, seconds: float) -> Window:
        """Lets them run."""
        cameras, tasks = [camera.pid for _, camera, _ in self._pairs], [running for _, _, running in self._pairs]
        start, served_s, idle_s, at_s = self._samples(tasks), cpu_s(cameras), machine_idle_s(), time.monotonic()
        time.sleep(seconds)
        end, passed_s = self._samples(tasks), time.monotonic() - at_s
        done = [after - before for before, after in zip(start, end, strict=True)]
        served_s, idle_s = cpu_s(cameras) - served_s, machine_idle_s() - idle_s
        of_tasks_s = sum(one.engine_s + one.client_s for one in done)
        cores = os.cpu_count() or 1
        return Window(
            tuple(100 * one.frames / (one.moment_s * RATE / INTERVAL) for one in done),
            100 * median(one.engine_s / one.moment_s for one in done),
            100 * median(one.client_s / one.moment_s for one in done),
            100 * served_s / passed_s,
            max(0.0, 100 * (cores - (idle_s + served_s + of_tasks_s) / passed_s)),
            100 * idle_s / passed_s / cores,
        )

    @staticmethod
    def _samples(tasks: Sequence[Running]) -> list[Sample]:
        return [running.sample() for running in tasks]

    def close(self) -> None:
        """Ends all."""
        while self._pairs:
            self._pairs.pop()[0].close()


@contextmanager
def _cameras() -> Iterator[Cameras]:
    with ledger() as receiver, house() as one:
        cameras = Cameras(one, receiver.url)
        try:
            yield cameras
        finally:
            cameras.close()


def measure(rounds: int, say: Say) -> list[Row]:
    """Eight cameras for the whole time, then as many as there can be."""
    clip, seconds = street_1080p(), float(os.environ.get("BENCH_LIVE_S", "300"))
    floor_ms = RATE * decode_ms(clip) + RATE / INTERVAL * infer_ms(weights("yolox_nano.onnx"), clip, _INFER_RUNS)
    with _cameras() as cameras:
        cameras.be(CAMERAS)
        window = cameras.watch(seconds)
        say(f"{CAMERAS}: {window}")
        rows = _rows(window, seconds, floor_pct=floor_ms / 10)
        if rounds > 1:
            rows.append(_largest(cameras, window, seconds / _SEARCH_PART, say))
    return rows


def _rows(window: Window, seconds: float, *, floor_pct: float) -> list[Row]:
    busy = f"cameras' servers {window.servers_pct:.0f} % of a core, other programs {window.others_pct:.0f} %"
    row = functools.partial(Row, unit="%")
    return [
        row(
            measure=f"{CAMERAS} cameras, {seconds:.0f} s: processed of the frames asked for, the least of all",
            value=min(window.shares_pct),
            limit=SHARE_PCT,
            limit_of="value",
            sense="at least",
            remark=f"{busy}; machine idle {window.idle_pct:.0f} %",
        ),
        row(
            measure="engine, CPU of a core per camera",
            value=window.engine_pct,
            yardstick="decoder + network alone",
            reference=floor_pct,
            remark=f"client {window.client_pct:.2g} %",
        ),
    ]


def _largest(cameras: Cameras, window: Window, seconds: float, say: Say) -> Row:
    """Goes up from what held, or down from what did not."""
    count, step, held = CAMERAS, STEP if window.held else -1, CAMERAS if window.held else 0
    tried = [f"{count}: {min(window.shares_pct):.0f} %"]
    while 0 < count + step <= MOST:
        count += step
        cameras.be(count)
        window = cameras.watch(seconds)
        say(f"{count}: {window}")
        tried.append(f"{count}: {min(window.shares_pct):.0f} %, idle {window.idle_pct:.0f} %")
        if window.held:
            held = count
        if window.held is (step < 0):
            break
    return Row(
        measure="most cameras that hold",
        value=held,
        unit="cameras",
        limit=CAMERAS,
        limit_of="value",
        sense="at least",
        remark=f"least share with {'; '.join(tried)}",
    )
