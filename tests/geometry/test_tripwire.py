from __future__ import annotations

import numpy as np
import pytest

from streamserver.geometry.lines import PointXy, Segment
from streamserver.geometry.tripwire import Crossing, LineWatch, Tripwire, TripwireOptions, _Passage

SIZE = (800, 600)
MIDDLE = Segment((400, 200), (400, 400))


def box_on(foot_xy: PointXy) -> list[float]:
    return [foot_xy[0] - 10, foot_xy[1] - 50, foot_xy[0] + 10, foot_xy[1]]


def walk(tripwire: Tripwire, feet: list[PointXy | None], *, track_id: int = 1, start: int = 0) -> list[int]:
    """The steps in which a track that walks over ``feet`` is reported; ``None`` where it is not seen."""
    alarms = []
    for step, foot in enumerate(feet, start):
        ids = np.array([] if foot is None else [track_id], dtype=np.int64)
        boxes = [] if foot is None else [box_on(foot)]
        if tripwire.update(step, ids, boxes, SIZE):
            alarms.append(step)
    return alarms


def path(*xs: float, y: float = 300) -> list[PointXy | None]:
    return [(x, y) for x in xs]


@pytest.mark.parametrize(
    ("direction", "rightward", "leftward"),
    [((0, 0), 1, 1), ((1, 0), 1, 0), ((-1, 0), 0, 1), ((5, 40), 1, 0), ((0, 1), 1, 1)],
)
@pytest.mark.parametrize("line", [MIDDLE, Segment(MIDDLE.end_xy, MIDDLE.start_xy)])
def test_only_crossings_along_the_direction_count(
    line: Segment, direction: PointXy, rightward: int, leftward: int
) -> None:
    options = TripwireOptions(direction_xy=direction)
    assert len(walk(Tripwire(line, options), path(300, 380, 420, 500))) == rightward
    assert len(walk(Tripwire(line, options), path(500, 420, 380, 300))) == leftward


def test_the_frame_of_the_alarm_is_that_in_which_the_foot_is_beyond_the_band() -> None:
    assert walk(Tripwire(MIDDLE, TripwireOptions()), path(380, 402, 403, 410, 420)) == [3]


@pytest.mark.parametrize(
    ("feet", "alarms"),
    [
        (path(380, 398, 402, 399, 401, 398, 380), 0),
        (path(380, 398, 402, 399, 401, 398, 402, 420), 1),
        (path(402, 399, 403, 420, 430), 0),
        (path(399, 380, 420), 1),
        (path(400, 400, 400), 0),
        (path(380, 400, 420), 1),
    ],
)
def test_trembling_on_the_line_counts_at_most_once(feet: list[PointXy | None], alarms: int) -> None:
    assert len(walk(Tripwire(MIDDLE, TripwireOptions()), feet)) == alarms


@pytest.mark.parametrize(
    ("feet", "alarms"),
    [
        (path(300, 500, y=150), 0),
        (path(300, 500, y=450), 0),
        ([(380, 150), (402, 150), (420, 300)], 0),
        ([(380, 300), (402, 300), (402, 150), (420, 150)], 1),
        ([(380, 300), (402, 300), (402, 150), (398, 150), (380, 150)], 0),
        ([(300, 250), (500, 130)], 0),
        ([(300, 250), (500, 160)], 1),
    ],
)
def test_going_round_an_end_is_no_crossing(feet: list[PointXy | None], alarms: int) -> None:
    assert len(walk(Tripwire(MIDDLE, TripwireOptions()), feet)) == alarms


def test_after_going_round_the_way_back_through_the_line_counts() -> None:
    feet: list[PointXy | None] = [(380, 300), (380, 150), (420, 150), (420, 300), (380, 300)]
    assert walk(Tripwire(MIDDLE, TripwireOptions()), feet) == [4]


@pytest.mark.parametrize(
    ("line", "feet", "alarms"),
    [
        (Segment((400, 0), (400, 595)), path(300, 500, y=620), 1),
        (Segment((400, 0), (400, 588)), path(300, 500, y=599), 1),
        (Segment((400, 0), (400, 570)), path(300, 500, y=599), 0),
        (Segment((400, 595), (400, 0)), path(300, 500, y=620), 1),
        (Segment((400, -50), (400, 700)), path(300, 500, y=800), 1),
        (Segment((795, 200), (795, 300)), [(780, 500), (799, 500)], 0),
        (Segment((0, 300), (300, 300)), [(400, 280), (400, 320)], 0),
        (Segment((0, 300), (300, 300)), [(-5, 280), (-5, 320)], 1),
    ],
)
def test_an_end_at_the_border_reaches_beyond_it(line: Segment, feet: list[PointXy | None], alarms: int) -> None:
    assert len(walk(Tripwire(line, TripwireOptions()), feet)) == alarms


