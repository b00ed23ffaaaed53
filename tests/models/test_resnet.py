"""Classifiers and feature extractors: what they are shown, and what a file shows of its numbers."""

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from streamserver.core.arrays import FloatArray
from streamserver.core.errors import ModelError
from streamserver.models.normalisation import Normalisation
from streamserver.models.resnet import ResNet, activate, suggest
from streamserver.runtime.session import open_session
from tests import assets
from tests.models.constant_net import constant_net

LOGITS = (2.0, -1.0, 0.5)


def net(tmp_path: Path, answer: Any, **options: Any) -> ResNet:
    shape, kind = options.pop("shape", (1, 3, 64, 64)), options.pop("kind", TensorProto.FLOAT)
    dtype = options.pop("dtype", np.float32)
    path = constant_net(tmp_path / "c.onnx", {"y": np.asarray(answer, dtype=dtype)}, shape=shape, kind=kind)
    return ResNet.load(path, device="cpu", **options)


def softmax(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    powers = np.exp(np.asarray(values, dtype=np.float64))
    return np.asarray(powers / powers.sum())


def test_the_picture_lies_in_the_middle_with_grey_around_it(tmp_path: Path) -> None:
    colours = Normalisation.from_mean_std(mean=[10, 20, 30], std=[2, 4, 5], rgb=True)
    blob = net(tmp_path, [LOGITS], normalisation=colours).prepare(np.full((32, 64, 3), (50, 60, 70), dtype=np.uint8))
    assert blob.shape == (1, 3, 64, 64)
    assert blob[0, :, 32, 0] == pytest.approx(np.array([(70 - 10) / 2, (60 - 20) / 4, (50 - 30) / 5]))
    for row in (0, 15, 48, 63):
        assert blob[0, :, row, 9] == pytest.approx(np.array([(114 - 10) / 2, (114 - 20) / 4, (114 - 30) / 5]))
    assert blob[0, 0, 16, 0] == blob[0, 0, 47, 63] == pytest.approx(30)


def test_a_picture_of_the_networks_size_is_not_touched(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    blob = net(tmp_path, [LOGITS]).prepare(picture)
    assert np.array_equal(blob[0].transpose(1, 2, 0), picture)


@pytest.mark.parametrize(("shape", "grey"), [((1, 1, 64, 64), False), ((1, 1, 64, 64), True), ((1, 3, 64, 64), True)])
def test_grey_networks_see_brightness_alone(tmp_path: Path, shape: tuple[int, ...], grey: bool) -> None:
    picture = np.full((64, 64, 3), (10, 200, 90), dtype=np.uint8)
    colours = Normalisation.from_mean_std(mean=127.5, std=127.5, rgb=True)
    blob = net(tmp_path, [LOGITS], shape=shape, grey=grey, normalisation=colours).prepare(picture)
    brightness = float(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)[0, 0])
    assert blob.shape == shape
    assert np.unique(blob).tolist() == [pytest.approx((brightness - 127.5) / 127.5)]


@pytest.mark.parametrize(
    ("shape", "kind", "dtype"),
    [
        ((1, 3, 64, 96), TensorProto.FLOAT16, np.float16),
        ((1, 64, 96, 3), TensorProto.FLOAT, np.float32),
        ((1, 64, 96, 3), TensorProto.UINT8, np.float32),
        (("n", 3, 64, 96), TensorProto.FLOAT, np.float64),
    ],
)
def test_size_layout_and_type_come_from_the_file(
    tmp_path: Path, shape: tuple[int | str, ...], kind: int, dtype: type
) -> None:
    network = net(tmp_path, [LOGITS], shape=shape, kind=kind, dtype=dtype)
    assert (network.size_wh, network.count) == ((96, 64), 3)
    assert network.run(np.zeros((10, 20, 3), dtype=np.uint8)) == pytest.approx(np.array(LOGITS), abs=1e-3)


@pytest.mark.parametrize("answer", [[LOGITS], LOGITS, [[[[v]] for v in LOGITS]], [[LOGITS]], [LOGITS] * 4])
def test_the_row_is_found_wherever_the_file_has_put_it(tmp_path: Path, answer: Any) -> None:
    four = len(answer) == 4
    network = net(tmp_path, answer, shape=(4, 3, 64, 64) if four else (1, 3, 64, 64))
    row = network.run(np.zeros((10, 20, 3), dtype=np.uint8))
    assert row.shape == (3,)
    assert row.dtype == np.float32


def test_a_free_size_is_224(tmp_path: Path) -> None:
    assert net(tmp_path, [LOGITS], shape=(1, 3, "h", "w")).size_wh == (224, 224)


@pytest.mark.parametrize(
    ("answer", "adds_up", "bounded", "unit_length"),
    [
        (LOGITS, False, False, False),
        (softmax(LOGITS), True, True, False),
        ((0.9, 0.8, 0.1), False, True, False),
        ((0.6, -0.8, 0.0), False, False, True),
    ],
)
def test_a_file_shows_what_its_numbers_are(
    tmp_path: Path, answer: npt.ArrayLike, adds_up: bool, bounded: bool, unit_length: bool
) -> None:
    network = net(tmp_path, [answer])
    assert (network.adds_up, network.bounded, network.unit_length) == (adds_up, bounded, unit_length)


@pytest.mark.parametrize(
    ("outputs", "found"),
    [
        ({"y": np.zeros((1, 5, 7), dtype=np.float32)}, r"got \[1, 5, 7\] float32"),
        ({"y": np.zeros((1, 5), dtype=np.int64)}, r"got \[1, 5\] int64"),
        ({"y": np.zeros((0, 5), dtype=np.float32)}, r"got \[0, 5\] float32"),
        (
            {"a": np.zeros((1, 5), dtype=np.float32), "b": np.zeros((1, 2), dtype=np.float32)},
            r"got \[1, 5\] .*\[1, 2\]",
        ),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, outputs: dict[str, Any], found: str) -> None:
    path = constant_net(tmp_path / "c.onnx", outputs)
    with pytest.raises(
        ModelError, match=rf"'c.onnx' is no classifier .*expected one output \[1, k\] of floats, {found}"
    ):
        ResNet.load(path, device="cpu")
    assert suggest(open_session(path, device="cpu")) is None


ROWS = st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=30)


@settings(max_examples=200)
@given(ROWS)
def test_activations_are_what_the_textbook_says(numbers: list[float]) -> None:
    values: FloatArray = np.array(numbers, dtype=np.float32)
    assert activate(values, "softmax") == pytest.approx(softmax(numbers), abs=1e-5)
    assert activate(values, "sigmoid") == pytest.approx(np.array([1 / (1 + math.exp(-v)) for v in numbers]), abs=1e-5)
    assert activate(values, "none") is values


def test_activations_survive_what_is_no_number() -> None:
    values = np.array([np.nan, np.inf, -np.inf, 1e30, 0], dtype=np.float32)
    assert activate(values, "softmax") == pytest.approx(np.array([0, 0.5, 0, 0.5, 0]))
    assert activate(values, "sigmoid") == pytest.approx(np.array([0, 1, 0, 1, 0.5]))


@pytest.mark.parametrize(
    ("answer", "task"),
    [
        (softmax(LOGITS), "SingleLabel"),
        (LOGITS, "SingleLabel"),
        (np.full(10, 0.4), "MultiLabel"),
        ((-1.5,), "MultiLabel"),
        (np.full(100, 0.1), "FeatureExtract"),
        (np.linspace(-3, 3, 512), "FeatureExtract"),
    ],
)
def test_a_suggestion_names_the_likely_task(tmp_path: Path, answer: npt.ArrayLike, task: str) -> None:
    path = constant_net(tmp_path / "c.onnx", {"y": np.asarray([answer], dtype=np.float32)})
    suggestion = suggest(open_session(path, device="cpu"))
    assert suggestion is not None
    assert (suggestion.element, suggestion.configure["task_type"]) == ("resnet", task)


def test_suggestions_leave_other_networks_alone() -> None:
    suggestion = suggest(open_session(assets.model("mobilefacenet_128d.onnx"), device="cpu"))
    assert suggestion is not None
    assert suggestion.layout == "128 numbers for a picture of 112x112"
    for name in ("yolox_nano.onnx", "yunet_n_dynamic.onnx", "lprnet.onnx"):
        assert suggest(open_session(assets.model(name), device="cpu")) is None
