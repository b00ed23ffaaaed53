from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamserver.core.arrays import Detections, ImageBgr
from streamserver.core.errors import GraphError
from streamserver.core.objects import Face
from streamserver.core.picture import Picture
from streamserver.core.settings import Settings
from streamserver.elements.distributor import ELEMENT, Distributor
from streamserver.engine.element import ElementContext
from streamserver.engine.frame import Frame

WIDTH, HEIGHT = 200, 100
FACE_POINTS = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]], np.float32)


def rule(classes: list[str], port: int = 1, **interval: float) -> dict[str, Any]:
    return {**interval, "routes": [{"classes": classes, "port": port}]}


def context_of(configure: dict[str, Any], **values: Any) -> ElementContext:
    return ElementContext(
        element_id=3, name="distributor", config_file="distributor.json", configure=configure, settings=Settings(),
        **{"base_dir": Path(), **values},
    )  # fmt: skip


def make(
    folder: Path, *rules: dict[str, Any], names: str = "person\ncar\nplate\n", clock: Callable[[], float] = lambda: 0.0
) -> Distributor:
    (folder / "names.txt").write_text(names)
    configure = {"default_port": 0, "rules": list(rules), "class_names_file": "names.txt"}
    element = Distributor(context_of(configure, base_dir=folder), clock=clock)
    element.returns = {1: 9, 2: 9}
    return element


def picture() -> Picture:
    """Each pixel says where it is: blue is x, green is y."""
    image: ImageBgr = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(WIDTH), np.arange(HEIGHT)[:, None]
    return Picture((WIDTH, HEIGHT), lambda: image)


def frame_with(*objects: tuple[list[float], int], number: int = 0, **values: Any) -> Frame:
    detections = Detections.from_arrays(
        [box for box, _ in objects],
        [0.9] * len(objects),
        [class_id for _, class_id in objects],
        [7 + row for row in range(len(objects))],
    )
    return Frame(2, 1, number, **{"picture": picture(), "detections": detections, "sequence": number, **values})


def send(element: Distributor, frame: Frame) -> list[tuple[int | None, Frame]]:
    sent: list[tuple[int | None, Frame]] = []
    element.process(frame, lambda frame, *, port=None: sent.append((port, frame)))
    assert sent[-1] == (0, frame)
    assert frame.sub_frames == [part for _, part in sent[:-1]]
    return sent[:-1]


CAR, PERSON, PLATE = ([10.0, 20.0, 60.0, 50.0], 1), ([100.0, 0.0, 120.0, 90.0], 0), ([70.0, 70.0, 90.0, 80.0], 2)


def test_the_file_offers_the_element() -> None:
    assert ELEMENT is Distributor


def test_parts_leave_first_and_each_says_what_it_is(tmp_path: Path) -> None:
    element = make(tmp_path, rule(["car", "plate"]), rule(["person"], 2))
    frame = frame_with(CAR, PERSON, PLATE, number=6, loop=3, timestamp_us=5, clock_s=7.5)
    sent = send(element, frame)
    assert [(port, part.sub_id, part.track_id) for port, part in sent] == [(1, 0, 7), (2, 1, 8), (1, 2, 9)]
    for _, part in sent:
        assert (part.channel_id, part.graph_id, part.frame_id, part.sequence, part.loop) == (2, 1, 6, 6, 3)
        assert (part.timestamp_us, part.clock_s, part.branch_of, part.returns_to) == (5, 7.5, frame.ticket, 9)
        assert not len(part.detections)
    assert frame.parts_out == {9: 3}
    assert len({frame.ticket, *(part.ticket for _, part in sent)} - {0}) == 4
    car = sent[0][1].picture
    assert car is not None
    assert car.size_wh == (50, 30)
    assert (car.bgr[0, 0, :2].tolist(), car.bgr[-1, -1, :2].tolist()) == ([10, 20], [59, 49])


def test_a_frame_without_parts_has_no_ticket(tmp_path: Path) -> None:
    frame = frame_with(PERSON)
    assert send(make(tmp_path, rule(["car"])), frame) == []
    assert (frame.ticket, frame.parts_out) == (0, {})


