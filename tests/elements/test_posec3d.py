"""The posec3d element: its keys, its windows, what waits in them, and the whole graph of sophon-stream's sample."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamserver import elements
from streamserver.core.arrays import Detections
from streamserver.core.errors import GraphError, ModelError, ModelNotFoundError
from streamserver.core.objects import Pose
from streamserver.core.picture import Picture
from streamserver.core.settings import Settings
from streamserver.elements.posec3d import ELEMENT
from streamserver.engine.element import Element
from streamserver.engine.frame import Frame
from streamserver.engine.runner import Runner
from streamserver.graph.demo import Channel
from streamserver.graph.normalise import normalise
from streamserver.graph.read import read_sample
from tests import assets
from tests.elements.poses import Out, frame, make
from tests.engine.elements import frames_in
from tests.models import yolo_files
from tests.models.pose_networks import answers_always, names_strongest_joint
from tests.searching import examples

ACTIONS = ("wave", "jump", "sit", "fall")
KEYS: dict[str, Any] = {
    "model_path": "actions.onnx",
    "class_names_file": "actions.txt",
    "frames_num": 4,
    "clips_num": 1,
}


def pose(strongest: int, *, points: int = 17) -> Pose:
    """Somebody one of whose points is surer than the others."""
    places = np.random.default_rng(1).random((points, 2)).astype(np.float32) * 40
    scores = np.full(points, 0.2, dtype=np.float32)
    scores[strongest] = 1
    return Pose(places, scores)


def files(tmp_path: Path) -> None:
    if not (tmp_path / "actions.onnx").exists():
        (tmp_path / "actions.txt").write_text("\n".join(ACTIONS))
        names_strongest_joint(tmp_path / "actions.onnx", classes=len(ACTIONS), frames=8)


def opened(tmp_path: Path, **keys: Any) -> Element:
    files(tmp_path)
    element = make(ELEMENT, tmp_path, {**KEYS, **keys})
    element.open()
    return element


def seen(number: int, strongest: int = 0, **values: Any) -> Frame:
    return frame(number, **{"poses": (pose(strongest),), **values})


def labels(frames: list[Frame]) -> list[str]:
    return [one.recognitions[0].label if one.recognitions else "" for one in frames]


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"model_path": ...}, "model_path: expected a path"),
        ({"class_names_file": ...}, "class_names_file: is missing"),
        ({"class_names_file": "no.txt"}, r"class_names_file: class names '.*no\.txt' cannot be read"),
        ({"frames_num": 0}, "frames_num: expected a whole number from 1 to 1000, got 0"),
        ({"frames_num": 2.5}, "frames_num: expected a whole number"),
        ({"clips_num": 0}, "clips_num: expected a whole number from 1"),
    ],
)
def test_a_wrong_key_is_named_with_file_and_element(tmp_path: Path, keys: dict[str, Any], problem: str) -> None:
    (tmp_path / "actions.txt").write_text("\n".join(ACTIONS))
    with pytest.raises(GraphError, match=f"^posec3d.json: element 7001 'posec3d': {problem}"):
        make(ELEMENT, tmp_path, {**KEYS, **keys})


def test_every_posec3d_configuration_of_the_real_graphs_is_read(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\n".join(map(str, range(60))))
    for file in sorted((assets.graphs_dir() / "yolov5_fastpose_posec3d" / "config").glob("posec3d_*.json")):
        keys = json.loads(file.read_text("utf-8"))["configure"] | {"class_names_file": "names.txt"}
        with pytest.raises(ModelNotFoundError, match=r"element 7001 'posec3d': model_path: .*bmodel"):
            make(ELEMENT, tmp_path, keys).open()


def test_names_that_are_not_as_many_as_classes_are_refused_when_it_opens(tmp_path: Path) -> None:
    files(tmp_path)
    (tmp_path / "few.txt").write_text("one\ntwo\n")
    with pytest.raises(GraphError, match="class_names_file: has 2 names, the model has 4 classes"):
        make(ELEMENT, tmp_path, {**KEYS, "class_names_file": "few.txt"}).open()


def test_a_file_of_another_kind_is_refused_when_it_opens(tmp_path: Path) -> None:
    files(tmp_path)
    answers_always(tmp_path / "actions.onnx", {"out": np.zeros((17, 8, 8), np.float32)}, size_wh=(64, 64))
    where = r"^posec3d\.json: element 7001 'posec3d': model_path: 'actions\.onnx'"
    with pytest.raises(ModelError, match=f"{where} is no PoseC3D network"):
        make(ELEMENT, tmp_path, KEYS).open()


def test_a_window_is_held_until_it_is_full_and_all_of_it_gets_the_action(tmp_path: Path) -> None:
    element, out = opened(tmp_path), Out()
    for number in range(3):
        element.process(seen(number, 2), out)
    assert out.frames == []
    element.process(seen(3, 2), out)
    assert [frame.frame_id for frame in out.frames] == [0, 1, 2, 3]
    assert labels(out.frames) == ["sit"] * 4
    [recognition] = out.frames[0].recognitions
    assert 0.3 < recognition.scores[0] <= 1
    assert recognition.class_ids == ()
    for number in range(4, 8):
        element.process(seen(number, 0), out)
    assert labels(out.frames) == ["sit"] * 4 + ["wave"] * 4
    element.close()


@settings(max_examples=examples(20))
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["", "skipped", "break", "empty", "end"])), max_size=40))
def test_every_frame_leaves_once_and_in_order_whatever_comes(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, str]]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "windows"
    folder.mkdir(exist_ok=True)
    element, out = opened(folder), Out()
    came: list[Frame] = []
    for number, (channel, what) in enumerate(steps):
        values = {"channel_id": channel, "skipped": what == "skipped", "discontinuity": what == "break"}
        if what == "end":
            came.append(Frame(channel, 0, 0, end_of_stream=True))
            element.end_of_stream(came[-1], out)
            continue
        came.append(seen(number, **values, **({"poses": ()} if what in ("empty", "skipped") else {})))
        element.process(came[-1], out)
    for channel in range(3):
        came.append(Frame(channel, 0, 0, end_of_stream=True))
        element.end_of_stream(came[-1], out)
    for channel in range(3):
        expected = [id(frame) for frame in came if frame.channel_id == channel]
        assert [id(frame) for frame in out.frames if frame.channel_id == channel] == expected


def test_a_channel_that_ends_or_breaks_off_lets_its_frames_go_with_what_was_seen(tmp_path: Path) -> None:
    element, out = opened(tmp_path), Out()
    for number in range(2):
        element.process(seen(number, 1), out)
    element.process(seen(0, 3, discontinuity=True), out)
    assert labels(out.frames) == ["jump"] * 2
    element.end_of_stream(Frame(0, 0, 9, end_of_stream=True), out)
    assert labels(out.frames) == ["jump"] * 2 + ["fall", ""]
    assert out.frames[-1].end_of_stream


def test_channels_have_windows_of_their_own(tmp_path: Path) -> None:
    element, out = opened(tmp_path), Out()
    for number in range(4):
        for channel in (0, 1):
            element.process(seen(number, channel, channel_id=channel), out)
    assert [(frame.channel_id, label) for frame, label in zip(out.frames, labels(out.frames), strict=True)] == [
        *[(0, "wave")] * 4,
        *[(1, "jump")] * 4,
    ]


def test_frames_that_are_only_passed_on_wait_in_their_place_and_do_not_fill_the_window(tmp_path: Path) -> None:
    element, out = opened(tmp_path), Out()
    assert element.wants_skipped
    for number in range(10):
        element.process(seen(number, 2) if number % 3 == 0 else frame(number, skipped=True), out)
    assert [frame.frame_id for frame in out.frames] == list(range(10))
    assert labels(out.frames) == ["sit"] * 10


def test_a_window_in_which_nobody_is_seen_has_no_action_and_objects_without_poses_are_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    element, out = opened(tmp_path), Out()
    for number in range(4):
        element.process(frame(number), out)
    assert (labels(out.frames), caplog.messages) == ([""] * 4, [])
    for number in range(8):
        element.process(frame(number, detections=Detections.from_arrays([[0, 0, 9, 9]], [1], [0])), out)
    assert labels(out.frames) == [""] * 12
    [message] = caplog.messages
    assert message.endswith("objects, but no poses in 4 frames; posec3d needs fastpose before it")


def test_poses_that_lack_points_are_refused_with_a_cure(tmp_path: Path) -> None:
    element = opened(tmp_path)
    with pytest.raises(GraphError, match=r"ports: expected poses that contain the 17 points of COCO, got .* 14 points"):
        element.process(frame(poses=(pose(0, points=14),)), Out())


def test_what_waits_holds_no_pixels_and_looks_the_same_afterwards(tmp_path: Path) -> None:
    element, out = opened(tmp_path), Out()
    x, y = np.meshgrid(np.arange(320), np.arange(240))
    pixels = np.stack([x % 256, y, (x + y) // 3], axis=2).astype(np.uint8)
    loads = []

    def load() -> npt.NDArray[np.uint8]:
        loads.append(1)
        return pixels

    part = frame(picture=Picture((320, 240), load))
    pictures = [Picture((320, 240), load) for _ in range(2)]
    element.process(seen(0, picture=pictures[0], drawing=pictures[1], sub_frames=[part]), out)
    assert len(loads) == 3
    element.end_of_stream(Frame(0, 0, 9, end_of_stream=True), out)
    whole = out.frames[0]
    for kept in (whole.picture, whole.drawing, part.picture):
        assert kept is not None
        assert all(kept is not picture for picture in pictures)
        assert kept.size_wh == (320, 240)
        assert np.abs(kept.bgr.astype(int) - pixels).mean() < 4
    assert len(loads) == 3


class _Yolo:
    """A file that says: one person, always at the same place."""

    side = 64
    box = (32.0, 32.0, 30.0, 40.0)

    @classmethod
    def write(cls, path: Path) -> None:
        rows = np.zeros((1, 252, 85), dtype=np.float32)
        rows[0, :, :4] = 1
        rows[0, 7, :6] = (*cls.box, 0.95, 0.98)
        yolo_files.write(path, {"output": rows}, shape=(1, 3, cls.side, cls.side))


def sample(tmp_path: Path, graph_file: str) -> list[Any]:
    """The graphs of sophon-stream's sample, with models of ours and windows of 12 frames."""
    folder = tmp_path / "yolov5_fastpose_posec3d" / "config"
    folder.mkdir(parents=True)
    for file in (assets.graphs_dir() / "yolov5_fastpose_posec3d" / "config").glob("*.json"):
        shutil.copyfile(file, folder / file.name)
    _Yolo.write(tmp_path / "yolo.onnx")
    maps = np.zeros((17, 16, 12), dtype=np.float32)
    maps[np.arange(17), np.arange(17) % 13 + 2, np.arange(17) % 8 + 2] = np.where(np.arange(17) == 3, 1, 0.5)
    answers_always(tmp_path / "pose.onnx", {"out": maps}, size_wh=(48, 64))
    files(tmp_path)
    (tmp_path / "coco.names").write_text("\n".join(_classes(folder)))
    ours = {
        "yolov5": {"model_path": "yolo.onnx", "class_names_file": "coco.names"},
        "fastpose": {"model_path": "pose.onnx"},
        "posec3d": {**KEYS, "frames_num": 12},
    }
    for file in folder.glob("*.json"):
        content = json.loads(file.read_text("utf-8"))
        keys = ours.get(str(content.get("name", "")).removesuffix("_group")) if isinstance(content, Mapping) else None
        if keys:
            content["configure"] |= keys
            file.write_text(json.dumps(content))
    return [normalise(raw) for raw in read_sample(folder, graph_file)]


