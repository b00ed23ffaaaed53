from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamserver.core.arrays import Detections, ImageBgr
from streamserver.core.objects import Face, Pose, Recognition, Segment, TurnedBox
from streamserver.core.results import WHOLE_FRAME
from streamserver.vision.draw import algorithms, shapes
from streamserver.vision.draw.algorithms import DRAWINGS, drawing
from streamserver.vision.draw.findings import Findings, Part
from streamserver.vision.draw.palette import BLUE, GREEN, RED, color_of, skeleton_of
from streamserver.vision.draw.shapes import Style

SIZE_WH = (320, 240)


def canvas() -> ImageBgr:
    return np.zeros((SIZE_WH[1], SIZE_WH[0], 3), np.uint8)


def drawn(draw: algorithms.Drawing, findings: Findings, **style: object) -> ImageBgr:
    image = canvas()
    draw(image, findings, Style(**style))  # type: ignore[arg-type]
    return image


def touched(image: ImageBgr) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of what was drawn, right and bottom exclusive."""
    rows, columns = np.nonzero(image.any(axis=2))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def found(*boxes: tuple[float, float, float, float], track_ids: list[int] | None = None) -> Detections:
    return Detections.from_arrays(boxes, [0.5] * len(boxes), range(len(boxes)), track_ids)


def part(sub_id: int, *labels: str, track_id: int = 0, class_id: int | None = None) -> Part:
    recognitions = [Recognition(label) for label in labels]
    if class_id is not None:
        recognitions.append(Recognition(class_ids=(class_id,), scores=(0.9,)))
    return Part(sub_id, track_id, Findings(recognitions=recognitions))


def test_a_box_lies_on_the_outermost_pixels_of_an_object_in_the_colour_of_its_class() -> None:
    image = drawn(shapes.draw_classes, Findings(detections=found((50, 60, 150, 200))), put_text=False)
    assert touched(image) == (49, 59, 151, 201)  # two pixels thick, on both sides of the edge
    assert tuple(image[60, 100]) == color_of(0) and not image[130, 100].any()


def test_labels_say_class_and_score_and_a_number_where_names_end() -> None:
    findings = Findings(detections=found((50, 100, 150, 200), (160, 100, 300, 200)))
    named = drawn(shapes.draw_classes, findings, class_names=("person", "1"))
    assert touched(named)[1] < 99
    assert np.array_equal(named, drawn(shapes.draw_classes, findings, class_names=("person",)))
    assert not np.array_equal(named, drawn(shapes.draw_classes, findings))


def test_a_label_stands_inside_a_box_that_reaches_the_upper_edge() -> None:
    image = drawn(shapes.draw_classes, Findings(detections=found((0, 0, 300, 200))))
    assert image[4:10, 4:40].any()


def test_tracks_have_colours_of_their_own_and_untracked_objects_no_number() -> None:
    boxes = ((10, 100, 60, 200), (100, 100, 160, 200))
    image = drawn(shapes.draw_tracks, Findings(detections=found(*boxes, track_ids=[3, 4])), put_text=False)
    assert tuple(image[150, 10]) == color_of(3) and tuple(image[150, 100]) == color_of(4)
    untracked = Findings(detections=found(*boxes))
    assert np.array_equal(drawn(shapes.draw_tracks, untracked), drawn(shapes.draw_tracks, untracked, put_text=False))


@pytest.mark.parametrize(("points", "painted", "bare"), [
    (((20, 20), (200, 20)), (20, 100), (100, 100)),
    (((20, 20), (200, 20), (200, 200), (20, 200)), (110, 20), (100, 100)),
])  # fmt: skip
def test_areas_are_lines_and_outlines(
    points: tuple[tuple[int, int], ...], painted: tuple[int, int], bare: tuple[int, int]
) -> None:
    findings = Findings(touched_areas=[np.array(points, np.float32)])
    image = drawn(shapes.draw_areas, findings, area_color=RED)
    assert tuple(image[painted]) == RED and not image[bare].any()
    assert tuple(drawn(shapes.draw_areas, findings)[painted]) == BLUE


def test_a_single_point_is_no_line() -> None:
    assert not drawn(shapes.draw_areas, Findings(touched_areas=[np.array([[5, 5]], np.float32)])).any()


def test_masks_tint_only_the_object_also_where_they_reach_beyond_the_picture() -> None:
    mask = np.zeros((40, 40), np.bool_)
    mask[:20] = True
    segments = [Segment((-10, -5), mask), Segment((300, 230), mask), Segment((500, 500), mask)]
    image = drawn(shapes.draw_segments, Findings(detections=found((0, 0, 5, 5)), segments=segments))
    assert image[:15, :30].all(axis=1).any() and not image[15:200].any()
    assert image[235, 310].any()


def test_a_mask_lets_the_picture_shine_through() -> None:
    image = np.full((20, 20, 3), 255, np.uint8)
    shapes.draw_segments(image, Findings(segments=[Segment((0, 0), np.ones((20, 10), np.bool_))]), Style())
    assert (image[:, 10:] == 255).all() and (image[:, :10] >= 100).all() and (image[:, :10] < 255).any()


@pytest.mark.parametrize("joints", [17, 18, 25, 26])
def test_every_joint_of_a_known_skeleton_is_part_of_it(joints: int) -> None:
    edges = skeleton_of(joints)
    assert {joint for edge in edges for joint in edge} == set(range(joints))
    assert len(set(map(frozenset, edges))) == len(edges)


def test_bones_join_only_joints_that_were_found() -> None:
    keypoints = np.zeros((17, 3), np.float32)
    keypoints[5], keypoints[6], keypoints[7] = (100, 100, 0.9), (200, 100, 0.9), (100, 200, 0.3)
    image = drawn(shapes.draw_poses, Findings(poses=[Pose(keypoints)]))
    assert image[100, 150].any() and not image[150, 100].any()
    assert tuple(image[100, 100]) == GREEN and not image[200, 100].any()


def test_openpose_joints_with_low_scores_are_drawn_and_missing_ones_not() -> None:
    keypoints = np.zeros((18, 3), np.float32)
    keypoints[1], keypoints[2] = (100, 100, 0.1), (200, 100, 0.1)
    image = drawn(shapes.draw_poses, Findings(poses=[Pose(keypoints)]))
    assert image[100, 150].any() and not image[:20, :20].any()


@pytest.mark.parametrize(("heatmap_loss", "drawn_at_all"), [("MSELoss", False), ("L1JointRegression", True)])
def test_the_loss_of_a_heatmap_decides_from_which_score_a_joint_counts(heatmap_loss: str, drawn_at_all: bool) -> None:
    pose = Pose(np.full((17, 2), 50, np.float32), np.full(17, 0.2, np.float32))
    assert bool(drawn(shapes.draw_poses, Findings(poses=[pose]), heatmap_loss=heatmap_loss).any()) is drawn_at_all


def test_joints_of_an_unknown_skeleton_are_points() -> None:
    pose = Pose(np.array([[50, 50], [200, 50], [90, 90]], np.float32))
    image = drawn(shapes.draw_poses, Findings(poses=[pose]))
    assert tuple(image[50, 50]) == GREEN and not image[50, 120].any()


def test_faces_have_five_points_and_the_name_of_their_part() -> None:
    points = np.array([[110, 110], [130, 110], [120, 120], [112, 130], [128, 130]], np.float32)
    faces = [Face((100, 100, 140, 140), 0.9, points)]
    image = drawn(shapes.draw_faces, Findings(faces=faces))
    assert tuple(image[120, 120]) == GREEN and tuple(image[100, 120]) == BLUE and not image[:90].any()
    named = drawn(shapes.draw_faces, Findings(faces=faces, parts=[part(0, "Ann")]))
    assert named[:98].any()


def test_turned_boxes_are_drawn_turned() -> None:
    box = TurnedBox((150, 120), (100, 40), math.pi / 4, 0.8, 2)
    image = drawn(shapes.draw_turned_boxes, Findings(turned_boxes=[box]), put_text=False)
    for x, y in box.corners_xy():
        assert image[round(float(y)) - 1 : round(float(y)) + 2, round(float(x)) - 1 : round(float(x)) + 2].any()
    assert not image[70:72, 100:102].any()


def test_the_text_of_a_plate_stands_at_its_object_whatever_a_filter_took_away() -> None:
    plates = found((20, 100, 120, 140), (180, 100, 300, 140))
    by_row = drawn(shapes.draw_part_texts, Findings(detections=plates, parts=[part(1, "京A12345")]))
    assert touched(by_row)[0] >= 178
    left_over = found((180, 100, 300, 140), track_ids=[7])
    by_track = drawn(shapes.draw_part_texts, Findings(detections=left_over, parts=[part(1, "京A12345", track_id=7)]))
    assert np.array_equal(by_row, by_track)
    gone = Findings(detections=left_over, parts=[part(0, "京B1", track_id=6), part(5, "京C1")])
    assert not drawn(shapes.draw_part_texts, gone).any()


def test_rows_of_parts_count_faces_first() -> None:
    face = Face((10, 150, 40, 190), 0.9, np.full((5, 2), 20, np.float32))
    findings = Findings(detections=found((180, 100, 300, 140)), faces=[face], parts=[part(1, "A")])
    assert findings.box_of(findings.parts[0]) == (180, 100, 300, 140)
    assert findings.box_of(part(0, "B")) == face.box_xyxy
    assert findings.box_of(part(WHOLE_FRAME, "C")) is None


def test_lines_of_text_are_drawn_at_their_corners() -> None:
    corners = np.array([[[100, 100], [200, 120], [196, 140], [96, 120]]], np.float32)
    detections = Detections.from_arrays([[96, 100, 200, 140]], [1], [0], corners_xy=corners)
    image = drawn(shapes.draw_corner_texts, Findings(detections=detections, parts=[part(0, "招牌")]))
    assert image[109:112, 145:155].any() and image[:99].any()


def test_attributes_are_those_of_cars_or_of_people() -> None:
    detections = Detections.from_arrays([[100, 100, 200, 200]] * 2, [1, 1], [0, 2], [1, 1])
    cars, people = ("red", "blue"), ("man", "woman")

    def label(row: int, **style: object) -> ImageBgr:
        findings = Findings(detections=detections, parts=[part(row, class_id=1)])
        return drawn(shapes.draw_attributes, findings, **style)

    both = {"car_attributes": cars, "person_attributes": people}
    assert np.array_equal(label(0, **both), label(0, person_attributes=people))
    assert np.array_equal(label(1, **both), label(1, car_attributes=cars))
    assert not np.array_equal(label(0, **both), label(1, **both))
    assert label(1).any()


def test_parts_of_the_whole_frame_are_drawn_like_the_frame() -> None:
    inner = Findings(detections=found((50, 60, 150, 200)))
    outer = Findings(parts=[Part(WHOLE_FRAME, 0, inner)])
    draw = drawing("draw_yolov5_results")
    assert np.array_equal(drawn(draw, outer), drawn(draw, inner))


@pytest.mark.parametrize("name", ["default", "save_only"])
def test_the_drawings_that_draw_nothing_draw_nothing(name: str) -> None:
    assert not drawn(drawing(name), everything()).any()


@pytest.mark.parametrize("name", sorted(DRAWINGS))
def test_every_drawing_takes_a_frame_with_all_findings_and_an_empty_one(name: str) -> None:
    assert not drawn(drawing(name), Findings()).any()
    assert drawn(drawing(name), everything()).any() is np.bool_(name not in ("default", "save_only"))


def test_an_unknown_drawing_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'draw_yolov5_results'"):
        drawing("draw_yolo5_results")
    with pytest.raises(ValueError, match="use one of default, save_only"):
        drawing("x")


def everything() -> Findings:
    return Findings(
        detections=found((20, 100, 120, 140), (180, 100, 300, 140), track_ids=[1, 2]),
        poses=[Pose(np.full((17, 3), 90, np.float32))],
        recognitions=[Recognition("jump", (0.9,), (3,))],
        faces=[Face((100, 100, 140, 140), 0.9, np.full((5, 2), 120, np.float32))],
        turned_boxes=[TurnedBox((150, 120), (100, 40), 0.5, 0.8, 2)],
        segments=[Segment((20, 100), np.ones((40, 100), np.bool_))],
        touched_areas=[np.array([[5, 5], [90, 90]], np.float32)],
        parts=[part(1, "京A12345"), part(2, "Ann")],
    )


wild = st.floats(width=32, allow_nan=True, allow_infinity=True)


@settings(max_examples=60)
@given(values=st.lists(wild, min_size=4, max_size=4), class_id=st.integers(-(2**62), 2**62), text=st.text(max_size=30))
def test_no_number_and_no_text_breaks_a_drawing(values: list[float], class_id: int, text: str) -> None:
    findings = Findings(
        detections=Detections.from_arrays([values], [values[0]], [class_id], [abs(class_id)]),
        poses=[Pose(np.array([values[:2]] * 17, np.float32))],
        recognitions=[Recognition(text, (), (class_id,))],
        faces=[Face((values[0], values[1], values[2], values[3]), values[0], np.array([values[:2]] * 5, np.float32))],
        turned_boxes=[TurnedBox((values[0], values[1]), (values[2], values[3]), values[0], values[1], class_id)],
        touched_areas=[np.array([values[:2], values[2:]], np.float32)],
        parts=[part(1, text), part(class_id, text)],
    )
    with np.errstate(all="ignore"):
        for draw in {*DRAWINGS.values(), algorithms.DETECTIONS, algorithms.TRACKS, algorithms.AREAS}:
            drawn(draw, findings)