def test_parts_that_come_back_nowhere_are_parts_and_nobody_waits_for_them(tmp_path: Path) -> None:
    element = make(tmp_path, rule(["car"], 1), rule(["car"], 5, frame_interval=2))
    frame = frame_with(CAR)
    assert [(port, part.returns_to) for port, part in send(element, frame)] == [(1, 9), (5, None)]
    assert frame.parts_out == {9: 1}


def test_boxes_are_cut_at_the_frames_edge_and_what_lies_outside_is_no_part(tmp_path: Path) -> None:
    element = make(tmp_path, rule(["car"]))
    boxes: list[list[float]] = [
        [-20, -5, 15, 10.4],
        [190, 90, 300, 300],
        [WIDTH, 0, WIDTH + 9, 20],
        [-9, -9, 0, 0],
        [50, 50, 50, 60],
    ]
    boxes += [[np.nan, 0, 5, 5], [20.6, 30.2, 20.9, 30.7]]
    sent = send(element, frame_with(*(([float(v) for v in box], 1) for box in boxes)))
    assert [part.sub_id for _, part in sent] == [0, 1, 6]
    pictures = [part.picture for _, part in sent]
    assert [one.size_wh for one in pictures if one] == [(15, 11), (10, 10), (1, 1)]
    assert all(one.bgr.shape[:2] == one.size_wh[::-1] for one in pictures if one)


@pytest.mark.parametrize("shift", [0, 1])
def test_corners_are_straightened_and_keep_the_reading_direction(tmp_path: Path, shift: int) -> None:
    """A plate of 40 by 10 pixels, turned by ``shift`` quarters: its first corner comes out at the top left."""
    corners = np.roll([[50, 30], [90, 30], [90, 40], [50, 40]], -shift, axis=0)
    frame = frame_with(([50, 30, 90, 40], 2))
    frame.detections = Detections.from_arrays([[50, 30, 90, 40]], [0.9], [2], None, [corners])
    [(_, part)] = send(make(tmp_path, rule(["plate"])), frame)
    assert part.picture is not None
    assert part.picture.size_wh == ((40, 10), (10, 40))[shift]
    top_left = part.picture.bgr[0, 0, :2].astype(int)
    assert np.abs(top_left - corners[0]).max() <= 1
    assert part.picture.bgr.shape[:2] == part.picture.size_wh[::-1]


def test_tall_lines_of_text_are_turned_by_a_quarter(tmp_path: Path) -> None:
    corners = [[50, 10], [60, 10], [60, 40], [50, 40]]
    frame = frame_with(([50, 10, 60, 40], 0))
    frame.detections = Detections.from_arrays([[0, 0, 0, 0]], [0.9], [0], None, [corners])
    [(_, part)] = send(make(tmp_path, rule(["ppocr"]), names="ppocr"), frame)
    assert part.picture is not None
    assert part.picture.size_wh == (30, 10)
    image = part.picture.bgr
    assert image.shape == (10, 30, 3)
    assert image[0, 0, 0] > image[-1, 0, 0]  # the right end of the line's first pixels is at the top now
    assert image[0, 0, 1] < image[0, -1, 1]


@pytest.mark.parametrize(
    ("corners", "size"),
    [
        ([[5, 5], [5, 5], [5, 5], [5, 5]], (40, 10)),
        ([[np.nan, 5], [9, 5], [9, 9], [5, 9]], (40, 10)),
        ([[-90, 5], [-50, 5], [-50, 9], [-90, 9]], None),
    ],
)
def test_corners_that_hold_nothing_leave_the_box_and_those_outside_leave_nothing(
    tmp_path: Path, corners: Any, size: Any
) -> None:
    frame = frame_with()
    frame.detections = Detections.from_arrays([[50, 30, 90, 40]], [0.9], [2], None, [corners])
    sent = send(make(tmp_path, rule(["plate"])), frame)
    assert [part.picture.size_wh for _, part in sent if part.picture] == ([size] if size else [])


