from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamserver.core.arrays import Detections, ImageBgr
from streamserver.core.errors import GraphError
from streamserver.core.objects import Face, Pose, Recognition, Segment, TurnedBox
from streamserver.core.picture import Picture
from streamserver.core.settings import Settings
from streamserver.elements.osd import Osd
from streamserver.engine.element import ElementContext
from streamserver.engine.frame import Frame
from streamserver.vision.draw.palette import BLUE, RED, color_of

NAMES = "person\ncar\n"


def context(base_dir: Path, **configure: Any) -> ElementContext:
    (base_dir / "names.txt").write_text(NAMES)
    return ElementContext(
        element_id=7,
        name="osd",
        config_file="osd.json",
        configure=configure,
        settings=Settings(),
        base_dir=base_dir,
    )


def make_frame(number: int = 0, **attributes: Any) -> Frame:
    image = np.full((240, 320, 3), 30, np.uint8)
    image.setflags(write=False)
    default = {
        "picture": Picture((320, 240), lambda: image),
        "detections": Detections.from_arrays([[50, 60, 150, 200]], [0.5], [1], [3]),
        "touched_areas": [np.array([[20, 20], [200, 20]], np.float32)],
        "poses": [Pose(np.array([[x, 220, 0.9] for x in range(17)], np.float32))],
        "turned_boxes": [TurnedBox((250, 120), (60, 40), 0.7, 0.8, 1)],
    }
    return Frame(4, 1, number, sequence=number, **{**default, **attributes})


def through(element: Osd, *frames: Frame) -> list[Frame]:
    emitted: list[Frame] = []

    def emit(frame: Frame, *, port: int | None = None) -> None:
        assert port is None
        emitted.append(frame)

    for frame in frames:
        element.process(frame, emit)
    return emitted


def drawn(element: Osd, frame: Frame) -> ImageBgr:
    """What the drawing shows; checks that the picture itself stays."""
    (emitted,) = through(element, frame)
    assert emitted is frame and frame.drawing is not None and frame.picture is not None
    shown = frame.drawing.bgr
    assert (frame.picture.bgr == 30).all()
    return shown


def at(image: ImageBgr, x: int, y: int) -> tuple[int, ...]:
    return tuple(int(value) for value in image[y, x])


UNTOUCHED = (30, 30, 30)
BOX_EDGE, LINE, JOINT, TURNED_EDGE = (100, 60), (100, 20), (8, 220), (256, 95)


@pytest.mark.parametrize(
    ("osd_type", "painted", "color"),
    [
        ("DET", BOX_EDGE, color_of(1)),
        ("TRACK", BOX_EDGE, color_of(3)),
        ("AREA", LINE, BLUE),
        ("POSE", JOINT, None),
        ("OBB", None, None),
    ],
)
def test_each_type_paints_its_own_findings_and_nothing_else(
    tmp_path: Path, osd_type: str, painted: tuple[int, int] | None, color: tuple[int, ...] | None
) -> None:
    shown = drawn(Osd(context(tmp_path, osd_type=osd_type, class_names_file="names.txt")), make_frame())
    places = {BOX_EDGE, LINE, JOINT}
    if painted is None:
        assert (shown[80:160, 200:300] != 30).any()
    else:
        assert at(shown, *painted) != UNTOUCHED
        assert color is None or at(shown, *painted) == color
    for place in places - {painted}:
        assert at(shown, *place) == UNTOUCHED, place
    if osd_type != "OBB":
        assert (shown[80:160, 200:300] == 30).all()


def test_the_colour_of_lines_is_that_of_the_drawing_library(tmp_path: Path) -> None:
    assert at(drawn(Osd(context(tmp_path, osd_type="AREA", draw_utils="BMCV")), make_frame()), *LINE) == RED


def test_labels_are_written_only_when_asked_for(tmp_path: Path) -> None:
    for osd_type in ("DET", "TRACK", "OBB"):
        plain, labelled = (
            drawn(Osd(context(tmp_path, osd_type=osd_type, class_names_file="names.txt", put_text=flag)), make_frame())
            for flag in (False, True)
        )
        assert not np.array_equal(plain, labelled), osd_type


