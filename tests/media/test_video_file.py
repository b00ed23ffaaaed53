from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from streamserver.core.errors import SourceError, SourceMissingError
from streamserver.core.source_monitor import SourceMonitor
from streamserver.core.states import SourceState
from streamserver.media.sources import AS_FAST_AS_IT_GOES, SourceFrame, SourceSpec, open_source
from tests.assets import clip
from tests.media.clips import write_clip, write_damaged_clip

Spec = Callable[..., SourceSpec]


@pytest.fixture(params=["av", "opencv"])
def spec(request: pytest.FixtureRequest) -> Spec:
    """Makes what to read; both decoders do the same."""

    def make(url: Path | str, *, source_type: str = "VIDEO", loop_num: int = 1, start_loop: int = 0) -> SourceSpec:
        return SourceSpec(
            url=str(url),
            source_type=source_type,
            loop_num=loop_num,
            start_loop=start_loop,
            fps=AS_FAST_AS_IT_GOES,
            decoder=request.param,
        )

    return make


def read_all(what: SourceSpec) -> list[SourceFrame]:
    return list(open_source(what, stopping=threading.Event(), monitor=SourceMonitor()))


@pytest.mark.parametrize(
    ("name", "count", "size_wh"),
    [("one-by-one-person-detection.mp4", 1394, (768, 432)), ("vtest.avi", 795, (768, 576))],
)
def test_every_frame_of_a_real_clip_is_read_once(spec: Spec, name: str, count: int, size_wh: tuple[int, int]) -> None:
    ids, sizes = [], set()
    frames = open_source(spec(clip(name)), stopping=threading.Event(), monitor=SourceMonitor())
    for frame in frames:
        ids.append(frame.frame_id)
        sizes.add(frame.picture.size_wh)
        if frame.frame_id == count // 2:
            assert frame.picture.bgr.shape == (size_wh[1], size_wh[0], 3)
    assert ids == list(range(count))
    assert sizes == {size_wh}


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "size_wh"),
    [
        ("a.mp4", "libx264", "yuv420p", (64, 48)),
        ("a.mov", "mpeg4", "yuv420p", (64, 48)),
        ("a.mkv", "libx264", "yuv444p", (64, 48)),
        ("full range.avi", "mjpeg", "yuvj420p", (64, 48)),
        ("ten bits.mkv", "ffv1", "yuv420p10le", (64, 48)),
        ("odd size.mkv", "ffv1", "yuv420p", (63, 47)),
        ("a:colon %20 and 中文.mkv", "ffv1", "bgr0", (65, 47)),
    ],
)
def test_formats_come_out_as_the_same_picture(
    spec: Spec, tmp_path: Path, name: str, codec: str, pixel_format: str, size_wh: tuple[int, int]
) -> None:
    path = write_clip(tmp_path / name, codec=codec, pixel_format=pixel_format, size_wh=size_wh)
    frames = read_all(spec(path))
    assert len(frames) == 10
    image = frames[-1].picture.bgr
    assert frames[-1].picture.size_wh == size_wh
    assert image.shape == (size_wh[1], size_wh[0], 3)
    np.testing.assert_allclose(image[4, 4], (0, 0, 255), atol=12)
    np.testing.assert_allclose(image[-4, -4], (255, 0, 0), atol=12)


def test_a_clip_filmed_sideways_comes_out_upright(spec: Spec, tmp_path: Path) -> None:
    picture = read_all(spec(write_clip(tmp_path / "a.mp4", rotation=90)))[0].picture
    assert picture.size_wh == (48, 64)
    assert picture.bgr.shape == (64, 48, 3)
    np.testing.assert_allclose(picture.bgr[32, 3], (0, 0, 255), atol=12)
    np.testing.assert_allclose(picture.bgr[32, -3], (255, 0, 0), atol=12)


