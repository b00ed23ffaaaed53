from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
import pytest

from streamserver.media.av_reader import luma_of
from streamserver.media.connection import Luma
from streamserver.media.frozen import SAME_WITHIN, FrozenWatch, is_same
from tests import assets

FPS = 5
ENCODERS = {
    "x264": ("libx264", {"preset": "veryfast", "g": "10"}),
    "x264 at a low rate": ("libx264", {"preset": "veryfast", "g": "10", "b": "120000", "maxrate": "120000"}),
    "x265": ("libx265", {"preset": "ultrafast", "x265-params": "log-level=none:keyint=10"}),
}


def frames_of(name: str, *, count: int, every: int, start: int = 0) -> list[av.VideoFrame]:
    """Some frames of a shared clip, 320x240."""
    found: list[av.VideoFrame] = []
    with av.open(str(assets.clip(name))) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number >= start and (number - start) % every == 0:
                found.append(frame.reformat(width=320, height=240, format="yuv420p"))
            if len(found) == count:
                break
    return found


def through_codec(frames: Sequence[av.VideoFrame], encoder: str) -> list[Luma]:
    """The frames' brightness after they were compressed and decoded again."""
    codec, options = ENCODERS[encoder]
    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as container:
        stream = container.add_stream(codec, rate=FPS, options={**options, "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number, frame in enumerate(frames):
            copy = av.VideoFrame.from_ndarray(frame.to_ndarray(), format="yuv420p")
            copy.pts, copy.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(copy))
        container.mux(stream.encode())
    file.seek(0)
    with av.open(file) as container:
        return [luma_of(frame) for frame in container.decode(video=0)]


def longest_same_s(pictures: Sequence[Luma], *, frozen_after_s: float) -> float:
    watch = FrozenWatch(frozen_after_s)
    told = [watch.same_for_s(100.0 + number / FPS, lambda luma=luma: luma) for number, luma in enumerate(pictures)]  # type: ignore[misc]
    return max(same_s or 0.0 for same_s in told)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_still_that_is_compressed_again_and_again_is_found(encoder: str) -> None:
    still = frames_of("vtest.avi", count=1, every=1, start=50)[0]
    assert longest_same_s(through_codec([still] * 60, encoder), frozen_after_s=8.0) >= 8.0


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize(("name", "every"), [("vtest.avi", 2), ("bottle-detection.mp4", 6)])
def test_a_real_scene_is_not_taken_for_a_still(name: str, every: int, encoder: str) -> None:
    pictures = through_codec(frames_of(name, count=60, every=every), encoder)
    assert longest_same_s(pictures, frozen_after_s=4.0) == 0.0


def grey(value: int, shape_hw: tuple[int, int] = (4, 6)) -> Luma:
    return np.full(shape_hw, value, np.uint8)


def test_pictures_are_the_same_within_what_a_codec_does_and_of_one_size() -> None:
    assert is_same(grey(100), grey(100 + SAME_WITHIN))
    assert is_same(grey(100), grey(100 - SAME_WITHIN))
    assert not is_same(grey(100), grey(101 + SAME_WITHIN))
    assert not is_same(grey(100), grey(100, (6, 4)))
    assert is_same(grey(0, (0, 0)), grey(0, (0, 0)))
    one_pixel = grey(100)
    one_pixel[2, 3] = 200
    assert not is_same(grey(100), one_pixel)


def test_it_looks_once_a_second_and_counts_from_the_first_of_the_same_pictures() -> None:
    watch = FrozenWatch(3.0)
    looked: list[float] = []

    def ask(now: float, value: int) -> float | None:
        def luma() -> Luma:
            looked.append(now)
            return grey(value)

        return watch.same_for_s(now, luma)

    told = [ask(10 + number / 4, 50 if number < 6 else 90) for number in range(24)]
    assert looked == [10.0, 11.0, 12.0, 13.0, 14.0, 15.0]
    assert told[::4] == [0.0, 0.0, 0.0, 0.0, 0.0, 3.0]
    assert ask(15.9, 200) is None
    watch.look_at_next()
    assert ask(15.9, 200) == 0.0


def test_the_watch_can_be_switched_off() -> None:
    def must_not_be_asked() -> Luma:
        raise AssertionError

    assert FrozenWatch(0.0).same_for_s(10.0, must_not_be_asked) is None