def test_det_also_shows_masks_faces_and_what_was_read(tmp_path: Path) -> None:
    face = Face((200, 150, 240, 190), 0.9, np.full((5, 2), 170, np.float32))
    plate = Frame(4, 1, 0, sub_id=1, recognitions=[Recognition("京A12345")])
    osd = Osd(context(tmp_path, osd_type="DET", class_names_file="names.txt", put_text=True))
    bare = drawn(osd, make_frame())
    mask = Segment((50, 60), np.ones((140, 100), np.bool_))
    full = drawn(osd, make_frame(segments=[mask], faces=[face], sub_frames=[plate]))
    assert at(bare, 100, 130) == UNTOUCHED and at(full, 100, 130) != UNTOUCHED
    assert at(bare, 220, 150) == UNTOUCHED and at(full, 220, 150) == BLUE
    assert (bare[203:215, 50:140] == 30).all() and (full[203:215, 50:140] != 30).any()


def test_several_in_a_row_draw_over_each_other(tmp_path: Path) -> None:
    frame = make_frame()
    through(Osd(context(tmp_path, osd_type="AREA")), frame)
    shown = drawn(Osd(context(tmp_path, osd_type="TRACK")), frame)
    assert at(shown, *LINE) == BLUE and at(shown, *BOX_EDGE) == color_of(3)


def test_nothing_is_drawn_before_somebody_looks_and_then_what_was_found_at_that_time(tmp_path: Path) -> None:
    loads: list[int] = []

    def load() -> ImageBgr:
        loads.append(1)
        return np.full((240, 320, 3), 30, np.uint8)

    frame = make_frame(picture=Picture((320, 240), load))
    through(Osd(context(tmp_path, osd_type="TRACK")), frame)
    assert not loads
    frame.detections = Detections.empty()
    assert frame.drawing is not None and at(frame.drawing.bgr, *BOX_EDGE) == color_of(3)
    assert frame.drawing.size_wh == (320, 240) and len(loads) == 1


def test_skipped_frames_repeat_the_last_objects_with_draw_interval_until_the_source_starts_over(tmp_path: Path) -> None:
    osd = Osd(context(tmp_path, osd_type="TRACK", draw_interval=True))
    empty = {"detections": Detections.empty(), "skipped": True}
    through(osd, make_frame(0))
    assert at(drawn(osd, make_frame(1, **empty)), *BOX_EDGE) == color_of(3)
    other_channel = dataclasses.replace(make_frame(1, **empty), channel_id=5)
    fresh = make_frame(2, **empty, discontinuity=True)
    through(osd, other_channel, fresh)
    assert other_channel.drawing is None and fresh.drawing is None
    through(osd, make_frame(3))
    osd.end_of_stream(Frame(4, 1, 4, end_of_stream=True), lambda frame, port=None: None)
    after = make_frame(5, **empty)
    through(osd, after)
    assert after.drawing is None


def test_without_draw_interval_skipped_frames_stay_as_they_are(tmp_path: Path) -> None:
    osd = Osd(context(tmp_path, osd_type="TRACK"))
    frames = through(osd, make_frame(0), make_frame(1, skipped=True))
    assert frames[0].drawing is not None and frames[1].drawing is None


def test_texts_stand_at_their_tops_and_lefts_whatever_was_found(tmp_path: Path) -> None:
    osd = Osd(
        context(tmp_path, osd_type="TEXT", texts=["京", "II"], tops=[10, 200], lefts=[250, 20], r=250, g=10, b=20)
    )
    shown = drawn(osd, make_frame())
    assert (shown[10:45, 250:285] != 30).any() and (shown[200:235, 20:60] != 30).any()
    assert at(shown, *BOX_EDGE) == UNTOUCHED and at(shown, *LINE) == UNTOUCHED
    assert (shown.reshape(-1, 3) == (20, 10, 250)).all(axis=1).any()


def test_algorithm_draws_with_the_named_function_and_always_with_text(tmp_path: Path) -> None:
    configure = {"osd_type": "ALGORITHM", "class_names_file": "names.txt"}
    shown = drawn(Osd(context(tmp_path, **configure, draw_func_name="draw_yolov5_results")), make_frame())
    det = drawn(Osd(context(tmp_path, osd_type="DET", class_names_file="names.txt", put_text=True)), make_frame())
    assert np.array_equal(shown, det)
    assert (drawn(Osd(context(tmp_path, **configure)), make_frame()) == 30).all()


