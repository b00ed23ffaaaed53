"""Pictures are made of what somebody watches, once for all who want the same, and of nothing else."""

from __future__ import annotations

import itertools
import logging
import time
import weakref

import numpy as np
import pytest

from streamserver.core.arrays import ImageBgr
from streamserver.core.picture import Picture
from streamserver.core.preview import PreviewRefused, Wish
from streamserver.core.source_monitor import SourceReport
from streamserver.core.states import SourceState
from streamserver.engine.frame import Frame
from streamserver.vision.codec import decode_jpeg
from streamserver.vision.draw.palette import color_of
from streamserver.vision.draw.places import BANNER_COLOR, ZONE_COLOR
from streamserver.worker import studio as studio_module
from tests.worker.pictures import SIZE_WH, Counting, feeding, frame, studio, wait_for

REPEAT_S = studio_module.REPEAT_S
PREVIEW = Wish(index=0, fps=25, width=960)
SMALL = Wish(index=0, fps=25, width=160)
PLAIN, DRAWN = (Wish(index=0, once=True, drawn=drawn) for drawn in (False, True))


@pytest.fixture(autouse=True)
def only_new_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are made when frames come, and, where the test does not say so, at no other time."""
    monkeypatch.setattr(studio_module, "REPEAT_S", 600.0)


@pytest.fixture
def repeating(only_new_frames: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is outside of tests."""
    monkeypatch.setattr(studio_module, "REPEAT_S", REPEAT_S)


def near(image: ImageBgr, x: int, y: int, color_bgr: tuple[int, int, int], *, within: int = 60) -> bool:
    """Whether a pixel has about this colour; JPEG blurs thin lines."""
    return bool(np.abs(image[y, x].astype(int) - color_bgr).max() < within)


def test_while_nobody_watches_frames_go_by_untouched() -> None:
    counting = Counting()

    def load() -> ImageBgr:
        raise AssertionError("somebody looked at the picture")

    with studio(encode=counting) as one:
        passing = Picture(SIZE_WH, load)
        gone = weakref.ref(passing)
        one.tap(Frame(0, 0, 0, picture=passing))
        del passing
        assert gone() is None
    assert counting.count == 0


def test_a_preview_shows_boxes_and_zones_and_never_makes_a_picture_larger() -> None:
    with studio() as one, one.watching(PREVIEW) as large, one.watching(SMALL) as small:
        one.tap(frame(0))
        image, half = (decode_jpeg(one.next_jpeg(show, 0)[1]) for show in (large, small))
    assert image.shape[:2] == (240, 320)
    assert half.shape[:2] == (120, 160)
    assert near(image, 230, 120, ZONE_COLOR) and near(half, 115, 60, ZONE_COLOR)
    assert near(image, 60, 110, color_of(0)) and near(half, 30, 55, color_of(0))
    assert image[170, 230, 2] > 20, "the zone is tinted"
    assert not near(image, 10, 200, ZONE_COLOR)


def test_equal_wishes_share_their_pictures_and_others_do_not() -> None:
    counting = Counting()
    with studio(encode=counting) as one, one.watching(PREVIEW) as first, one.watching(PREVIEW) as second:
        assert first is second
        one.tap(frame(50))
        number, jpeg = one.next_jpeg(first, 0)
        assert one.next_jpeg(second, 0)[1] == jpeg
        assert counting.count == 1
        with one.watching(SMALL) as other:
            assert one.next_jpeg(other, 0)[1] != jpeg
        assert counting.count == 2
        one.tap(frame(60))
        assert one.next_jpeg(first, number)[1] != jpeg


def test_what_the_last_viewer_leaves_is_forgotten() -> None:
    counting = Counting()
    with studio(encode=counting) as one:
        shown = frame(10)
        assert shown.picture is not None
        gone = weakref.ref(shown.picture)
        with one.watching(PREVIEW) as show:
            one.tap(shown)
            one.next_jpeg(show, 0)
            with one.watching(PREVIEW):
                pass
            one.tap(frame(20))
            one.next_jpeg(show, 1)
        count = counting.count
        del shown, show
        wait_for(lambda: gone() is None, "the picture to go")
        one.tap(frame(30))
        with one.watching(Wish(index=1)):
            one.tap(frame(40))
        assert counting.count == count


def test_only_so_many_pictures_a_second_are_made_and_the_newest_frame_wins() -> None:
    now = [0.0]
    counting = Counting()
    with studio(encode=counting, clock=lambda: now[0]) as one, one.watching(Wish(index=0, fps=2, width=64)) as show:
        one.tap(frame(0))
        number, _ = one.next_jpeg(show, 0)
        for grey in (50, 100, 150, 250):
            one.tap(frame(grey))
        now[0] = 0.5
        _, jpeg = one.next_jpeg(show, number)
        assert decode_jpeg(jpeg)[3, 60].mean() > 240
        assert counting.count == 2


@pytest.mark.usefixtures("repeating")
def test_a_preview_goes_on_with_the_same_picture_while_no_frame_comes() -> None:
    now = [0.0]
    counting = Counting()
    with studio(encode=counting, clock=lambda: now[0]) as one, one.watching(PREVIEW) as show:
        one.tap(frame(90))
        number, jpeg = one.next_jpeg(show, 0)
        now[0] = REPEAT_S
        assert one.next_jpeg(show, number) == (number + 1, jpeg)
        assert counting.count == 1


