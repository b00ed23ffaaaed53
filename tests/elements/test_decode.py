from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamserver.core.errors import GraphError
from streamserver.core.settings import Settings
from streamserver.core.source_monitor import SourceMonitor
from streamserver.elements import decode
from streamserver.elements.decode import Decode
from streamserver.engine.element import Channel, ElementContext
from streamserver.graph.demo import Roi
from streamserver.media.sources import SourceFrame, SourceSpec
from streamserver.vision.codec import encode_jpeg
from tests.media.clips import picture, write_clip


def make_decode(settings: Settings | None = None) -> Decode:
    return Decode(
        ElementContext(
            element_id=1,
            name="decode",
            config_file="decode.json",
            configure={},
            settings=settings or Settings(file_dirs="/"),
            base_dir=Path(),
        )
    )


def read(channel: Channel, settings: Settings | None = None) -> list[Any]:
    return list(make_decode(settings).read(channel, start_loop=0, stopping=threading.Event(), monitor=SourceMonitor()))


def channel_of(url: Path | str, **values: Any) -> Channel:
    return Channel(channel_id=3, url=str(url), source_type="VIDEO", fps=-1, **values)


@pytest.mark.parametrize("server", [True, False])
def test_streams_take_turns_where_a_server_has_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: bool
) -> None:
    specs: list[SourceSpec] = []

    def open_source(spec: SourceSpec, **_: object) -> Iterator[SourceFrame]:
        specs.append(spec)
        return iter(())

    monkeypatch.setattr(decode, "open_source", open_source)
    state_dir = tmp_path if server else tmp_path / "absent"
    read(channel_of("rtsp://127.0.0.1/cam"), Settings(state_dir=str(state_dir)))
    assert [spec.turnstile for spec in specs] == [tmp_path / "connecting" if server else None]


def test_a_roi_is_cut_out_and_clipped_to_the_frame(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", codec="ffv1", pixel_format="bgr0", frames=2)
    frames = read(channel_of(path, roi=Roi(left=10, top=20, width=30, height=100)))
    assert [frame.picture.size_wh for frame in frames] == [(30, 28), (30, 28)]
    np.testing.assert_array_equal(frames[1].picture.bgr, picture(1)[20:48, 10:40])


def test_a_roi_outside_the_frame_is_named(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    with pytest.raises(GraphError, match=r"channel 3: roi starts at \(64, 0\), outside the frame of 64x48"):
        read(channel_of(path, roi=Roi(left=64, top=0, width=10, height=10)))


@pytest.mark.parametrize(
    ("source_type", "loop_num", "loops"),
    [
        ("VIDEO", -1, {0}),
        ("VIDEO", 2, {0, 1}),
        ("IMG_DIR", 2, {0, 1}),
        ("IMG_DIR", -1, {0, 1, 2}),
        ("VIDEO", 0, {0, 1, 2}),
    ],
)
def test_loop_number_minus_1_is_once_for_a_video_and_for_ever_for_pictures(
    tmp_path: Path, source_type: str, loop_num: int, loops: set[int]
) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_bytes(encode_jpeg(picture(0)))
    path = write_clip(tmp_path / "a.mp4", frames=1) if source_type == "VIDEO" else tmp_path / "pictures"
    channel = dataclasses.replace(channel_of(path, loop_num=loop_num), source_type=source_type)
    frames = make_decode().read(channel, start_loop=0, stopping=threading.Event(), monitor=SourceMonitor())
    assert {frame.loop for frame in itertools.islice(frames, 3)} == loops


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("../clips/a.mp4", "/base/../clips/a.mp4"),
        ("/clips/a%20b.mp4", "/clips/a%20b.mp4"),
        ("file:///clips/a%20b.mp4", "/clips/a b.mp4"),
        ("http://h/a.mp4", None),
    ],
)
def test_a_relative_path_counts_from_where_those_of_the_files_do(url: str, path: str | None) -> None:
    assert channel_of(url).path(Path("/base")) == (path and Path(path))


@pytest.mark.parametrize(
    ("values", "same"),
    [
        ({}, True),
        ({"sample_interval": 5, "sample_strategy": "KEEP", "graph_id": 3}, True),
        ({"loop_num": 2}, False),
        ({"roi": Roi(left=0, top=0, width=5, height=5)}, False),
    ],
)
def test_channels_share_a_source_when_all_that_reading_depends_on_is_equal(values: dict[str, Any], same: bool) -> None:
    decode = make_decode()
    keys = {decode.source_key(channel_of("/a.mp4")), decode.source_key(channel_of("/a.mp4", **values))}
    assert len(keys) == (1 if same else 2)
