"""RetinaFace and YuNet: the arithmetic against one done by hand, the layouts of files, and real faces."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from streamserver.core.errors import ModelError
from streamserver.core.objects import Face
from streamserver.models import retinaface, yunet
from streamserver.models.faces import FaceFinder, load_face_finder
from streamserver.models.normalisation import Normalisation
from streamserver.models.retinaface import RetinaFace
from streamserver.models.yunet import YuNet
from streamserver.runtime.session import TensorSpec, open_session
from tests import assets
from tests.models import faces_by_hand as by_hand
from tests.models.constant_net import constant_net
from tests.searching import examples

Outputs = dict[str, np.ndarray[Any, Any]]
STRIDES = (8, 16, 32)


class FakeSession:
    """Answers every picture with the same outputs; remembers what it was shown."""

    name, provider = "fake.onnx", "CPUExecutionProvider"

    def __init__(self, outputs: Outputs, shape: Sequence[int | None] = (1, 3, 64, 64)) -> None:
        self.inputs = (TensorSpec("images", tuple(shape), "tensor(float)"),)
        self.outputs = tuple(TensorSpec(name, value.shape, "tensor(float)") for name, value in outputs.items())
        self.answers = list(outputs.values())
        self.seen = np.zeros(0)

    def run(self, inputs: dict[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        self.seen = inputs["images"].copy()
        return list(self.answers)


def cells(width: int, height: int, stride: int) -> int:
    return math.ceil(width / stride) * math.ceil(height / stride)


def retinaface_outputs(rng: np.random.Generator, width: int, height: int, *, spread: float = 1.0) -> Outputs:
    count = 2 * sum(cells(width, height, stride) for stride in STRIDES)
    numbers = {
        key: rng.normal(0, spread, (count, columns)) for key, columns in (("loc", 4), ("conf", 2), ("landm", 10))
    }
    return {key: value.astype(np.float32) for key, value in numbers.items()}


def yunet_outputs(rng: np.random.Generator, width: int, height: int) -> Outputs:
    numbers: Outputs = {}
    for stride in STRIDES:
        count = cells(width, height, stride)
        numbers |= {f"{key}_{stride}": rng.uniform(0, 1, (count, 1)) for key in ("cls", "obj")}
        numbers[f"bbox_{stride}"] = rng.normal(0.5, 0.7, (count, 4))
        numbers[f"kps_{stride}"] = rng.normal(0.5, 0.7, (count, 10))
    return {key: value.astype(np.float32) for key, value in numbers.items()}


def in_batch(outputs: Outputs) -> Outputs:
    return {key: value[None] for key, value in outputs.items()}


def assert_same(found: Sequence[Face], expected: list[by_hand.HandFace]) -> None:
    assert len(found) == len(expected)
    for face, hand in zip(found, expected, strict=True):
        assert face.box_xyxy == pytest.approx(hand.box, abs=0.05)
        assert face.score == pytest.approx(hand.score, abs=1e-5)
        assert face.points_xy == pytest.approx(np.array(hand.points), abs=0.05)


def found_by(finder: FaceFinder, width: int, height: int, *, min_score: float, iou: float, most: int) -> Sequence[Face]:
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    return finder.find(picture, min_score=min_score, iou_threshold=iou, max_count=most)


SIDES = st.sampled_from([32, 64, 72, 96, 120])
RANDOM = settings(max_examples=examples(40))
DRAWN: dict[str, Any] = {
    "seed": st.integers(0, 2**32 - 1),
    "width": SIDES,
    "height": SIDES,
    "min_score": st.floats(0.5, 0.9),
    "iou": st.floats(0.2, 0.7),
    "most": st.sampled_from([1, 5, 50]),
}


@RANDOM
@given(**DRAWN, softmax_inside=st.booleans())
def test_retinaface_decodes_as_one_does_by_hand(
    seed: int, width: int, height: int, min_score: float, iou: float, most: int, softmax_inside: bool
) -> None:
    outputs = retinaface_outputs(np.random.default_rng(seed), width, height)
    if softmax_inside:
        powers = np.exp(outputs["conf"])
        outputs["conf"] = powers / powers.sum(axis=1, keepdims=True)
    faces = by_hand.retinaface(outputs, width, height, logits=not softmax_inside)
    assume(by_hand.is_clear_cut(faces, min_score=min_score, iou=iou, plus=1))
    expected = by_hand.suppress(faces, min_score=min_score, iou=iou, most=most, plus=1)
    finder = RetinaFace(FakeSession(in_batch(outputs), (1, 3, height, width)))  # type: ignore[arg-type]
    assert_same(found_by(finder, width, height, min_score=min_score, iou=iou, most=most), expected)


@RANDOM
@given(**DRAWN)
def test_yunet_decodes_as_one_does_by_hand(
    seed: int, width: int, height: int, min_score: float, iou: float, most: int
) -> None:
    assume((width, height) != (32, 32))  # one cell of the coarsest stride does not tell which output is which
    outputs = yunet_outputs(np.random.default_rng(seed), width, height)
    faces = by_hand.yunet(outputs, width, height)
    assume(by_hand.is_clear_cut(faces, min_score=min_score, iou=iou, plus=0))
    expected = by_hand.suppress(faces, min_score=min_score, iou=iou, most=most, plus=0)
    finder = YuNet(FakeSession(in_batch(outputs), (1, 3, height, width)))  # type: ignore[arg-type]
    assert_same(found_by(finder, width, height, min_score=min_score, iou=iou, most=most), expected)


def one_face(outputs: Outputs) -> Outputs:
    """RetinaFace outputs for 64x64 in which only the prior of 32 pixels at the cell (3, 2) of stride 8 is a face."""
    plain = {key: np.zeros_like(value) for key, value in outputs.items()}
    plain["conf"][:] = (3, -3)
    plain["conf"][2 * (2 * 8 + 3) + 1] = (-3, 3)
    return plain


ONE_BOX = (28 - 16, 20 - 16, 28 + 16, 20 + 16)


def retinaface_layouts() -> dict[str, Outputs]:
    flat = one_face(retinaface_outputs(np.random.default_rng(0), 64, 64))
    powers = np.exp(flat["conf"])
    softmax = {**flat, "conf": powers / powers.sum(axis=1, keepdims=True)}
    joined = np.concatenate([flat["loc"], flat["conf"], flat["landm"]], axis=1)
    return {
        "usual": in_batch(flat),
        "other order": in_batch({key: softmax[key] for key in ("landm", "conf", "loc")}),
        "columns first": {key: value.T[None] for key, value in flat.items()},
        "without a batch": flat,
        "with an empty side": {key: value[None, :, :, None] for key, value in flat.items()},
        "joined": {"all": joined[None]},
    }


@pytest.mark.parametrize("layout", retinaface_layouts())
def test_every_layout_of_a_retinaface_is_read(layout: str, tmp_path: Path) -> None:
    path = constant_net(tmp_path / "r.onnx", retinaface_layouts()[layout])
    finder = load_face_finder(path, family=None, device="cpu")
    assert finder.family == "retinaface"
    [face] = found_by(finder, 64, 64, min_score=0.5, iou=0.4, most=50)
    assert face.box_xyxy == pytest.approx(ONE_BOX)
    assert face.score == pytest.approx(1 / (1 + math.exp(-6)), abs=1e-3)
    assert face.points_xy == pytest.approx(np.full((5, 2), (28, 20)))


@pytest.mark.parametrize(
    ("shape", "kind", "repeat"),
    [
        ((1, 3, 64, 64), TensorProto.FLOAT16, 1),
        ((1, 64, 64, 3), TensorProto.FLOAT, 1),
        ((1, 64, 64, 3), TensorProto.UINT8, 1),
        ((4, 3, 64, 64), TensorProto.FLOAT, 4),
        (("batch", 3, 64, 64), TensorProto.FLOAT, 1),
        (("batch", 3, "height", "width"), TensorProto.FLOAT, 1),
    ],
)
def test_size_batch_layout_and_type_come_from_the_file(
    shape: tuple[int | str, ...], kind: int, repeat: int, tmp_path: Path
) -> None:
    outputs = retinaface_layouts()["usual"]
    if kind == TensorProto.FLOAT16:
        outputs = {key: value.astype(np.float16) for key, value in outputs.items()}
    outputs = {key: np.repeat(value, repeat, axis=0) for key, value in outputs.items()}
    path = constant_net(tmp_path / "r.onnx", outputs, shape=shape, kind=kind)
    finder = load_face_finder(path, family="retinaface", device="cpu", longest_side=64)
    [face] = found_by(finder, 64, 64, min_score=0.5, iou=0.4, most=50)
    assert face.box_xyxy == pytest.approx(ONE_BOX)


def yunet_layouts() -> dict[str, Outputs]:
    flat = {key: np.zeros_like(value) for key, value in yunet_outputs(np.random.default_rng(0), 64, 96).items()}
    for key in ("cls_16", "obj_16"):
        flat[key][9] = 0.81
    flat["bbox_16"][9] = (0.5, 0.25, math.log(2), 0)
    maps = {
        key: value.T.reshape(1, -1, 96 // int(key[-2:].strip("_")), 64 // int(key[-2:].strip("_")))
        for key, value in flat.items()
    }
    logits = {
        key: np.where(value > 0, np.log(0.81 / 0.19), -20).astype(np.float32) if key[:3] in ("cls", "obj") else value
        for key, value in flat.items()
    }
    return {
        "usual": in_batch(flat),
        "other order": in_batch(dict(sorted(flat.items()))),
        "maps": maps,
        "sigmoid outside": in_batch(logits),
    }


@pytest.mark.parametrize("layout", yunet_layouts())
def test_every_layout_of_a_yunet_is_read(layout: str, tmp_path: Path) -> None:
    path = constant_net(tmp_path / "y.onnx", yunet_layouts()[layout], shape=(1, 3, 96, 64))
    finder = load_face_finder(path, family=None, device="cpu")
    assert finder.family == "yunet"
    [face] = found_by(finder, 64, 96, min_score=0.5, iou=0.4, most=50)
    assert face.box_xyxy == pytest.approx((24 - 16, 36 - 8, 24 + 16, 36 + 8), abs=1e-4)
    assert face.score == pytest.approx(0.81, abs=1e-4)
    assert face.points_xy == pytest.approx(np.full((5, 2), (16, 32)))


def test_what_an_overflowing_network_says_is_no_face() -> None:
    outputs = retinaface_layouts()["usual"]
    outputs["loc"][0, :40] = np.nan
    outputs["landm"][0, 40:80] = np.inf
    outputs["loc"][0, 80:120, 2:] = 9e3
    outputs["conf"][0, :120] = (-np.inf, np.inf)
    outputs["conf"][0, 120:] = np.nan
    finder = RetinaFace(FakeSession(outputs))  # type: ignore[arg-type]
    found = found_by(finder, 64, 64, min_score=0.5, iou=0.9, most=50)
    assert all(np.isfinite(face.box_xyxy).all() for face in found)


@pytest.mark.parametrize(
    ("outputs", "problem"),
    [
        (
            {"a": np.zeros((1, 84, 4))},
            r"yunet face detector: expected .*got \[1, 84, 4\].*retinaface face detector: .*168",
        ),
        (
            {"a": np.zeros((1, 168, 4)), "b": np.zeros((1, 168, 2))},
            r"expected for an input of 64x64 outputs of 168 rows",
        ),
        ({"a": np.zeros((1, 168, 15))}, r"4, 2 and 10 columns, or one of 16, got \[1, 168, 15\]"),
    ],
)
def test_a_file_of_no_family_is_refused_with_both_reasons(outputs: Outputs, problem: str, tmp_path: Path) -> None:
    numbers = {key: value.astype(np.float32) for key, value in outputs.items()}
    with pytest.raises(ModelError, match=problem):
        load_face_finder(constant_net(tmp_path / "x.onnx", numbers), family=None, device="cpu")


def test_a_grey_input_is_refused(tmp_path: Path) -> None:
    path = constant_net(tmp_path / "x.onnx", retinaface_layouts()["usual"], shape=(1, 1, 64, 64))
    with pytest.raises(ModelError, match="expected an input of 3 channels, got 1"):
        load_face_finder(path, family="retinaface", device="cpu")


def test_the_network_sees_the_picture_in_its_corner_and_black_around_it() -> None:
    session = FakeSession(retinaface_layouts()["usual"])
    RetinaFace(session).find(  # type: ignore[arg-type]
        np.full((32, 64, 3), (10, 20, 30), dtype=np.uint8), min_score=0.5, iou_threshold=0.4, max_count=5
    )
    assert session.seen[0, :, 0, 0].tolist() == [10 - 104, 20 - 117, 30 - 123]
    assert session.seen[0, :, 40, 0].tolist() == [-104, -117, -123]
    colours = Normalisation(rgb=True)
    RetinaFace(session, normalisation=colours).find(  # type: ignore[arg-type]
        np.full((32, 64, 3), (10, 20, 30), dtype=np.uint8), min_score=0.5, iou_threshold=0.4, max_count=5
    )
    assert session.seen[0, :, 0, 0].tolist() == [30, 20, 10]


def test_faces_come_back_in_pixels_of_the_picture() -> None:
    finder = RetinaFace(FakeSession(retinaface_layouts()["usual"]))  # type: ignore[arg-type]
    [face] = found_by(finder, 640, 320, min_score=0.5, iou=0.4, most=50)
    assert face.box_xyxy == pytest.approx([10 * side for side in ONE_BOX])
    assert face.points_xy == pytest.approx(np.full((5, 2), (280, 200)))


@pytest.fixture(scope="module")
def dynamic() -> FaceFinder:
    return load_face_finder(assets.model("yunet_n_dynamic.onnx"), family="yunet", device="cpu")


@pytest.mark.parametrize(
    ("picture_wh", "input_wh"),
    [
        ((1920, 1080), (640, 384)),
        ((480, 640), (480, 640)),
        ((300, 200), (320, 224)),
        ((4000, 20), (640, 32)),
        ((5, 5), (32, 32)),
    ],
)
def test_a_free_input_takes_the_proportions_of_the_picture(
    dynamic: FaceFinder, picture_wh: tuple[int, int], input_wh: tuple[int, int]
) -> None:
    assert dynamic.input_size(picture_wh) == input_wh
    assert found_by(dynamic, *picture_wh, min_score=0.6, iou=0.4, most=5) == ()


def picture_of(name: str) -> np.ndarray[Any, Any]:
    picture = cv2.imread(str(assets.clip(f"../{name}")))
    assert picture is not None
    return picture


def seen(finder: FaceFinder, picture: np.ndarray[Any, Any], min_score: float = 0.6) -> tuple[Face, ...]:
    return finder.find(picture, min_score=min_score, iou_threshold=0.4, max_count=50)


@pytest.fixture(scope="module", params=["yunet_n_dynamic.onnx", "yunet_s_640_640.onnx"])
def real(request: pytest.FixtureRequest) -> FaceFinder:
    return load_face_finder(assets.model(request.param), family=None, device="cpu")


def test_the_astronauts_face_is_found_with_its_points(real: FaceFinder) -> None:
    [face] = seen(real, picture_of("images/astronaut.png"))
    assert face.box_xyxy == pytest.approx((179, 64, 269, 175), abs=6)
    assert face.points_xy == pytest.approx(
        np.array([(202, 104), (247, 104), (222, 127), (203, 144), (242, 144)]), abs=5
    )
    assert face.score > 0.9


@pytest.mark.parametrize("name", ["images/chelsea.png", "faces/compreface/017_0.jpg"])
def test_a_cat_and_an_empty_place_have_no_face(real: FaceFinder, name: str) -> None:
    assert seen(real, picture_of(name)) == ()


def test_every_nose_of_the_group_pictures_is_found_and_nothing_else(real: FaceFinder) -> None:
    folder = assets.clip("../faces/compreface")
    noses = json.loads((folder / "noses.json").read_text())["images"]
    small = [name for name in noses if (folder / name).stat().st_size < 500_000]
    assert sum(len(noses[name]) for name in small) >= 38
    for name in small:
        faces = seen(real, picture_of(f"faces/compreface/{name}"), min_score=0.7)
        assert len(faces) == len(noses[name]), name
        for nose_xy in noses[name]:
            misses = [math.dist(face.points_xy[2], nose_xy) / (face.box_xyxy[2] - face.box_xyxy[0]) for face in faces]
            assert min(misses) < 0.22, (name, nose_xy)


def test_opencv_finds_the_same_with_the_same_weights() -> None:
    path = assets.model("yunet_s_640_640.onnx")
    picture = np.zeros((640, 640, 3), dtype=np.uint8)
    picture[:512, :512] = picture_of("images/astronaut.png")
    [expected] = cv2.FaceDetectorYN.create(str(path), "", (640, 640), 0.6, 0.4).detect(picture)[1]
    [face] = seen(load_face_finder(path, family=None, device="cpu"), picture)
    left, top, right, bottom = face.box_xyxy
    assert (left, top, right - left, bottom - top) == pytest.approx(tuple(expected[:4]), abs=0.5)
    assert face.points_xy == pytest.approx(expected[4:14].reshape(5, 2), abs=0.5)
    assert face.score == pytest.approx(float(expected[14]), abs=1e-3)


def test_suggestions_tell_the_families_apart(tmp_path: Path) -> None:
    files = {
        "yunet": open_session(assets.model("yunet_n_dynamic.onnx"), device="cpu"),
        "retinaface": open_session(constant_net(tmp_path / "r.onnx", retinaface_layouts()["usual"]), device="cpu"),
        "other": open_session(assets.model("yolox_nano.onnx"), device="cpu"),
    }
    for name, session in files.items():
        by_yunet, by_retinaface = yunet.suggest(session), retinaface.suggest(session)
        assert (by_yunet is not None, by_retinaface is not None) == (name == "yunet", name == "retinaface")
    suggestion = retinaface.suggest(files["retinaface"])
    assert suggestion is not None
    assert (suggestion.element, suggestion.configure["mean"]) == ("retinaface", [104, 117, 123])
