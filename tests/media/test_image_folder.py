from __future__ import annotations

import itertools
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from streamserver.core.arrays import ImageBgr
from streamserver.core.errors import SourceMissingError
from streamserver.core.source_monitor import SourceMonitor
from streamserver.core.states import SourceState
from streamserver.media.sources import AS_FAST_AS_IT_GOES, SourceFrame, SourceSpec, open_source
from tests.assets import media
from tests.media.clips import picture


def spec(url: Path | str, *, loop_num: int = 1, start_loop: int = 0, fps: float = AS_FAST_AS_IT_GOES) -> SourceSpec:
    return SourceSpec(url=str(url), source_type="IMG_DIR", loop_num=loop_num, start_loop=start_loop, fps=fps)


def read_all(what: SourceSpec) -> list[SourceFrame]:
    return list(open_source(what, stopping=threading.Event(), monitor=SourceMonitor()))


def write(path: Path, number: int = 0, *, size_wh: tuple[int, int] = (64, 48)) -> Path:
    """Writes picture ``number`` of ``tests.media.clips`` without loss, whatever its file is called."""
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded, data = cv2.imencode(".png", picture(number, size_wh))
    assert encoded
    path.write_bytes(data.tobytes())
    return path


def write_numbered(folder: Path, count: int) -> Path:
    for number in range(count):
        write(folder / f"{number:03}.png", number)
    return folder


def numbers(frames: list[SourceFrame]) -> list[int]:
    """Which of the pictures of ``tests.media.clips`` the frames show."""
    known = [picture(number) for number in range(10)]
    return [next(n for n, one in enumerate(known) if np.array_equal(one, f.picture.bgr)) for f in frames]


@pytest.mark.parametrize(("fps", "rate"), [(AS_FAST_AS_IT_GOES, 25), (50.0, 50)])
def test_the_clock_follows_the_channels_pace_over_all_loops(tmp_path: Path, fps: float, rate: int) -> None:
    write_numbered(tmp_path, 3)
    (tmp_path / "001.png").write_bytes(b"no picture: its number, and its time, are left out")
    frames = read_all(spec(tmp_path, loop_num=2, fps=fps))
    assert [frame.clock_s for frame in frames] == pytest.approx([n / rate for n in (0, 2, 3, 5)], abs=1e-5)


def test_pictures_of_a_folder_and_those_below_come_once_in_the_order_of_their_paths(tmp_path: Path) -> None:
    names = ["10.png", "9.JPG", "a/1.bmp", "a.jpeg", "b/c/2.WebP", "Z.JPEG", "ü 车.png"]
    for number, name in enumerate(sorted(names)):
        write(tmp_path / name, number)
    frames = read_all(spec(tmp_path))
    assert numbers(frames) == list(range(7))
    assert [frame.frame_id for frame in frames] == list(range(7))
    assert [frame.discontinuity for frame in frames] == [True] + [False] * 6
    assert {(frame.loop, frame.timestamp_us) for frame in frames} == {(0, 0)}


def test_only_pictures_count_and_nothing_that_is_hidden(tmp_path: Path) -> None:
    write(tmp_path / "1.png")
    for name in (".2.png", "._3.jpg", ".thumbnails/4.png", "5.gif", "6.txt", "7png", "8.png.part"):
        write(tmp_path / name)
    assert len(read_all(spec(tmp_path))) == 1


def test_links_are_followed_and_lead_nowhere_twice(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "1.png", 1)
    folder = write(tmp_path / "folder" / "0.png", 0).parent
    (folder / "others").symlink_to(tmp_path / "elsewhere")
    (folder / "round").symlink_to(folder)
    (tmp_path / "link").symlink_to(folder)
    assert numbers(read_all(spec(tmp_path / "link"))) == [0, 1]


def test_a_folder_may_be_named_as_an_address(tmp_path: Path) -> None:
    write(tmp_path / "a b" / "1.png")
    assert len(read_all(spec(f"file://{tmp_path}/a%20b"))) == 1


