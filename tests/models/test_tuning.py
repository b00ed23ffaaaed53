"""A Focus layer folded into the convolution behind it: the same answers, fewer nodes; everything else left alone."""

from __future__ import annotations

import logging
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from streamserver.models import _focus
from streamserver.models._focus import agree
from streamserver.models.detector import load_detector
from streamserver.models.tuning import tuned
from streamserver.runtime.session import open_session
from tests.assets import media, model
from tests.onnx_files import Net

FIRSTS = ((0, 0), (1, 0), (0, 1), (1, 1))
END = 2**63 - 1


def focus(
    path: Path,
    *,
    kernel: int = 3,
    stride: int = 1,
    pad: int = 1,
    begin: int = 0,
    step: int = 2,
    group: int = 1,
    together: bool = False,
    firsts: tuple[tuple[int, int], ...] = FIRSTS,
) -> Path:
    """A network of a Focus layer and a convolution; ``together`` slices both axes at once, ``begin`` moves them."""
    net = Net(1, 3, 32, 40, seed=3)
    parts = []
    for row, column in firsts:
        cuts = (
            [([begin + row, begin + column], [2, 3])] if together else [([begin + row], [2]), ([begin + column], [3])]
        )
        part = "images"
        for starts, axes in cuts:
            many = len(axes)
            values = (starts, [END] * many, axes, [step] * many)
            part = net.op("Slice", part, *(net.constant(value, np.int64) for value in values))
        parts.append(part)
    stacked = net.op("Concat", *parts, axis=1)
    weights = net.constant(net.rng.normal(0, 1, (6, 3 * len(firsts) // group, kernel, kernel)))
    conv = net.op("Conv", stacked, weights, group=group, strides=[stride] * 2, pads=[pad] * 4)
    return net.save(path, output=(net.op("Sigmoid", conv), ("n", 6, "h", "w")))


def folded(path: Path) -> Path:
    """What the process that ``tuned`` starts writes, without a process."""
    target = path.with_name("folded.onnx")
    _focus.main(path, target)
    return target


def kinds(path: Path) -> list[str]:
    """The operations of a file."""
    return [node.op_type for node in onnx.load(path).graph.node]


def answers(path: Path, picture: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    """What a network says of a picture."""
    session = open_session(path, device="cpu")
    return session.run({session.inputs[0].name: picture})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kernel": 1, "pad": 0},
        {"kernel": 5, "pad": 2},
        {"stride": 2},
        {"together": True},
        {"firsts": FIRSTS[::-1]},
        {"firsts": ((0, 0), (1, 0), (0, 1), (0, 1))},
    ],
    ids=str,
)
def test_a_focus_layer_is_folded_and_nothing_else_changes(tmp_path: Path, options: dict[str, Any]) -> None:
    path = focus(tmp_path / "net.onnx", **options)
    faster = folded(path)
    assert kinds(faster) == ["Conv", "Sigmoid", "Identity"]
    picture = np.random.default_rng(5).uniform(-3, 3, (1, 3, 32, 40)).astype(np.float32)
    for one, other in zip(answers(path, picture), answers(faster, picture), strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5)


@pytest.mark.parametrize("options", [{"begin": 1}, {"step": 3}, {"group": 2}, {"firsts": FIRSTS[:2]}], ids=str)
def test_what_only_looks_like_it_is_left_alone(tmp_path: Path, options: dict[str, Any]) -> None:
    assert folded(focus(tmp_path / "net.onnx", **options)).read_bytes() == b""


def test_two_networks_that_disagree_are_told_apart(tmp_path: Path) -> None:
    one, other = focus(tmp_path / "one.onnx"), focus(tmp_path / "other.onnx", firsts=FIRSTS[::-1])
    assert agree(one, one) and not agree(one, other)


@pytest.mark.parametrize(("options", "is_faster"), [({}, True), ({"begin": 1}, False)], ids=["focus", "another"])
def test_what_can_be_folded_is_used_and_what_cannot_is_left_alone(
    tmp_path: Path, options: dict[str, Any], is_faster: bool
) -> None:
    path = focus(tmp_path / "net.onnx", **options)
    found = tuned(path, tmp_path / "cache")
    assert (found != path) is is_faster and found.name == path.name


def test_yolox_says_the_same_with_fewer_operations(tmp_path: Path) -> None:
    path = model("yolox_nano.onnx")
    faster = tuned(path, tmp_path)
    assert "Slice" in kinds(path) and "Slice" not in kinds(faster)
    picture = np.random.default_rng(2).uniform(0, 255, (1, 3, 416, 416)).astype(np.float32)
    [one], [other] = answers(path, picture), answers(faster, picture)
    assert (one.shape, other.shape) == ((1, 3549, 85), (1, 85, 3549))
    np.testing.assert_allclose(other.swapaxes(1, 2), one, atol=1e-3)


def test_yolox_finds_the_same_in_either_form(tmp_path: Path) -> None:
    path = model("yolox_nano.onnx")
    picture = cv2.imread(str(media("images/pedestrians.jpg")))
    found = [
        load_detector(one, family="yolox").look(picture, min_scores=np.full(80, 0.3, np.float32), iou_threshold=0.5)
        for one in (path, tuned(path, tmp_path))
    ]
    first, second = (one.detections for one in found)
    assert len(first) >= 1
    np.testing.assert_allclose(second.boxes_xyxy, first.boxes_xyxy, atol=0.05)
    np.testing.assert_array_equal(second.class_ids, first.class_ids)


def test_the_work_is_done_once_however_many_ask(tmp_path: Path) -> None:
    path, cache = focus(tmp_path / "net.onnx"), tmp_path / "cache"
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(tuned(path, cache))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = found[0].stat().st_mtime_ns
    assert len(set(found)) == 1 and tuned(path, cache) == found[0] and found[0].stat().st_mtime_ns == made


def test_a_file_that_cannot_be_read_is_used_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"no network, but the word Slice")
    with caplog.at_level(logging.WARNING):
        assert tuned(path, tmp_path / "cache") == path == tuned(path, tmp_path / "cache")
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["'net.onnx' is used as it is"]


@pytest.mark.parametrize("content", [b"", b"weights"], ids=["empty", "no cuts"])
def test_a_file_that_has_nothing_to_fold_costs_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("started"))
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    assert tuned(path, tmp_path / "cache") == path == tuned(path, tmp_path / "cache")


def test_a_changed_file_is_tuned_anew(tmp_path: Path) -> None:
    path = focus(tmp_path / "net.onnx")
    before = tuned(path, tmp_path / "cache")
    os.utime(focus(path, kernel=1, pad=0), (1, 1))
    assert tuned(path, tmp_path / "cache") not in (path, before)


def test_without_a_place_to_keep_it_nothing_is_tuned(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    path = focus(tmp_path / "net.onnx")
    assert tuned(path, tmp_path / "cache") == path