@pytest.mark.usefixtures("repeating")
def test_while_the_stream_is_away_the_last_picture_says_so_without_secrets() -> None:
    now = [0.0]
    reports = [SourceReport(state=SourceState.STREAMING)]
    with studio(source=lambda: reports[-1], clock=lambda: now[0]) as one, one.watching(PREVIEW) as show:
        one.tap(frame(90))
        number, _ = one.next_jpeg(show, 0)
        reports.append(SourceReport(state=SourceState.RECONNECTING, reason="rtsp://me:pa55word@cam/: refused"))
        now[0] = REPEAT_S
        _, jpeg = one.next_jpeg(show, number)
        assert show.said == "reconnecting: rtsp://***@cam/: refused"
        image = decode_jpeg(jpeg)
        assert near(image, 315, 3, BANNER_COLOR) and near(image, 60, 110, color_of(0))


@pytest.mark.usefixtures("repeating")
def test_a_viewer_who_comes_before_the_first_picture_is_told_what_the_stream_does() -> None:
    with (
        studio(source=lambda: SourceReport(state=SourceState.CONNECTING)) as one,
        one.watching(Wish(index=1, width=320)) as show,
    ):
        image = decode_jpeg(one.next_jpeg(show, 0)[1])
        assert (image.shape[:2], show.said) == ((180, 320), "connecting")
        assert near(image, 315, 3, BANNER_COLOR)


def test_a_snapshot_is_fresh_full_and_plain_unless_it_is_to_be_drawn() -> None:
    counting = Counting()
    with studio(encode=counting) as one, one.watching(PREVIEW) as show:
        one.tap(frame(30))
        one.next_jpeg(show, 0)
        with one.watching(PLAIN) as plain, one.watching(DRAWN) as drawn:
            assert plain.number == 0, "the picture of before is not fresh"
            one.tap(frame(120, size_wh=(640, 480)))
            shown = [decode_jpeg(one.next_jpeg(one_show, 0)[1]) for one_show in (plain, drawn)]
    assert [image.shape[:2] for image in shown] == [(480, 640), (480, 640)]
    assert np.abs(shown[0].astype(int) - 120).max() <= 2
    assert near(shown[1], 60, 110, color_of(0))


def test_who_asks_while_others_still_take_their_snapshot_gets_a_fresh_one() -> None:
    with studio() as one, one.watching(PLAIN) as first:
        one.tap(frame(30))
        one.next_jpeg(first, 0)
        with one.watching(PLAIN) as second:
            assert not second.number
            one.tap(frame(120))
            assert decode_jpeg(one.next_jpeg(second, 0)[1])[0, 0, 0] > 110


def test_half_of_the_time_at_least_is_not_spent_on_pictures() -> None:
    spans: list[tuple[float, float]] = []

    def slow(image_bgr: ImageBgr, quality: int) -> bytes:
        began = time.monotonic()
        time.sleep(0.1)
        spans.append((began, time.monotonic()))
        return b"jpeg"

    with studio(encode=slow) as one, one.watching(PREVIEW) as show, feeding(one):
        number = 0
        while number < 3:
            number, _ = one.next_jpeg(show, number)
    for (began, ended), (next_began, _) in itertools.pairwise(spans):
        assert next_began - ended >= ended - began


def test_a_snapshot_gives_up_when_no_picture_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studio_module, "SNAPSHOT_PATIENCE_S", 0.1)
    away = SourceReport(state=SourceState.STALLED, reason="no picture for 12 s")
    with (
        studio(source=lambda: away) as one,
        one.watching(PLAIN) as show,
        pytest.raises(PreviewRefused, match=r"no picture came within 0\.1 s: stalled: no picture for 12 s"),
    ):
        one.next_jpeg(show, 0)


def test_parts_of_frames_and_other_channels_are_not_shown() -> None:
    counting = Counting()
    with studio(encode=counting) as one, one.watching(PLAIN) as show:
        one.tap(frame(10, branch_of=3))
        one.tap(frame(20, channel_id=1))
        one.tap(frame(200))
        assert decode_jpeg(one.next_jpeg(show, 0)[1])[0, 0, 0] > 190
    assert counting.count == 1


def test_an_algorithm_that_the_task_does_not_have_is_refused() -> None:
    with (
        studio() as one,
        pytest.raises(PreviewRefused, match="no algorithm 2; its last is 1"),
        one.watching(Wish(index=2)),
    ):
        pass


def test_a_picture_that_cannot_be_drawn_ends_its_previews_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    def load() -> ImageBgr:
        raise RuntimeError("the decoder broke")

    with studio() as one:
        with caplog.at_level(logging.ERROR), one.watching(PREVIEW) as show:
            one.tap(Frame(0, 0, 0, picture=Picture(SIZE_WH, load)))
            with pytest.raises(PreviewRefused, match="cannot be drawn; the engine's log says more"):
                one.next_jpeg(show, 0)
        assert "the decoder broke" in caplog.text
        with one.watching(PREVIEW) as show:
            one.tap(frame(10))
            assert one.next_jpeg(show, 0)[1]


def test_viewers_are_sent_away_when_the_engine_ends() -> None:
    with studio() as one, one.watching(PREVIEW) as show:
        one.close()
        with pytest.raises(EOFError):
            one.next_jpeg(show, 0)