def test_a_track_that_was_missing_at_the_line_counts_once_when_it_is_found_again() -> None:
    feet = [*path(300, 380), None, None, None, *path(420), None, *path(430, 500)]
    assert walk(Tripwire(MIDDLE, TripwireOptions()), feet) == [5]


@pytest.mark.parametrize(("min_frames", "expected"), [(0, [1]), (2, [1]), (5, [4]), (8, [])])
def test_a_crossing_waits_until_the_track_was_seen_often_enough(min_frames: int, expected: list[int]) -> None:
    options = TripwireOptions(min_frames=min_frames)
    assert walk(Tripwire(MIDDLE, options), path(380, 420, 430, 440, 450, 460)) == expected


def test_a_crossing_that_waits_goes_with_its_track() -> None:
    tripwire = Tripwire(MIDDLE, TripwireOptions(min_frames=5, max_lost=3))
    assert walk(tripwire, [*path(380, 420), None, None, None, None, *path(430, 440, 450, 460, 470)]) == []


@pytest.mark.parametrize(("repeat_frames", "expected"), [(1, [1, 2, 3, 4]), (2, [1, 3]), (3, [1, 4]), (300, [1])])
def test_a_track_is_not_reported_again_within_the_repeat_frames(repeat_frames: int, expected: list[int]) -> None:
    options = TripwireOptions(repeat_frames=repeat_frames)
    assert walk(Tripwire(MIDDLE, options), path(380, 420, 380, 420, 380)) == expected


def test_tracks_are_told_apart_and_objects_without_a_track_are_passed_over() -> None:
    tripwire = Tripwire(MIDDLE, TripwireOptions())
    ids = np.array([7, 8, 0], dtype=np.int64)
    assert tripwire.update(0, ids, [box_on((380, 300)), box_on((420, 300)), box_on((380, 310))], SIZE) == []
    assert tripwire.update(1, ids, [box_on((420, 300)), box_on((430, 300)), box_on((420, 310))], SIZE) == [7]
    assert len(tripwire) == 2


def test_a_track_is_forgotten_after_the_frames_it_may_be_lost() -> None:
    tripwire = Tripwire(MIDDLE, TripwireOptions(max_lost=100))
    none = np.zeros(0, dtype=np.int64)
    tripwire.update(0, np.array([1]), [box_on((380, 300))], SIZE)
    tripwire.update(100, none, [], SIZE)
    assert len(tripwire) == 1
    tripwire.update(101, none, [], SIZE)
    assert len(tripwire) == 0


def test_memory_stays_bounded_over_many_tracks() -> None:
    tripwire = Tripwire(MIDDLE, TripwireOptions(max_lost=10))
    for step in range(2000):
        tripwire.update(step, np.array([step + 1]), [box_on((380, 300))], SIZE)
        assert len(tripwire) <= 11


def test_a_reset_forgets_sides() -> None:
    tripwire = Tripwire(MIDDLE, TripwireOptions())
    walk(tripwire, path(380))
    tripwire.reset()
    assert walk(tripwire, path(420), start=1) == []


def test_who_is_clearly_on_a_side_need_not_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same crossings as with the distance of everybody in every frame."""
    random = np.random.default_rng(9)
    places = random.uniform(100, 500, (30, 1, 2)) + np.cumsum(random.normal(0, 12, (30, 120, 2)), axis=1)

    def crossings() -> list[list[Crossing]]:
        watch = LineWatch([(100, 300), (320, 280), (540, 320)])
        boxes = [[box_on(tuple(foot_xy)) for foot_xy in feet] for feet in places.transpose(1, 0, 2)]
        return [watch.update(step, np.arange(1, 31), now, (640, 640)) for step, now in enumerate(boxes)]

    found = crossings()
    monkeypatch.setattr(_Passage, "is_settled", False)
    assert sum(map(len, found)) > 20
    assert found == crossings()