def _classes(folder: Path) -> list[str]:
    keys = json.loads((folder / "yolov5_group.json").read_text("utf-8"))["configure"]
    return list(keys["threshold_conf"])


@pytest.mark.parametrize(
    ("graph_file", "actions"),
    [("engine_group.json", True), ("engine_group_alphapose.json", False)],
)
def test_the_sample_of_sophon_stream_runs_from_its_own_files(tmp_path: Path, graph_file: str, actions: bool) -> None:
    record: list[Any] = []
    graphs = sample(tmp_path, graph_file)
    last = graphs[0].nodes[-1].name

    class Tapped(elements.element_class(last)):  # type: ignore[misc]
        """The last element; notes what leaves it."""

        def process(self, frame: Frame, emit: Any) -> None:
            super().process(frame, lambda frame, *, port=None: record.append(frame))

        def end_of_stream(self, frame: Frame, emit: Any) -> None:
            super().end_of_stream(frame, lambda frame, *, port=None: record.append(frame))

    runner = Runner(
        graphs,
        [Channel(channel_id=0, url=str(assets.clip("vtest.avi")), source_type="VIDEO", fps=-1, sample_interval=25)],
        settings=Settings(device="cpu", file_dirs="/", model_cache=str(tmp_path / "cache"), model_download=False),
        base_dir=tmp_path,
        element_class=lambda name: Tapped if name == last else elements.element_class(name),
    )
    assert runner.run() == []
    frames = frames_in(record)
    assert [one.frame_id for one in frames[:-1]] == list(range(0, 795, 25))
    assert frames[-1].end_of_stream
    for one in frames[:-1]:
        assert len(one.detections) == len(one.poses) == 1
        left, top, right, bottom = one.detections.boxes_xyxy[0]
        points = one.poses[0].keypoints
        assert points.shape == (17, 2)
        assert (points >= np.array([left, top]) - 0.2 * (right - left)).all()
        assert (points <= np.array([right, bottom]) + 0.2 * (right - left)).all()
    assert set(labels(frames[:-1])) == ({"fall"} if actions else {""})
