"""Planes of a decoder's frame: the same picture that its BGR shows, for every way in which videos write colours."""

from __future__ import annotations

import gc
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from streamserver.core.arrays import ImageBgr
from streamserver.core.picture import Picture, Planes
from streamserver.elements.decode import _cut
from streamserver.graph.demo import Channel
from streamserver.graph.demo import Roi as ChannelRoi
from streamserver.media.av_reader import VideoReader, planes_of, to_picture
from streamserver.vision.letterbox import Letterbox
from streamserver.vision.roi import Roi
from tests.media.clips import write_clip

LIMITED, FULL = 1, 2
BT709, UNSAID, SMPTE240M, BT2020 = 1, 2, 7, 9
LEAST_PSNR_DB = 38.0
"""What is left of the difference when 4:2:0 is scaled before it is converted instead of afterwards."""


def scene(size_wh: tuple[int, int]) -> ImageBgr:
    """Patches of all colours that run into each other."""
    width, height = size_wh
    patches = np.random.default_rng(3).integers(0, 256, (max(2, height // 24), max(2, width // 24), 3), dtype=np.uint8)
    return np.asarray(cv2.resize(patches, size_wh, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def frame_of(
    size_wh: tuple[int, int] = (320, 240), *, form: str = "yuv420p", colours: int = UNSAID, span: int = LIMITED
) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(scene(size_wh), format="bgr24").reformat(format=form)
    frame.colorspace, frame.color_range = colours, span
    return frame


def planes_in(picture: Picture) -> Planes:
    planes = picture.planes
    assert planes is not None
    return planes


def psnr_db(one: ImageBgr, other: ImageBgr) -> float:
    error = float(np.mean((one.astype(np.float64) - other) ** 2))
    return 99.0 if error == 0 else 10 * np.log10(255**2 / error)


def compare(bgr: ImageBgr, planes: Planes, size_wh: tuple[int, int]) -> None:
    """Both ways into a letterbox lead to the same picture."""
    expected, mapping = Letterbox(size_wh, anchor="center")(bgr)
    found, same = Letterbox(size_wh, anchor="center")(planes)
    assert same == mapping
    assert psnr_db(expected, found) > LEAST_PSNR_DB


@pytest.mark.parametrize("colours", [BT709, UNSAID, 5, 6, BT2020])
@pytest.mark.parametrize(
    ("form", "span"), [("yuv420p", LIMITED), ("yuv420p", FULL), ("yuvj420p", FULL)], ids=["limited", "full", "yuvj"]
)
def test_planes_show_the_colours_that_bgr_shows(form: str, span: int, colours: int) -> None:
    picture = to_picture(frame_of(form=form, span=span, colours=colours))
    compare(picture.bgr, planes_in(picture), (208, 208))


@pytest.mark.parametrize("box_wh", [(208, 208), (207, 155), (160, 97), (640, 640), (320, 240)])
@pytest.mark.parametrize("size_wh", [(320, 240), (319, 241), (321, 179), (16, 240)])
def test_odd_sizes_of_picture_and_box_and_enlarging_are_the_same_picture(
    size_wh: tuple[int, int], box_wh: tuple[int, int]
) -> None:
    picture = to_picture(frame_of(size_wh))
    assert planes_in(picture).size_wh == size_wh
    compare(picture.bgr, planes_in(picture), box_wh)


@pytest.mark.parametrize(
    "part", [(0, 0, 160, 120), (31, 17, 201, 133), (200, 100, 500, 500), (51, 80, 31, 41)], ids=str
)
def test_a_part_may_begin_anywhere_and_reach_beyond_the_picture(part: tuple[int, int, int, int]) -> None:
    picture = to_picture(frame_of())
    roi = Roi(*part)
    compare(roi.crop(picture.bgr), roi.crop(planes_in(picture)), (96, 96))


def test_a_part_that_does_not_meet_the_picture_is_empty() -> None:
    assert 0 in Roi(400, 0, 10, 10).crop(planes_in(to_picture(frame_of()))).size_wh


def test_a_channel_that_cuts_its_frames_keeps_the_planes_of_the_part() -> None:
    roi = ChannelRoi(left=40, top=31, width=120, height=90)
    channel = Channel(channel_id=0, graph_id=0, url="x", source_type="VIDEO", roi=roi)
    part = _cut(to_picture(frame_of()), channel)
    assert planes_in(part).size_wh == part.size_wh == (120, 90)
    compare(part.bgr, planes_in(part), (64, 64))


@pytest.mark.parametrize(
    ("form", "colours"),
    [
        ("yuv422p", UNSAID),
        ("yuv444p", UNSAID),
        ("yuv420p10le", UNSAID),
        ("nv12", UNSAID),
        ("gray", UNSAID),
        ("yuv420p", SMPTE240M),
    ],
)
def test_other_formats_and_colours_have_only_bgr(form: str, colours: int) -> None:
    picture = to_picture(frame_of(form=form, colours=colours))
    assert picture.planes is None
    assert picture.pixels is picture.bgr


def test_a_turned_video_has_only_bgr(tmp_path: Path) -> None:
    with VideoReader(str(write_clip(tmp_path / "a.mp4", rotation=90))) as reader:
        picture = to_picture(next(reader.frames()))
    assert picture.planes is None
    assert picture.bgr.shape[:2] == (64, 48)


def test_planes_are_views_that_outlive_frame_and_reader(tmp_path: Path) -> None:
    with VideoReader(str(write_clip(tmp_path / "a.mp4", frames=60))) as reader:
        frames = reader.frames()
        frame = next(frames)
        planes = planes_of(frame)
        assert planes is not None
        assert not planes.y.flags.owndata
        before = [plane.copy() for plane in (planes.y, planes.u, planes.v)]
        del frame
        gc.collect()
        assert sum(1 for _ in frames) == 59
    gc.collect()
    assert all(np.array_equal(old, new) for old, new in zip(before, (planes.y, planes.u, planes.v), strict=True))


def test_lines_that_are_longer_than_the_picture_do_not_show(tmp_path: Path) -> None:
    with VideoReader(str(write_clip(tmp_path / "a.mp4", size_wh=(70, 50)))) as reader:
        frame = next(reader.frames())
        assert frame.planes[0].line_size > 70
        picture = to_picture(frame)
    assert planes_in(picture).size_wh == (70, 50)
    compare(picture.bgr, planes_in(picture), (48, 48))
