from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from streamserver.core.errors import SourceError
from streamserver.core.source_monitor import SourceMonitor
from streamserver.media.gate import GateSpec
from streamserver.media.gb28181.connection import Decoding
from streamserver.media.gb28181.decoding import AvDecoding
from streamserver.media.gb28181.opencv_decoding import OpenCvDecoding
from streamserver.media.gb28181.program_stream import Piece
from tests.media.gb28181.conftest import Recorded


@pytest.fixture(params=["av", "opencv"])
def decoding(request: pytest.FixtureRequest) -> Decoding:
    monitor = SourceMonitor()
    return AvDecoding(monitor.broken) if request.param == "av" else OpenCvDecoding(monitor.broken, threading.Event())


def pieces(recorded: Recorded, codec: str, count: int) -> list[tuple[str, Piece]]:
    return [(codec, Piece(unit.data, codec, unit.pts)) for unit in recorded.clip.units[:count]]


def test_another_codec_and_size_in_mid_stream_go_on(decoding: Decoding, h264: Recorded, hevc: Recorded) -> None:
    stream = [*pieces(h264, "h264", 20), *pieces(hevc, "hevc", 25), *pieces(h264, "h264", 10)]
    expected = [*h264.images_bgr[:20], *hevc.images_bgr[:25], *h264.images_bgr[:10]]
    words = []
    for decoded, image in zip(decoding.pictures(iter(stream)), expected, strict=True):
        assert np.array_equal(decoded.picture.bgr, image)
        words.append(decoding.video)
    assert sorted(set(words)) == ["h264 768x432", "hevc 384x216"]


def test_a_codec_that_cannot_be_decoded_is_named(decoding: Decoding) -> None:
    with pytest.raises(SourceError, match="SVAC"):
        list(decoding.pictures(iter([("SVAC", Piece(b"\x00\x00\x01x", "SVAC", 0))])))


def test_garbage_in_mid_stream_is_left_out(decoding: Decoding, h264: Recorded) -> None:
    noise = np.random.default_rng(1).integers(0, 256, 5000, dtype=np.uint8).tobytes()
    before, after = pieces(h264, "h264", 30), pieces(h264, "h264", 20)
    middle = [("h264", Piece(b"\x00\x00\x01\x41" + noise, "h264", None))] * 5
    images = [decoded.picture.bgr for decoded in decoding.pictures(iter([*before, *middle, *after]))]
    assert len(images) >= 45
    assert np.array_equal(images[-1], h264.images_bgr[19])


def test_data_without_an_end_of_a_picture_is_thrown_away(h264: Recorded) -> None:
    monitor = SourceMonitor()
    before, after = pieces(h264, "h264", 10), pieces(h264, "h264", 20)
    endless = [("h264", Piece(b"\x42" * (1 << 20), "h264", number)) for number in range(40)]
    images = [decoded.picture.bgr for decoded in AvDecoding(monitor.broken).pictures(iter([*before, *endless, *after]))]
    assert monitor.report().broken >= 2
    assert np.array_equal(images[-1], h264.images_bgr[19])


def test_why_the_video_ended_reaches_whoever_reads_it(decoding: Decoding, h264: Recorded) -> None:
    def broken_off() -> Iterator[tuple[str, Piece]]:
        yield from pieces(h264, "h264", 10)
        raise SourceError("no media has come for 15 s")

    with pytest.raises(SourceError, match="no media has come"):
        list(decoding.pictures(broken_off()))


def test_nothing_gives_no_picture(decoding: Decoding) -> None:
    assert list(decoding.pictures(iter([]))) == []
    assert decoding.video == ""


def test_pictures_are_due_when_the_stream_says(h264: Recorded) -> None:
    halves: list[tuple[str, Piece]] = []
    for unit in h264.clip.units[:20]:
        halves.append(("h264", Piece(unit.data[:100], "h264", unit.pts)))
        halves.append(("h264", Piece(unit.data[100:], "h264", None)))
    times = [decoded.time_s for decoded in AvDecoding(SourceMonitor().broken).pictures(iter(halves))]
    assert times == [pytest.approx(unit.pts / 90_000) for unit in h264.clip.units[:20]]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_behind_a_gate_the_pictures_are_those_of_full_decoding(codec: str, h264: Recorded, hevc: Recorded) -> None:
    recorded = h264 if codec == "h264" else hevc
    monitor = SourceMonitor()
    count = len(recorded.clip.units)
    decoding = AvDecoding(monitor.broken, gate=GateSpec(hold_s=1.0), monitor=monitor)
    given = list(decoding.pictures(iter(pieces(recorded, codec, count))))
    numbers = [decoded.moment.number for decoded in given if decoded.moment]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == len(given) > 0
    for decoded, number in zip(given, numbers, strict=True):
        assert np.array_equal(decoded.picture.bgr, recorded.images_bgr[number])
    assert monitor.report().gate in ("open", "idle")
    assert monitor.report().broken == 0