def test_names_of_recognised_classes_come_from_their_own_file(tmp_path: Path) -> None:
    (tmp_path / "colours.txt").write_text("red\nblue\n")
    part = Frame(4, 1, 0, sub_id=0, recognitions=[Recognition(class_ids=(1,), scores=(0.9,))])

    def shown(**configure: Any) -> ImageBgr:
        name = "draw_license_plate_recognition_results"
        osd = Osd(context(tmp_path, osd_type="ALGORITHM", draw_func_name=name, **configure))
        return drawn(osd, make_frame(sub_frames=[part]))

    assert not np.array_equal(shown(), shown(recognice_names_file="colours.txt"))


def test_an_unknown_type_is_a_track_and_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        shown = drawn(Osd(context(tmp_path, osd_type="BOXES")), make_frame())
    assert at(shown, *BOX_EDGE) == color_of(3)
    assert "osd.json: element 7: osd_type 'BOXES' is unknown and taken for TRACK" in caplog.text


def test_an_optional_file_of_names_that_is_missing_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        osd = Osd(context(tmp_path, osd_type="ALGORITHM", draw_func_name="draw_yolox_results", class_names_file="no"))
        drawn(osd, make_frame())
    assert "class_names_file" in caplog.text and "numbers stand for the names" in caplog.text


@pytest.mark.parametrize(
    ("configure", "message"),
    [
        ({}, "osd_type: expected a text, got None; use one of DET, TRACK, POSE, AREA, OBB, ALGORITHM, TEXT"),
        ({"osd_type": 3}, "osd_type: expected a text, got 3"),
        ({"osd_type": "DET"}, "class_names_file: is needed for osd_type DET"),
        ({"osd_type": "OBB"}, "class_names_file: is needed for osd_type OBB"),
        (
            {"osd_type": "DET", "class_names_file": "missing"},
            "class_names_file: class names '.*missing' cannot be read",
        ),
        ({"osd_type": "TRACK", "draw_utils": "GPU"}, "draw_utils: got 'GPU'; use one of OPENCV, BMCV"),
        ({"osd_type": "TRACK", "draw_interval": 1}, "draw_interval: expected true or false, got 1"),
        ({"osd_type": "TRACK", "put_text": "yes"}, "put_text: expected true or false, got 'yes'"),
        ({"osd_type": "TRACK", "heatmap_loss": 1}, "heatmap_loss: expected a text, got 1"),
        (
            {"osd_type": "ALGORITHM", "draw_func_name": "draw_yolo5_results"},
            "draw_func_name: there is no drawing 'draw_yolo5_results'; did you mean 'draw_yolov5_results'",
        ),
        ({"osd_type": "ALGORITHM", "draw_func_name": []}, r"draw_func_name: expected a text, got \[\]"),
        ({"osd_type": "TEXT"}, "texts: expected a list of texts, got None"),
        ({"osd_type": "TEXT", "texts": ["a"], "tops": [1]}, "lefts: expected a list of whole numbers, got None"),
        ({"osd_type": "TEXT", "texts": ["a"], "tops": [True], "lefts": [1]}, "tops: expected a list of whole numbers"),
        ({"osd_type": "TEXT", "texts": ["a"], "tops": [2**40], "lefts": [1]}, "tops: expected a list of whole numbers"),
        (
            {"osd_type": "TEXT", "texts": ["a", "b"], "tops": [1], "lefts": [1, 2]},
            "tops, lefts, texts: have 1, 2 and 2 entries; give each text one top and one left",
        ),
        (
            {"osd_type": "TEXT", "texts": [], "tops": [], "lefts": [], "r": 256},
            "r: expected a whole number from 0 to 255",
        ),
        (
            {"osd_type": "TEXT", "texts": [], "tops": [], "lefts": [], "font_library": "names.txt"},
            "font_library: .*no font",
        ),
        ({"osd_type": "TRACK", "font_library": 3}, "font_library: expected the path of a font file, got 3"),
    ],
)
def test_what_cannot_be_used_is_refused_by_file_element_and_key(
    tmp_path: Path, configure: dict[str, Any], message: str
) -> None:
    with pytest.raises(GraphError, match=f"osd.json: element 7 'osd': {message}"):
        Osd(context(tmp_path, **configure))