@pytest.mark.parametrize(
    ("loop_num", "start_loop", "ids"),
    [(1, 0, [0, 1, 2]), (3, 0, list(range(9))), (3, 1, [3, 4, 5, 6, 7, 8]), (3, 9, [6, 7, 8]), (1, 4, [0, 1, 2])],
)
def test_frames_are_counted_on_from_loop_to_loop_and_from_start_to_start(
    tmp_path: Path, loop_num: int, start_loop: int, ids: list[int]
) -> None:
    frames = read_all(spec(write_numbered(tmp_path, 3), loop_num=loop_num, start_loop=start_loop))
    assert [frame.frame_id for frame in frames] == ids
    assert [(frame.loop, frame.discontinuity) for frame in frames] == [(i // 3, i % 3 == 0) for i in ids]
    assert numbers(frames) == [i % 3 for i in ids]


def test_a_loop_is_no_reconnect(tmp_path: Path) -> None:
    monitor = SourceMonitor()
    frames = open_source(spec(write_numbered(tmp_path, 2), loop_num=3), stopping=threading.Event(), monitor=monitor)
    assert len(list(frames)) == 6
    assert monitor.report().reconnects == 0


def test_loop_number_0_is_for_ever_and_sees_what_was_added_and_removed(tmp_path: Path) -> None:
    stopping = threading.Event()
    write_numbered(tmp_path, 2)
    frames = open_source(spec(tmp_path, loop_num=0), stopping=stopping, monitor=SourceMonitor())
    assert numbers(list(itertools.islice(frames, 3))) == [0, 1, 0]
    write(tmp_path / "002.png", 2)
    (tmp_path / "000.png").unlink()
    later = list(itertools.islice(frames, 5))
    assert numbers(later) == [1, 1, 2, 1, 2]
    assert [(frame.loop, frame.frame_id) for frame in later] == [(1, 3), (2, 4), (2, 5), (3, 6), (3, 7)]
    stopping.set()
    assert list(frames) == []


def test_states_are_connecting_streaming_ended(tmp_path: Path) -> None:
    states: list[SourceState] = []
    frames = open_source(
        spec(write_numbered(tmp_path, 2)),
        stopping=threading.Event(),
        monitor=SourceMonitor(lambda state, reason: states.append(state)),
    )
    assert states == []
    assert len(list(frames)) == 2
    assert states == [SourceState.CONNECTING, SourceState.STREAMING, SourceState.ENDED]


def test_pictures_are_held_back_to_the_channels_rate_and_a_wait_ends_when_asked(tmp_path: Path) -> None:
    stopping = threading.Event()
    frames = open_source(spec(write_numbered(tmp_path, 2), fps=1e-6), stopping=stopping, monitor=SourceMonitor())
    next(frames)
    threading.Timer(0.05, stopping.set).start()
    assert list(frames) == []


RED, BLUE = (0, 0, 255), (255, 0, 0)


def _half_red() -> Image.Image:
    return Image.fromarray(picture(0)[..., ::-1].copy())


def _save(image: Image.Image, path: Path, *, turned: int = 0) -> None:
    exif = Image.Exif()
    if turned:
        exif[0x0112] = turned
    image.save(path, exif=exif)


def _sixteen_bits(path: Path) -> None:
    assert cv2.imwrite(str(path), picture(0).astype(np.uint16) * 257)


def _grey_sixteen_bits(path: Path) -> None:
    assert cv2.imwrite(str(path), np.full((48, 64), 128 * 257, np.uint16))


def _transparent(path: Path) -> None:
    image = _half_red()
    image.putalpha(Image.new("L", image.size, 100))
    image.save(path)


@pytest.mark.parametrize(
    ("name", "make", "top_left", "bottom_right"),
    [
        ("a.jpg", lambda path: _half_red().save(path, quality=95), RED, BLUE),
        ("a.jpg", lambda path: _half_red().save(path, progressive=True, quality=95), RED, BLUE),
        ("a.bmp", lambda path: _half_red().save(path), RED, BLUE),
        ("a.webp", lambda path: _half_red().save(path, lossless=True), RED, BLUE),
        ("palette.png", lambda path: _half_red().convert("P").save(path), RED, BLUE),
        ("transparent.png", _transparent, RED, BLUE),
        ("sixteen bits.png", _sixteen_bits, RED, BLUE),
        ("grey.jpg", lambda path: Image.new("L", (64, 48), 128).save(path), (128,) * 3, (128,) * 3),
        ("grey, sixteen bits.png", _grey_sixteen_bits, (128,) * 3, (128,) * 3),
        ("print colours.jpg", lambda path: _half_red().convert("CMYK").save(path, quality=95), RED, BLUE),
        ("upside down.jpg", lambda path: _save(_half_red().rotate(180), path, turned=3), RED, BLUE),
    ],
)
def test_all_kinds_of_pictures_become_8_bits_of_blue_green_and_red(
    tmp_path: Path,
    name: str,
    make: Callable[[Path], None],
    top_left: tuple[int, ...],
    bottom_right: tuple[int, ...],
) -> None:
    make(tmp_path / name)
    (frame,) = read_all(spec(tmp_path))
    image: ImageBgr = frame.picture.bgr
    assert (frame.picture.size_wh, image.shape, image.dtype) == ((64, 48), (48, 64, 3), np.uint8)
    np.testing.assert_allclose(image[4, 4], top_left, atol=14)
    np.testing.assert_allclose(image[-4, -4], bottom_right, atol=14)


def test_a_photo_taken_sideways_comes_out_upright(tmp_path: Path) -> None:
    _save(_half_red().rotate(90, expand=True), tmp_path / "a.jpg", turned=6)
    (frame,) = read_all(spec(tmp_path))
    assert frame.picture.size_wh == (64, 48)
    np.testing.assert_allclose(frame.picture.bgr[4, 4], RED, atol=14)


def test_a_picture_of_another_size_breaks_continuity_and_fills_no_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sizes = [(64, 48), (64, 48), (80, 60), (80, 60), (64, 48)]
    for number, size_wh in enumerate(sizes):
        write(tmp_path / f"{number}.png", size_wh=size_wh)
    frames = read_all(spec(tmp_path))
    assert [frame.discontinuity for frame in frames] == [True, False, True, False, True]
    assert caplog.text == ""


def _empty(path: Path) -> None:
    path.touch()


def _half(path: Path) -> None:
    data = write(path).read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _text(path: Path) -> None:
    path.write_text("no picture at all\n" * 100)


def _more_pixels_than_memory(path: Path) -> None:
    data = bytearray(write(path, size_wh=(1, 1)).read_bytes())
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    path.write_bytes(data)


def _folder(path: Path) -> None:
    (path / "below").mkdir(parents=True)


def _broken_link(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere")


def _pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("spoil", [_empty, _half, _text, _more_pixels_than_memory, _broken_link, _pipe])
def test_a_picture_that_cannot_be_read_is_left_out_and_said_once_and_keeps_its_number(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], None]
) -> None:
    write_numbered(tmp_path, 3)
    (tmp_path / "001.png").unlink()
    spoil(tmp_path / "001.png")
    frames = read_all(spec(tmp_path, loop_num=3))
    assert [frame.frame_id for frame in frames] == [0, 2, 3, 5, 6, 8]
    assert numbers(frames) == [0, 2] * 3
    named, counted = caplog.messages
    assert "001.png' is left out: it holds no picture" in named
    assert "left out because they cannot be read: 1" in counted


def test_a_folder_called_like_a_picture_is_a_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _folder(tmp_path / "a.png")
    write(tmp_path / "a.png" / "below" / "1.png")
    assert len(read_all(spec(tmp_path))) == 1
    assert caplog.text == ""


def test_many_unreadable_pictures_fill_no_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "ok.png")
    for number in range(50):
        _text(tmp_path / f"{number}.jpg")
    (tmp_path / os.fsdecode(b"0\xff.jpg")).touch()
    assert len(read_all(spec(tmp_path, loop_num=2))) == 2
    assert len(caplog.records) == 6
    assert "cannot be read: 51" in caplog.messages[-1]
    assert all(record.levelno == logging.WARNING and message.isascii() for record, message in zip(
        caplog.records, caplog.messages, strict=True))  # fmt: skip


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder / "absent", "does not exist; check the path"),
        (lambda folder: folder / "a\0b", "does not exist; check the path"),
        (lambda folder: folder / ("x" * 300), "cannot be read: File name too long"),
        (lambda folder: folder, r"holds no picture; put files into it.*end in \.jpg, \.jpeg, \.png, \.bmp, \.webp"),
        (lambda folder: write(folder / "x.png"), "is a file; name a folder, or write source_type VIDEO"),
    ],
)
def test_a_folder_that_shows_nothing_says_why(tmp_path: Path, make: Callable[[Path], Path], words: str) -> None:
    with pytest.raises(SourceMissingError, match=words) as caught:
        read_all(spec(make(tmp_path), loop_num=0))
    assert str(tmp_path) in str(caught.value)


def test_a_folder_of_unreadable_pictures_says_so_and_is_not_read_for_ever(tmp_path: Path) -> None:
    for number in range(3):
        _text(tmp_path / f"{number}.jpg")
    with pytest.raises(SourceMissingError, match=r"of 3 pictures none can be read, not .*0\.jpg' for one: it holds no"):
        read_all(spec(tmp_path, loop_num=0))


def test_real_pictures_of_many_sizes_are_read(caplog: pytest.LogCaptureFixture) -> None:
    folder = media("plates/street")
    frames = read_all(spec(folder))
    assert len(frames) == sum(1 for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    assert len({frame.picture.size_wh for frame in frames}) > 3
    assert caplog.text == ""


def test_a_video_source_that_is_a_folder_says_which_type_reads_it(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError, match="is a folder; write source_type IMG_DIR"):
        read_all(SourceSpec(url=str(tmp_path), source_type="VIDEO"))
