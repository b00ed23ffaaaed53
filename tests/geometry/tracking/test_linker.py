"""Who is who after a track was lost: the same when it was lost in mid-picture, soon and near; else somebody else."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from streamserver.geometry.tracking.linker import FORGET_S, LONGEST_S, Linker, _Track

SIZE_WH = (800, 600)
Centers = Mapping[int, tuple[float, float]]


def see(
    linker: Linker, clock_s: float, centers: Centers, *, wh: tuple[float, float] = (40, 100), class_id: int = 0
) -> list[int]:
    """Who tracks with these centres are, in the same order."""
    boxes = [(x - wh[0] / 2, y - wh[1] / 2, x + wh[0] / 2, y + wh[1] / 2) for x, y in centers.values()]
    ids = np.array(list(centers), dtype=np.int64)
    identities = linker.update(clock_s, ids, boxes, np.full(len(ids), class_id), SIZE_WH)
    return [int(identity) for identity in identities]


def walked(linker: Linker, *, speed: float = 100, until_s: float = 2.0, start_x: float = 100) -> float:
    """Track 1 walks to the right at ``speed`` px/s, ten frames a second; returns where it was last."""
    for frame in range(round(until_s * 10)):
        assert see(linker, frame / 10, {1: (start_x + speed * frame / 10, 300)}) == [1]
    return start_x + speed * (until_s - 0.1)


def test_a_track_keeps_its_number_and_nobody_is_nobody() -> None:
    linker = Linker()
    assert see(linker, 0, {7: (100, 300), 0: (200, 300), -3: (250, 300), 9: (300, 300)}) == [7, 0, 0, 9]
    assert see(linker, 0.1, {9: (300, 300), 7: (102, 300)}) == [9, 7]
    assert see(linker, 0.2, {}) == []
    assert len(linker) == 2


@pytest.mark.parametrize(
    ("after_s", "off_xy", "same"),
    [
        (0.5, (0, 0), True),
        (1.5, (0, 0), True),
        (0.5, (-50, 0), True),
        (1.5, (-150, 0), True),
        (0.5, (0, 30), True),
        (0.5, (0, 80), False),
        (0.5, (90, 0), False),
        (0.5, (-180, 0), False),
        (LONGEST_S + 0.1, (0, 0), False),
    ],
)
def test_who_begins_near_the_way_of_one_lost_shortly_before_is_the_same(
    after_s: float, off_xy: tuple[float, float], same: bool
) -> None:
    linker = Linker()
    expected_x = walked(linker) + 100 * after_s
    assert see(linker, 1.9 + after_s, {2: (expected_x + off_xy[0], 300 + off_xy[1])}) == [1 if same else 2]


@pytest.mark.parametrize(
    ("wh", "class_id", "same"),
    [((40, 100), 0, True), ((40, 100), 1, False), ((40, 180), 0, False), ((80, 100), 0, False), ((40, 60), 0, False)],
)
def test_another_class_or_size_is_another(wh: tuple[float, float], class_id: int, same: bool) -> None:
    linker = Linker()
    x = walked(linker) + 50
    assert see(linker, 2.4, {2: (x, 300)}, wh=wh, class_id=class_id) == [1 if same else 2]


def test_a_track_that_is_still_seen_is_nobody_else() -> None:
    linker = Linker()
    x = walked(linker)
    assert see(linker, 2.0, {1: (x + 10, 300), 2: (x + 12, 300)}) == [1, 2]


def test_of_two_that_would_do_almost_equally_well_none_is_taken() -> None:
    linker = Linker()
    x = walked(linker) + 50
    assert see(linker, 2.4, {2: (x, 310), 3: (x, 312)}) == [2, 3]
    linker.reset()
    x = walked(linker) + 50
    assert see(linker, 2.4, {2: (x, 301), 3: (x, 330)}) == [1, 3]


def test_each_continues_one_of_those_lost() -> None:
    linker = Linker()
    for frame in range(20):
        see(linker, frame / 10, {1: (100 + 10 * frame, 200), 2: (700 - 10 * frame, 400)})
    assert see(linker, 2.4, {3: (660 - 200, 400), 4: (140 + 200, 200)}) == [2, 1]


@pytest.mark.parametrize(("after_s", "same"), [(0.3, True), (1.2, False)])
def test_who_walked_out_of_the_picture_has_left_unless_it_is_back_at_once(after_s: float, same: bool) -> None:
    linker = Linker()
    x = walked(linker, start_x=585)
    assert x == 775
    assert see(linker, 1.9 + after_s, {2: (778, 300)}) == [1 if same else 2]


def test_who_stands_at_the_border_and_was_lost_there_is_the_same() -> None:
    linker = Linker()
    for frame in range(20):
        see(linker, frame / 10, {1: (400, 550)})
    assert see(linker, 3.2, {2: (402, 551)}) == [1]


def test_who_comes_in_at_a_border_is_not_one_lost_in_the_middle() -> None:
    linker = Linker()
    x = walked(linker, start_x=520, speed=110)
    assert see(linker, 2.9, {2: (x + 40, 300)}) == [2]


def test_a_chain_of_lost_tracks_is_one() -> None:
    linker = Linker()
    walked(linker)
    assert see(linker, 2.4, {2: (340, 300)}) == [1]
    assert see(linker, 2.5, {2: (350, 300)}) == [1]
    assert see(linker, 3.0, {3: (400, 300)}) == [1]


def test_when_the_tracker_finds_the_lost_one_again_nobody_jumps_and_none_is_two() -> None:
    linker = Linker()
    walked(linker)
    assert see(linker, 2.4, {2: (340, 300)}) == [1]
    assert see(linker, 2.5, {2: (350, 300), 1: (420, 300)}) == [1, 2]
    assert see(linker, 2.6, {1: (430, 300), 2: (360, 300), 5: (600, 100)}) == [2, 1, 5]


def test_after_a_reset_or_a_long_time_everybody_is_new() -> None:
    linker = Linker()
    walked(linker)
    see(linker, 2.4, {2: (340, 300)})
    assert see(linker, 2.4 + FORGET_S, {2: (340, 300)}) == [1]
    assert see(linker, 2.5 + 2 * FORGET_S, {2: (340, 300)}) == [2]
    linker.reset()
    assert len(linker) == 0
    assert see(linker, 2.0, {3: (340, 300)}) == [3]


def test_a_clock_that_goes_back_or_stands_still_links_nothing_and_keeps_numbers_apart() -> None:
    linker = Linker()
    x = walked(linker)
    assert see(linker, 1.9, {2: (x, 300)}) == [2]
    assert see(linker, 0.5, {3: (x, 300)}) == [3]


def test_no_two_in_a_frame_have_one_identity_whatever_comes_and_goes() -> None:
    linker, random = Linker(), np.random.default_rng(3)
    for step in range(400):
        ids = random.choice(np.arange(1, 25), size=random.integers(0, 12), replace=False) + step // 50 * 8
        seen = see(linker, step * 0.2, {int(i): tuple(random.uniform(200, 400, 2)) for i in ids})
        assert len(set(seen)) == len(ids)


@pytest.mark.parametrize(("crowd", "seconds_per_frame", "frames_kept"), [(200, 2.0, 16), (10, 0.0, 301)])
def test_a_hundred_thousand_tracks_of_one_frame_leave_nothing(
    crowd: int, seconds_per_frame: float, frames_kept: int
) -> None:
    """The second time on a clock that stands still, with fewer."""
    linker, none = Linker(), np.zeros(0, dtype=np.int64)
    boxes, classes = np.tile([100.0, 100, 130, 180], (crowd, 1)), np.zeros(crowd, dtype=np.int64)
    for step in range(500):
        linker.update(step * seconds_per_frame, np.arange(crowd) + crowd * step + 1, boxes, classes, SIZE_WH)
        assert len(linker) <= crowd * frames_kept
    for step in range(500, 802):
        linker.update(step * seconds_per_frame, none, np.zeros((0, 4)), none, SIZE_WH)
    assert len(linker) == 0


def test_the_velocity_is_a_mean_over_the_time_that_has_passed() -> None:
    """The formula written with arrays: the same but for the last digit, for exp may be rounded otherwise there."""
    random = np.random.default_rng(6)
    track = _Track(1, 0, [0.0, 0.0, 10.0, 20.0], 0.0, 0)
    place, velocity, last_s = np.zeros(2), np.zeros(2), 0.0
    for frame in range(1, 200):
        clock_s = last_s + float(random.choice([0.0, 0.04, 0.2, 1.7]))
        box = random.uniform(0, 1000, 4)
        passed_s = clock_s - last_s
        if passed_s > 0:
            weight = max(1 / (track.moves + 1), -np.expm1(-passed_s / 0.7))
            velocity = velocity + weight * ((box[:2] - place) / passed_s - velocity)
        track.move(box.tolist(), clock_s, frame)
        place, last_s = box[:2], clock_s
        np.testing.assert_allclose(track.velocity_xy, velocity, rtol=1e-12)
