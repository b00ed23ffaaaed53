from __future__ import annotations

import numpy as np
import pytest

from streamserver.core.arrays import Detections, ImageBgr
from streamserver.core.objects import Face, Pose, Recognition, Segment, TurnedBox
from streamserver.vision.draw.findings import Findings, Part
from streamserver.vision.draw.palette import color_of
from streamserver.vision.draw.places import (
    BANNER_COLOR,
    EXCLUDED_COLOR,
    LINE_COLOR,
    ZONE_COLOR,
    Place,
    draw_banner,
    draw_objects,
    draw_place,
)
from streamserver.vision.draw.scaled import scale_for, scaled_findings, scaled_image
from streamserver.vision.draw.shapes import Style
from streamserver.vision.text import TextWriter


def canvas(size_wh: tuple[int, int] = (320, 240)) -> ImageBgr:
    return np.zeros((size_wh[1], size_wh[0], 3), np.uint8)


def points(*points_xy: tuple[float, float]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.array(points_xy, dtype=np.float64)


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_a_zone_is_outlined_and_tinted_where_it_lies_in_the_smaller_picture(factor: float) -> None:
    image = canvas((int(320 * factor), int(240 * factor)))
    draw_place(image, Place(points((40, 40), (200, 40), (200, 160), (40, 160))), factor)
    at = [(round(y * factor), round(x * factor)) for x, y in [(40, 100), (120, 40), (120, 100), (260, 100)]]
    assert [tuple(image[place]) for place in at[:2]] == [ZONE_COLOR, ZONE_COLOR]
    inside = image[at[2]]
    assert 0 < inside[2] < 100 and inside[1] < inside[2]
    assert not image[at[3]].any()


def test_a_line_has_an_arrow_from_its_middle_the_way_that_counts() -> None:
    image = canvas()
    draw_place(image, Place(points((160, 0), (160, 240)), (50.0, 0.0)), 1.0)
    assert tuple(image[10, 160]) == LINE_COLOR
    assert tuple(image[120, 180]) == LINE_COLOR, "the arrow's shaft"
    assert not image[120, 130].any(), "nothing on the other side"
    both_ways = canvas()
    draw_place(both_ways, Place(points((160, 0), (160, 240))), 1.0)
    assert not both_ways[120, 180].any()


def test_a_zone_may_have_an_arrow_and_a_place_may_be_a_point_or_nothing() -> None:
    zone = canvas()
    draw_place(zone, Place(points((100, 100), (200, 100), (150, 160)), (0.0, -1.0)), 1.0)
    assert tuple(zone[95, 150]) == ZONE_COLOR
    dot, nothing = canvas(), canvas()
    draw_place(dot, Place(points((50, 60))), 1.0)
    draw_place(nothing, Place(np.zeros((0, 2))), 1.0)
    assert tuple(dot[60, 50]) == LINE_COLOR
    assert not nothing.any()


def test_a_line_with_corners_stays_open_and_has_its_arrow_at_its_middle_part() -> None:
    image = canvas()
    corners = points((20, 20), (120, 20), (120, 200), (300, 200))
    draw_place(image, Place(corners, (50.0, 0.0), is_line=True), 1.0)
    assert [tuple(image[y, x]) for x, y in ((60, 20), (120, 60), (200, 200))] == [LINE_COLOR] * 3
    assert tuple(image[110, 135]) == LINE_COLOR, "the arrow's shaft"
    assert not image[120, 80].any(), "neither closed nor filled"


def test_what_is_left_out_is_tinted_grey() -> None:
    image = canvas()
    draw_place(image, Place(points((40, 40), (200, 40), (200, 160), (40, 160)), is_excluded=True), 1.0)
    assert tuple(image[40, 100]) == EXCLUDED_COLOR
    assert image[100, 100].any() and len(set(image[100, 100].tolist())) == 1


def test_places_may_reach_far_beyond_the_picture() -> None:
    image = canvas()
    draw_place(image, Place(points((-1e9, -1e9), (1e9, -1e9), (1e9, 1e9), (-1e9, 1e9)), (1e9, 0.0)), 1.0)
    assert image[5, 5].any()
    outside = canvas()
    draw_place(outside, Place(points((1000, 1000), (1100, 1000), (1100, 1100))), 1.0)
    assert not outside.any()


def test_objects_carry_the_colour_of_their_class_and_the_number_of_their_track() -> None:
    boxes = [(50, 60, 150, 200)]
    plain, numbered = canvas(), canvas()
    draw_objects(plain, Findings(detections=Detections.from_arrays(boxes, [0.5], [3])), Style())
    draw_objects(numbered, Findings(detections=Detections.from_arrays(boxes, [0.5], [3], [7])), Style())
    assert tuple(plain[150, 50]) == tuple(numbered[150, 50]) == color_of(3)
    assert numbered.any(axis=2).sum() > plain.any(axis=2).sum(), "the label is longer"


def test_a_banner_covers_the_upper_edge_and_no_more() -> None:
    image = canvas()
    draw_banner(image, "reconnecting: nobody answers", TextWriter())
    assert tuple(image[1, 300]) == BANNER_COLOR
    assert (image[:20] > 200).any(), "letters"
    assert not image[60:].any()
    draw_banner(canvas((16, 4)), "too small for it", TextWriter())


def test_pictures_become_smaller_and_never_larger() -> None:
    assert scale_for((1920, 1080), 960) == 0.5
    assert scale_for((640, 480), 960) == 1.0
    image = canvas((1920, 1080))
    assert scaled_image(image, 0.5).shape == (540, 960, 3)
    same = scaled_image(image, 1.0)
    assert same is not image
    assert same.shape == image.shape
    assert scaled_image(canvas((1000, 1)), 0.1).shape == (1, 100, 3)


def test_everything_that_was_found_becomes_smaller_with_the_picture() -> None:
    box, corners = (100, 60, 200, 160), np.arange(8).reshape(1, 4, 2)
    face = Face((10, 20, 30, 40), 0.9, np.full((5, 2), 12, np.float32))
    part = Part(0, 0, Findings(detections=Detections.from_arrays([box], [0.5], [0])))
    half = scaled_findings(
        Findings(
            detections=Detections.from_arrays([box], [0.5], [2], [4], corners),
            poses=[Pose(np.array([[10, 20, 0.5]], np.float32))],
            recognitions=[Recognition("text")],
            faces=[face],
            turned_boxes=[TurnedBox((50, 40), (20, 10), 0.3, 0.8, 1)],
            segments=[Segment((8, 6), np.ones((10, 20), bool)), Segment((0, 0), np.ones((0, 0), bool))],
            touched_areas=[np.array([[4, 8]], np.float32)],
            parts=[part],
        ),
        0.5,
    )
    assert half.detections.boxes_xyxy.tolist() == [[50, 30, 100, 80]]
    assert half.detections.corners_xy is not None and half.detections.corners_xy[0, 3].tolist() == [3, 3.5]
    assert (half.detections.track_ids.tolist(), half.detections.class_ids.tolist()) == ([4], [2])
    assert half.poses[0].keypoints.tolist() == [[5, 10, 0.5]]
    assert half.faces[0].box_xyxy == (5, 10, 15, 20)
    assert half.faces[0].points_xy[0].tolist() == [6, 6]
    assert (half.turned_boxes[0].center_xy, half.turned_boxes[0].size_wh) == ((25, 20), (10, 5))
    assert (half.segments[0].left_top_xy, half.segments[0].mask.shape) == ((4, 3), (5, 10))
    assert half.touched_areas[0].tolist() == [[2, 4]]
    assert half.parts[0].findings.detections.boxes_xyxy.tolist() == [[50, 30, 100, 80]]
    assert half.recognitions[0].label == "text"