def test_a_sound_clip_leaves_no_complaint_in_the_log(
    spec: Spec, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(read_all(spec(write_clip(tmp_path / "a.mp4")))) == 10
    assert caplog.text == ""


def test_a_picture_stays_right_after_the_reader_has_gone_on_and_in_other_threads(spec: Spec, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", frames=40, codec="ffv1", pixel_format="bgr0")
    expected = [frame.picture.bgr.copy() for frame in read_all(spec(path))]
    held = read_all(spec(path))
    equal: list[bool] = []

    def compare() -> None:
        equal.extend(np.array_equal(frame.picture.bgr, image) for frame, image in zip(held, expected, strict=True))

    threads = [threading.Thread(target=compare) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert equal == [True] * 120


@pytest.mark.parametrize(
    ("loop_num", "start_loop", "loops"),
    [(1, 0, [0]), (3, 0, [0, 1, 2]), (3, 1, [1, 2]), (3, 9, [2]), (1, 4, [0])],
)
def test_a_file_is_played_as_often_as_asked(
    spec: Spec, tmp_path: Path, loop_num: int, start_loop: int, loops: list[int]
) -> None:
    path = write_clip(tmp_path / "a.mp4", frames=4)
    frames = read_all(spec(path, loop_num=loop_num, start_loop=start_loop))
    assert [(frame.loop, frame.frame_id) for frame in frames] == list(itertools.product(loops, range(4)))
    assert [frame.discontinuity for frame in frames] == [frame.frame_id == 0 for frame in frames]


def test_loop_number_0_is_for_ever_until_stopped(spec: Spec, tmp_path: Path) -> None:
    stopping = threading.Event()
    path = write_clip(tmp_path / "a.mp4", frames=3)
    frames = open_source(spec(path, loop_num=0), stopping=stopping, monitor=SourceMonitor())
    assert [frame.loop for frame in itertools.islice(frames, 12)] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    stopping.set()
    assert list(frames) == []


def test_states_of_a_file_are_connecting_streaming_ended(spec: Spec, tmp_path: Path) -> None:
    states: list[tuple[str, str]] = []
    path = write_clip(tmp_path / "a.mp4")
    frames = open_source(
        spec(path),
        stopping=threading.Event(),
        monitor=SourceMonitor(lambda state, reason: states.append((state, reason))),
    )
    assert states == []
    assert len(list(frames)) == 10
    assert states == [(SourceState.CONNECTING, ""), (SourceState.STREAMING, ""), (SourceState.ENDED, "")]


def test_a_loop_of_a_file_is_no_reconnect(spec: Spec, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", frames=3)
    monitor = SourceMonitor()
    list(open_source(spec(path, loop_num=5, start_loop=2), stopping=threading.Event(), monitor=monitor))
    assert monitor.report().reconnects == 0


def test_frames_carry_the_wall_clock(spec: Spec, tmp_path: Path) -> None:
    before = time.time_ns() // 1000
    frames = read_all(spec(f"file://{write_clip(tmp_path / 'a.mp4')}"))
    stamps = [frame.timestamp_us for frame in frames]
    assert before <= stamps[0] <= stamps[-1] <= time.time_ns() // 1000
    assert stamps == sorted(stamps)


def test_the_clock_is_the_position_in_the_file_over_all_its_loops(spec: Spec, tmp_path: Path) -> None:
    clocks = [frame.clock_s for frame in read_all(spec(write_clip(tmp_path / "a.mp4", frames=5), loop_num=2))]
    steps = np.diff(clocks)
    assert clocks[0] == 0
    np.testing.assert_allclose(steps, steps[0], atol=1e-3)
    assert steps[0] == pytest.approx(1 / 25, abs=1e-3)


def test_pictures_at_uneven_times_are_where_the_file_says(spec: Spec, tmp_path: Path) -> None:
    path, at_ms = tmp_path / "a.mkv", [0, 100, 1100, 1140, 5000]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.time_base = 64, 48, Fraction(1, 1000)
        stream.codec_context.time_base = Fraction(1, 1000)
        for pts in at_ms:
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), pts // 20, np.uint8), format="bgr24")
            frame.pts, frame.time_base = pts, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert [frame.clock_s for frame in read_all(spec(path))] == pytest.approx([ms / 1000 for ms in at_ms], abs=2e-3)


def test_a_file_without_times_is_at_its_rate(spec: Spec, tmp_path: Path) -> None:
    """A bare H.264 stream."""
    path = tmp_path / "a.h264"
    with av.open(str(path), "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height = 64, 48
        for number in range(6):
            image = np.full((48, 64, 3), 40 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))
    assert [frame.clock_s for frame in read_all(spec(path))] == pytest.approx([n / 25 for n in range(6)], abs=1e-3)


def test_a_file_cut_off_in_the_middle_plays_as_far_as_it_goes(spec: Spec, tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "a.ts", frames=60).read_bytes()
    (tmp_path / "cut.ts").write_bytes(whole[: len(whole) // 2])
    assert 0 < len(read_all(spec(tmp_path / "cut.ts"))) < 60


def test_broken_packets_of_a_file_are_left_out_and_counted(spec: Spec, tmp_path: Path) -> None:
    path, monitor = write_damaged_clip(tmp_path / "a.mp4"), SourceMonitor()
    frames = list(open_source(spec(path), stopping=threading.Event(), monitor=monitor))
    assert 50 < len(frames) <= 100
    assert monitor.report().broken > 0


def _garbage(folder: Path) -> str:
    (folder / "x.mp4").write_bytes(b"no video at all " * 100)
    return str(folder / "x.mp4")


def _empty(folder: Path) -> str:
    (folder / "x.mp4").touch()
    return str(folder / "x.mp4")


def _pipe(folder: Path) -> str:
    os.mkfifo(folder / "x.mp4")
    return str(folder / "x.mp4")


def _sound(folder: Path) -> str:
    path = folder / "x.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
    return str(path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: f"{folder}/absent.mp4", "does not exist; check the path"),
        (lambda folder: f"file://{folder}/absent.mp4", "does not exist; check the path"),
        (str, "is a folder; write source_type IMG_DIR"),
        (_garbage, "this is not a video that can be read"),
        (_empty, "this is not a video that can be read"),
        (_pipe, "is a pipe or a device, not a file; copy it into a file"),
        (_sound, "has no video stream|is not a video that can be read"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(spec: Spec, tmp_path: Path, make: object, words: str) -> None:
    url = make(tmp_path)  # type: ignore[operator]
    with pytest.raises(SourceMissingError, match=words) as caught:
        read_all(spec(url))
    assert str(tmp_path) in str(caught.value)


def test_an_address_that_is_away_may_come_back_and_keeps_its_password(spec: Spec, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://user:secret@127.0.0.1:{taken.getsockname()[1]}/a.mp4?token=hidden"
        with pytest.raises(SourceError, match="refused") as caught:
            read_all(spec(url))
    assert not isinstance(caught.value, SourceMissingError)
    assert "secret" not in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_a_kind_of_source_that_nobody_reads_is_named(spec: Spec) -> None:
    with pytest.raises(SourceMissingError, match=r"'WEBRTC' cannot be read.*RTSP.*VIDEO"):
        read_all(spec("webrtc://user:secret@127.0.0.1:5060", source_type="WEBRTC"))


def test_a_text_is_no_video_although_ffmpeg_would_paint_it(spec: Spec, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("the key is under the mat\n" * 500)
    with av.open(path) as painted:
        assert painted.streams.video[0].codec_context.name == "ansi"
    with pytest.raises(SourceMissingError, match="not a video that can be read"):
        read_all(spec(path))
