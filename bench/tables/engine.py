"""What the engine costs per frame beyond the decoder and the network, and against a peer with the same network."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from bench.clips import FRAMES, street_1080p
from bench.floor import decode_ms, infer_ms
from bench.measuring import Memory, in_turns, median, spread, telling
from bench.peers import MANNERS, Peer, streamvision
from bench.running import Running, Sample, house, short, weights
from bench.table import Row, Say
from tests.e2e.harness import Server, ledger, task

TITLE = "Engine: every frame inferred"
ABOUT = """\
Engine: a task of the real server (tripwire: decode, detect, track, filter, push to its client), the 1080p clip as
fast as it goes, yolox_nano at 416 in every frame with threshold 0.5; CPU time of the engine's process between two of
its status reports, so that its start does not count.

Floor: PyAV decoding the same clip and doing nothing with the frames, and ONNX Runtime running the same file on a
frame of the clip, one thread each, spinning off, each in a process of its own.

Peer: streamvision 0.1.4 (Roboflow's InferencePipeline) in an environment of its own, with a model handler of ours
that does what our detector does (letterbox, blobFromImage, run, boxes of the cells above the threshold, NMS), the
same file and the same ONNX Runtime. *Detection only*: one thread for OpenCV, its decoder and ONNX Runtime, 4 decoded
frames in its buffer (its 64 cost no less time and much memory), our engine's allocator settings; it neither tracks
nor watches a line nor tells anybody. *Detect, track, line*: the same with ByteTrack and LineZone of supervision,
which comes with it. *As it comes*: detection only, with its own reader, OpenCV's threads, its buffer and glibc's
allocator as they are by default. It is measured inside, from its 50th frame to its 430th. With `BENCH_SHORT=1` the
peer is left out."""

MODEL = "yolox_nano.onnx"
CONF = 0.5
FLOOR_LIMIT = 1.20
PEER_LIMIT = 0.80
_PEER = "streamvision 0.1.4"
_INFER_RUNS = 200
_WARM_UP_FRAMES = 50


def measure(rounds: int, say: Say) -> list[Row]:
    """Engine, floor and peer in turns."""
    clip, model = street_1080p(), weights(MODEL)
    frames = 300 if short() else 2 * FRAMES
    numbers = itertools.count()
    with ledger() as receiver, house() as one:
        subjects: dict[str, Callable[[], Any]] = {
            "engine": lambda: _engine(one, receiver.url, next(numbers), frames),
            "decode": lambda: decode_ms(clip),
            "infer": lambda: infer_ms(model, clip, _INFER_RUNS),
        }
        if not short():
            peer = streamvision(say)
            subjects |= {manner: functools.partial(peer.run, clip, model, CONF, manner) for manner in MANNERS}
        found = in_turns(rounds, {name: telling(name, subject, say) for name, subject in subjects.items()})
    return [*_against_floor(found), *([] if short() else _against_peer(found))]


def _engine(one: Server, url: str, number: int, frames: int) -> tuple[Sample, Memory, Memory]:
    body = task(f"engine-{number}", str(street_1080p()), url, line=(0, 500, 1920, 500), extend={"Fps": -1, "Loop": 0})
    with Running(one, body) as running:
        running.wait_frames(_WARM_UP_FRAMES)
        before = running.sample()
        running.wait_frames(before.frames + frames)
        return running.sample() - before, *running.memory()


def _against_floor(found: dict[str, list[Any]]) -> list[Row]:
    samples: Sequence[Sample] = [sample for sample, _, _ in found["engine"]]
    engine_ms = [sample.engine_ms for sample in samples]
    both_ms = [sample.engine_ms + sample.client_ms for sample in samples]
    floor = median(map(sum, zip(found["decode"], found["infer"], strict=True)))
    halves = f"decoder {median(found['decode']):.3g} + network {median(found['infer']):.3g}"
    wall = f"{median(sample.wall_ms for sample in samples):.3g} ms wall"
    against = functools.partial(Row, unit="ms", yardstick=halves, reference=floor)
    return [
        against(
            measure="engine, CPU per frame",
            value=median(engine_ms),
            limit=FLOOR_LIMIT,
            remark=f"{spread(engine_ms)}; {wall}",
        ),
        against(measure="engine and its client, CPU per frame", value=median(both_ms), remark=spread(both_ms)),
    ]


def _against_peer(found: dict[str, list[Any]]) -> list[Row]:
    engine_ms = median(sample.engine_ms for sample, _, _ in found["engine"])
    rows = []
    for manner, what in MANNERS.items():
        runs: Sequence[Peer] = found[manner]
        rows.append(
            Row(
                measure="engine, CPU per frame",
                value=engine_ms,
                unit="ms",
                yardstick=f"{_PEER}, {what}",
                reference=median(run.cpu_ms for run in runs),
                limit=PEER_LIMIT if manner == "detect" else None,
                remark=f"peer {spread([run.cpu_ms for run in runs])}; {median(r.wall_ms for r in runs):.3g} ms wall",
            )
        )
    return [*rows, _memory(found)]


def _memory(found: dict[str, list[Any]]) -> Row:
    engines, clients = ([run[i] for run in found["engine"]] for i in (1, 2))
    peers: Sequence[Peer] = found["detect"]
    rss = f"RSS {median(one.rss for one in engines):.0f} and {median(one.rss for one in clients):.0f} MB"
    return Row(
        measure="engine and its client, PSS",
        value=median(engine.pss + client.pss for engine, client in zip(engines, clients, strict=True)),
        unit="MB",
        yardstick=f"{_PEER}, {MANNERS['detect']}",
        reference=median(peer.pss_mb for peer in peers),
        remark=f"{rss}; peer's {median(peer.rss_mb for peer in peers):.0f} MB",
    )
