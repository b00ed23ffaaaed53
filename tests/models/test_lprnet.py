"""LPRNet: what goes in and what comes out, against a straightforward reference, and the real weights on real plates."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamserver.core.arrays import FloatArray, ImageBgr
from streamserver.core.errors import ModelError
from streamserver.models.lprnet import SYMBOLS, LprNet, suggest
from streamserver.runtime.session import open_session
from tests import assets
from tests.models.constant_net import constant_net
from tests.samples.plate_clip import read_picture


def reference(columns: FloatArray) -> str:
    """Greedy reading of scores (68, t), one column after the other."""
    text, before = "", ""
    for column in columns.T:
        symbol = "京沪津渝冀晋蒙辽吉黑苏浙皖闽赣鲁豫鄂湘粤桂琼川贵云藏陕甘青宁新0123456789ABCDEFGHJKLMNPQRSTUVWXYZIO-"[
            int(np.argmax(column))
        ]
        if symbol != before and symbol != "-":
            text += symbol
        before = symbol
    return text


def network(path: Path, columns: FloatArray, **options: object) -> LprNet:
    made = constant_net(path, {"logits": columns[None]}, shape=(1, 3, 24, 94))
    return LprNet.load(made, device="cpu", **options)  # type: ignore[arg-type]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_reads_as_the_reference_does_whichever_axis_holds_the_symbols(tmp_path: Path, seed: int, turned: bool) -> None:
    rng = np.random.default_rng(seed)
    columns: FloatArray = rng.normal(0, 3, (68, 18)).astype(np.float32)
    columns[67] += rng.choice([0, 6])  # mostly blanks, as in real ones
    if rng.random() < 0.5:
        columns[:, 1::2] = columns[:, ::2]
    reader = network(tmp_path / "lprnet.onnx", np.ascontiguousarray(columns.T) if turned else columns)
    [found] = reader.read([np.zeros((30, 90, 3), dtype=np.uint8)])
    assert found.label == reference(columns)
    assert len(found.scores) == 1 and 0 <= found.scores[0] <= 1


def test_stretches_and_normalises_blue_first() -> None:
    reader = LprNet.load(assets.model("lprnet.onnx"), device="cpu")
    image = np.random.default_rng(1).integers(0, 256, (40, 130, 3), dtype=np.uint8)
    expected = (cv2.resize(image, (94, 24)).astype(np.float32) - 127.5) / 128
    np.testing.assert_allclose(reader.preprocess([image]), expected.transpose(2, 0, 1)[None], atol=1e-5)


def test_nine_in_ten_real_plates_are_read_right_and_in_any_number_at_once() -> None:
    crops = sorted(assets.media("plates/crops").glob("*.jpg"))
    pictures: list[ImageBgr] = [read_picture(path) for path in crops]
    reader = LprNet.load(assets.model("lprnet.onnx"), device="cpu")
    found = reader.read(pictures)
    right = sum(one.label == path.stem for one, path in zip(found, crops, strict=True))
    assert len(crops) == 250
    assert right >= 0.9 * len(crops)
    assert reader.read(pictures[:1]) == found[:1]
    assert reader.read([]) == []


def test_symbols_of_another_country_come_from_a_list(tmp_path: Path) -> None:
    columns = np.eye(3, dtype=np.float32)[:, [0, 2, 1, 1]] * 9
    reader = network(tmp_path / "own.onnx", columns, symbols=("A", "B", "-"))
    assert reader.read([np.zeros((24, 94, 3), dtype=np.uint8)])[0].label == "AB"


def test_another_number_of_symbols_is_refused_with_what_was_found(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"no LPRNet of 68 symbols: expected .*\[n, 68, 18\].*got \[1, 5, 7\].*class_nam"
    ):
        network(tmp_path / "other.onnx", np.zeros((5, 7), dtype=np.float32))


def test_is_suggested_for_its_own_files_only(tmp_path: Path) -> None:
    suggestion = suggest(open_session(assets.model("lprnet.onnx"), device="cpu"))
    assert suggestion is not None and suggestion.element == "lprnet"
    assert suggest(open_session(assets.model("yolox_nano.onnx"), device="cpu")) is None


def test_the_symbols_are_68_and_different() -> None:
    assert len(SYMBOLS) == len(set(SYMBOLS)) == 68
