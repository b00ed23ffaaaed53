"""What a task says of a GB28181 camera whose platform refuses, is silent or hangs up: rows of ``bench.live_faults``."""

from __future__ import annotations

import time

from bench.camera_watch import SEEN_S, Bench, Row, reconnecting
from tests.media.gb28181.device import Device, Faults
from tests.media.gb28181.ps_muxer import read_clip

_UNTIL_BYE_FRAMES = 40
_ANSWER_S = 10.0
"""Our patience with one request."""


def _device(bench: Bench, faults: Faults) -> Device:
    return Device(read_clip(bench.clip.path), speed=1.0, faults=faults)


def forbidden(bench: Bench) -> Row:
    """The platform answers INVITE with 403, until it is told to allow it."""
    row = Row("GB28181: device answers 403", "reconnecting, 403", SEEN_S)
    with _device(bench, Faults(refuse=403)) as device, bench.watch("gb forbidden", device.address()) as watch:
        watch.sees(row, reconnecting("403"))
        device.faults.refuse = 0
        watch.is_back(row, time.monotonic())
    return row


def silent(bench: Bench) -> Row:
    """INVITE is never answered; then it is."""
    row = Row("GB28181: device never answers", "reconnecting", _ANSWER_S + SEEN_S)
    with _device(bench, Faults(silent=True)) as device, bench.watch("gb silent", device.address()) as watch:
        watch.sees(row, reconnecting("answer"))
        device.faults.silent = False
        watch.is_back(row, time.monotonic())
    return row


def hangs_up(bench: Bench) -> Row:
    """BYE comes in the middle of the stream."""
    row = Row("GB28181: BYE in the middle", "reconnecting, or already back", SEEN_S)
    with (
        _device(bench, Faults(bye_after=_UNTIL_BYE_FRAMES)) as device,
        bench.watch("gb bye", device.address()) as watch,
    ):
        watch.waits_for(lambda status: status["Source"] == "streaming")
        status = watch.waits_for(lambda status: status["Source"] == "reconnecting" or status["Reconnects"] > 0)
        last_picture = time.monotonic() - status["FrameAge"] + 0.1  # tenths of a second
        watch.sees(row, lambda status: status["Source"] == "reconnecting" or status["Reconnects"] > 0, last_picture)
        watch.is_back(row, last_picture)
    return row


FAULTS = (forbidden, silent, hangs_up)