def test_faces_come_first_have_the_first_name_and_are_aligned(tmp_path: Path) -> None:
    element = make(tmp_path, rule(["face"], 2), rule(["car"]), rule([], 1), names="face\ncar")
    frame = frame_with(CAR)
    shifted = FACE_POINTS + np.array([30, -20])
    frame.faces = [
        Face((60, 20, 110, 90), 0.9, shifted.astype(np.float32)),
        Face((-9, -9, 20, 20), 0.9, np.zeros((5, 2), np.float32)),
    ]
    sent = send(element, frame)
    assert [(port, part.sub_id) for port, part in sent] == [(2, 0), (2, 1), (1, 2), (1, -1)]
    aligned, plain, _, whole = (part.picture for _, part in sent)
    assert aligned is not None
    assert plain is not None
    assert aligned.size_wh == (112, 112)
    assert np.abs(aligned.bgr[71, 56, :2].astype(int) - (86, 51)).max() <= 1
    assert plain.size_wh == (20, 20)
    assert whole is frame.picture


def test_two_rules_may_send_an_object_to_two_ports_and_each_gets_a_part_of_its_own(tmp_path: Path) -> None:
    element = make(tmp_path, rule(["car"], 1), rule(["car"], 2, frame_interval=2))
    (_, one), (_, two) = send(element, frame_with(CAR))
    assert one is not two
    assert (one.sub_id, one.track_id) == (two.sub_id, two.track_id)
    assert len(send(element, frame_with(CAR, number=3))) == 1


def test_routes_of_one_interval_are_one_table_in_which_the_later_wins(tmp_path: Path) -> None:
    first = {"frame_interval": 3, "routes": [{"classes": ["car", "person"], "port": 1}]}
    element = make(tmp_path, first, rule(["car"], 2, frame_interval=3))
    assert [port for port, _ in send(element, frame_with(CAR, PERSON))] == [2, 1]


def test_frame_intervals_count_the_frames_of_the_source(tmp_path: Path) -> None:
    element = make(tmp_path, rule(["car"], frame_interval=3))
    fired = [number for number in range(10) if send(element, frame_with(CAR, number=number))]
    assert fired == [0, 3, 6, 9]


def test_time_intervals_fire_once_a_channel_when_more_than_that_has_passed(tmp_path: Path) -> None:
    now = [100.0]
    element = make(tmp_path, rule(["car"], time_interval=1.5), clock=lambda: now[0])
    fired = []
    for tick in range(8):
        now[0] = 100 + 0.5 * tick
        fired.append(len(send(element, frame_with(CAR, number=tick))))
    assert fired == [1, 0, 0, 0, 1, 0, 0, 0]
    other = frame_with(CAR)
    other.channel_id = 5
    assert len(send(element, other)) == 1
    assert len(send(element, frame_with(CAR, discontinuity=True))) == 1


def test_the_end_of_a_channel_forgets_it(tmp_path: Path) -> None:
    element = make(tmp_path, rule(["car"], time_interval=9))
    send(element, frame_with(CAR))
    end, sent = Frame(2, 1, 0, end_of_stream=True), []
    element.end_of_stream(end, lambda frame, *, port=None: sent.append(frame))
    assert sent == [end]
    assert len(send(element, frame_with(CAR))) == 1


def test_a_class_beyond_the_names_is_told_once_and_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    element = make(tmp_path, rule(["car"]))
    for _ in range(3):
        assert [part.sub_id for _, part in send(element, frame_with((CAR[0], 16), CAR, (CAR[0], -1)))] == [1]
    assert caplog.text.count("names 3 classes, and class 16 is none of them") == 1
    assert caplog.text.count("class -1 is none of them") == 1


def test_a_route_for_a_class_that_has_no_name_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(tmp_path, rule(["car", "bus"]))
    assert "distributor.json: element 3: class_names_file does not name bus" in caplog.text


def test_without_names_one_class_means_faces_and_objects_stay(caplog: pytest.LogCaptureFixture) -> None:
    element = Distributor(context_of({"default_port": 0, "rules": [rule(["retinaface"])]}))
    frame = frame_with(PERSON)
    frame.faces = [Face((0, 0, 50, 50), 0.9, FACE_POINTS)]
    assert [part.sub_id for _, part in send(element, frame)] == [0]
    assert "'retinaface' means faces" in caplog.text


