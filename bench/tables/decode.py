"""What reading costs beyond the decoder when only some of the frames are looked at."""

from __future__ import annotations

import functools

from bench.clips import street_1080p
from bench.floor import decode_ms, opencv_ms, reader_ms
from bench.measuring import in_turns, median, spread, telling
from bench.table import Row, Say

TITLE = "Reading: one frame in five"
ABOUT = """\
The 1080p clip by our reader (`streamserver.media.sources`, as the engine uses it, without pacing): every frame decoded,
one in five letterboxed to 416 as for a detector, the others given up. In a process of its own, one thread, with the
allocator settings that the server gives its engines; its start and the first 20 frames do not count.

Yardsticks: PyAV decoding the same clip and doing nothing with the frames, and OpenCV's VideoCapture with one thread,
every frame grabbed, one in five retrieved and letterboxed."""

INTERVAL = 5
LIMIT = 1.08


def measure(rounds: int, say: Say) -> list[Row]:
    """Reader, decoder and OpenCV in turns."""
    clip = street_1080p()
    subjects = {
        "decoder": functools.partial(decode_ms, clip),
        "reader": functools.partial(reader_ms, clip, INTERVAL),
        "every": functools.partial(reader_ms, clip, 1),
        "opencv": functools.partial(opencv_ms, clip, INTERVAL),
    }
    found = in_turns(rounds, {name: telling(name, subject, say) for name, subject in subjects.items()})
    sampled, decoder = found["reader"], median(found["decoder"])
    against = functools.partial(Row, unit="ms", yardstick="decoder alone", reference=decoder)
    return [
        against(measure="reader, 1 in 5, CPU per frame", value=median(sampled), limit=LIMIT, remark=spread(sampled)),
        against(measure="reader, every frame looked at", value=median(found["every"]), remark=spread(found["every"])),
        Row(
            measure="reader, 1 in 5, CPU per frame",
            value=median(sampled),
            unit="ms",
            yardstick="OpenCV, one thread",
            reference=median(found["opencv"]),
            remark=spread(found["opencv"]),
        ),
    ]