def test_whole_frames_need_no_names_and_a_file_with_none_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    configure = {"default_port": 0, "rules": [rule([])], "class_names_file": "empty.txt"}
    element = Distributor(context_of(configure, base_dir=tmp_path))
    assert [part.sub_id for _, part in send(element, frame_with(CAR))] == [-1]


@pytest.mark.parametrize(
    ("configure", "words"),
    [
        ({"default_port": None}, "default_port: expected a port's number, got None"),
        ({"default_port": 4}, "default_port: output port 4 is not connected"),
        ({"rules": None}, "rules: expected a list, got None"),
        ({"rules": [7]}, r"rules\[0\]: expected an object, got 7"),
        ({"rules": [{}]}, r"rules\[0\].routes: is missing"),
        ({"rules": [rule(["a"], 3)]}, r"rules\[0\].routes\[0\].port: output port 3 is not connected, only 0, 1"),
        ({"rules": [rule(["a"], 0)]}, r"rules\[0\].routes\[0\].port: 0 is the default_port"),
        ({"rules": [rule(["a"], True)]}, r"routes\[0\].port: expected a port's number, got True"),
        ({"rules": [{"routes": [{"port": 1}]}]}, r"routes\[0\].classes: is missing"),
        ({"rules": [rule([3])]}, r"classes\[0\]: expected a class name, got 3"),  # type: ignore[list-item]
        (
            {"rules": [rule(["a"], frame_interval=0)]},
            r"rules\[0\].frame_interval: expected a whole number from 1, got 0",
        ),
        ({"rules": [rule(["a"], time_interval=-1)]}, r"rules\[0\].time_interval: expected seconds, got -1"),
        ({"rules": [rule(["a"], time_interval=1, frame_interval=1)]}, r"rules\[0\]: has time_interval and frame_inter"),
        ({"rules": [rule(["a", "b"])]}, "class_names_file: is missing; rules name a, b"),
        ({"rules": [rule(["a"])], "class_names_file": "absent.txt"}, "class_names_file: class names '.*absent.txt'"),
        ({"is_affine": 3}, "is_affine: expected true or false, got 3"),
    ],
)
def test_what_cannot_be_used_names_file_element_and_key(tmp_path: Path, configure: Any, words: str) -> None:
    full = {"default_port": 0, "rules": [], **configure}
    with pytest.raises(GraphError, match=f"distributor.json: element 3 'distributor': .*{words}"):
        Distributor(context_of(full, base_dir=tmp_path, output_ports=(0, 1)))


@given(
    rows=st.lists(
        st.tuples(st.lists(st.floats(-300, 500, width=32), min_size=4, max_size=4), st.integers(-1, 4)), max_size=6
    ),
    number=st.integers(0, 12),
)
def test_every_part_is_of_an_object_that_was_found_and_lies_in_the_frame(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[list[float], int]], number: int
) -> None:
    folder = tmp_path_factory.mktemp("names")
    element = make(folder, rule(["car", "plate"]), rule(["person"], 2, frame_interval=2), rule([], 3, frame_interval=3))
    frame = frame_with(*rows, number=number)
    before = frame.detections
    sent = send(element, frame)
    assert frame.detections is before
    ids = [part.sub_id for _, part in sent if part.sub_id >= 0]
    assert ids == sorted(set(ids))
    for port, part in sent:
        assert part.picture is not None
        assert part.picture.bgr.shape == (*part.picture.size_wh[::-1], 3)
        if part.sub_id == -1:
            assert (port, number % 3) == (3, 0)
            continue
        (left, top, right, bottom), class_id = rows[part.sub_id]
        assert port == {0: 2, 1: 1, 2: 1}[class_id]
        x, y = part.picture.bgr[0, 0, :2].tolist()
        assert x <= max(left, 0) < x + 1 or left < 0 == x
        assert part.picture.size_wh[0] <= right - left + 2
        assert y < bottom
        assert top < y + part.picture.size_wh[1]
