"""The resnet element: its three tasks, its keys and their errors."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamserver.core.errors import GraphError, ModelError, ModelNotFoundError
from streamserver.core.objects import Recognition
from streamserver.core.settings import Settings
from streamserver.elements.resnet import ELEMENT
from streamserver.engine.element import ElementContext
from streamserver.engine.frame import Frame, Picture
from tests import assets, onnx_files
from tests.models.constant_net import constant_net

LOGITS = (2.0, -1.0, 0.5)
PICTURE = np.full((40, 60, 3), 90, dtype=np.uint8)


def element(tmp_path: Path, *, report: Any = lambda key, value: None, models: str = "", **keys: Any) -> Any:
    configure = {key: value for key, value in {"model_path": "mine.onnx", **keys}.items() if value is not ...}
    context = ElementContext(
        element_id=5001,
        name="resnet",
        config_file="elements/0_5001_resnet.json",
        configure=configure,
        settings=Settings(device="cpu", models=models, model_cache=str(tmp_path / "cache"), model_download=False),
        base_dir=tmp_path,
        report=report,
    )
    return ELEMENT(context)


def opened(tmp_path: Path, answer: Any = LOGITS, **keys: Any) -> Any:
    constant_net(tmp_path / "mine.onnx", {"y": np.array([answer], dtype=np.float32)})
    ready = element(tmp_path, **keys)
    ready.open()
    return ready


def seen(ready: Any, picture: Any = PICTURE, *, branch_of: int = 0, known: Any = ()) -> tuple[Recognition, ...]:
    frame = Frame(0, 0, 0, branch_of=branch_of, recognitions=known)
    frame.picture = Picture((picture.shape[1], picture.shape[0]), lambda: picture)
    out: list[Frame] = []
    ready.process(frame, lambda frame, *, port=None: out.append(frame))
    assert out == [frame]
    return tuple(frame.recognitions)


def share(number: int) -> float:
    return math.exp(LOGITS[number]) / sum(map(math.exp, LOGITS))


def test_the_best_class_and_its_probability_are_given(tmp_path: Path) -> None:
    [found] = seen(opened(tmp_path))
    assert (found.label, found.class_ids, found.feature) == ("", (0,), None)
    assert found.scores == pytest.approx((share(0),))


@pytest.mark.parametrize(
    ("answer", "activation", "score"),
    [
        ((0.7, 0.2, 0.1), "auto", 0.7),
        ((0.7, 0.2, 0.1), "softmax", math.exp(0.7) / (math.exp(0.7) + math.exp(0.2) + math.exp(0.1))),
        (LOGITS, "none", 2.0),
        (LOGITS, "sigmoid", 1 / (1 + math.exp(-2))),
    ],
)
def test_a_softmax_inside_the_file_is_not_followed_by_another(
    tmp_path: Path, answer: Any, activation: str, score: float
) -> None:
    [found] = seen(opened(tmp_path, answer, activation=activation))
    assert found.class_ids == (0,)
    assert found.scores == pytest.approx((score,))


def test_class_names_become_labels(tmp_path: Path) -> None:
    (tmp_path / "colours.txt").write_text("red\ngreen\nblue\n")
    [found] = seen(opened(tmp_path, (0.1, 0.2, 3), class_names_file="colours.txt"))
    assert (found.label, found.class_ids) == ("blue", (2,))


@pytest.mark.parametrize(
    ("answer", "thresh", "scores", "flags"),
    [
        ((0.9, 0.5, 0.4), ..., (0.9, 0.5, 0.4), (1, 1, 0)),
        ((0.9, 0.5, 0.4), [0.95, 0.1, 0.4], (0.9, 0.5, 0.4), (0, 1, 1)),
        ((0.9, 0.5, 0.4), 0.45, (0.9, 0.5, 0.4), (1, 1, 0)),
        (LOGITS, ..., tuple(1 / (1 + math.exp(-v)) for v in LOGITS), (1, 0, 1)),
    ],
)
def test_each_label_has_its_score_and_says_yes_or_no(
    tmp_path: Path, answer: Any, thresh: Any, scores: tuple[float, ...], flags: tuple[int, ...]
) -> None:
    [found] = seen(opened(tmp_path, answer, task_type="MultiLabel", class_thresh=thresh))
    assert found.scores == pytest.approx(scores)
    assert (found.class_ids, found.label) == (flags, "")


def test_features_come_as_the_network_gives_them_with_nothing_else(tmp_path: Path) -> None:
    [found] = seen(opened(tmp_path, np.linspace(-1, 1, 77), task_type="FeatureExtract", class_thresh=[2]))
    assert found.feature is not None
    assert found.feature == pytest.approx(np.linspace(-1, 1, 77))
    assert (found.label, found.scores, found.class_ids) == ("", (), ())


def test_what_was_recognised_before_stays_before_it(tmp_path: Path) -> None:
    plate = Recognition(label="A1")
    assert seen(opened(tmp_path), known=(plate,))[0] is plate


def test_what_the_keys_say_of_colours_reaches_the_network(tmp_path: Path) -> None:
    onnx_files.classifier(tmp_path / "net.onnx", size_wh=(64, 64), classes=8)
    picture = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)

    def features(**keys: Any) -> Any:
        ready = element(tmp_path, model_path="net.onnx", task_type="FeatureExtract", **keys)
        ready.open()
        return seen(ready, picture)[0].feature

    plain = features(mean=[1, 2, 3], std=[2, 2, 2])
    turned = features(mean=[3, 2, 1], std=[2, 2, 2], bgr2rgb=True)
    picture = np.ascontiguousarray(picture[:, :, ::-1])
    assert features(mean=[1, 2, 3], std=[2, 2, 2], bgr2rgb=True) == pytest.approx(plain, abs=1e-4)
    assert features(mean=[3, 2, 1], std=[2, 2, 2]) == pytest.approx(turned, abs=1e-4)
    grey = features(mean=[1, 2, 3], std=[2, 2, 2], bgr2gray=True)
    assert np.abs(grey - plain).max() > 0.01


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"model_path": ...}, "model_path: expected a path"),
        ({"task_type": "Single"}, "task_type: got 'Single'.*SingleLabel, FeatureExtract, MultiLabel"),
        ({"bgr2rgb": "yes"}, "bgr2rgb: expected true or false"),
        ({"bgr2gray": 1}, "bgr2gray: expected true or false"),
        ({"mean": "x"}, "mean: expected a number or three"),
        ({"std": [0, 1, 1]}, "std: expected no zero"),
        ({"roi": {"left": 0}}, "roi: top: expected a number of pixels"),
        ({"activation": "relu"}, "activation: got 'relu'"),
        ({"class_names_file": "gone.txt"}, "class_names_file: class names '.*gone.txt' cannot be read"),
        (
            {"task_type": "MultiLabel", "class_thresh": [0.5, 7]},
            r"class_thresh\[1\]: expected a number from 0 to 1, got 7",
        ),
        ({"task_type": "MultiLabel", "class_thresh": "x"}, "class_thresh: expected a number from 0 to 1, got 'x'"),
    ],
)
def test_a_wrong_key_is_named_with_file_and_element(tmp_path: Path, keys: dict[str, Any], problem: str) -> None:
    with pytest.raises(GraphError) as caught:
        element(tmp_path, **keys)
    assert caught.match(f"^elements/0_5001_resnet.json: element 5001 'resnet': {problem}")


@pytest.mark.parametrize(
    ("answer", "keys", "problem"),
    [
        (
            LOGITS,
            {"task_type": "MultiLabel", "class_thresh": [0.5, 0.5]},
            "class_thresh: has 2 numbers, the model has 3",
        ),
        (LOGITS, {"class_names_file": "two.txt"}, "class_names_file: has 2 names, the model has 3 classes"),
        ((0.3,), {}, "task_type: 'SingleLabel' needs the numbers of two classes at least, 'mine.onnx' gives one"),
    ],
)
def test_a_model_that_does_not_fit_the_keys_is_named_when_it_opens(
    tmp_path: Path, answer: Any, keys: dict[str, Any], problem: str
) -> None:
    (tmp_path / "two.txt").write_text("red\ngreen\n")
    with pytest.raises(GraphError, match=f"element 5001 'resnet': {problem}"):
        opened(tmp_path, answer, **keys)


@pytest.mark.parametrize(
    ("path", "kind", "problem"),
    [
        ("resnet_arcface_fp32_1b.bmodel", ModelNotFoundError, "model 'mobilefacenet_128d' .* is not in"),
        ("resnet50_int8_4b.bmodel", ModelNotFoundError, "no ONNX model stands in for 'resnet50_int8_4b.bmodel'"),
        ("broken.onnx", ModelError, "broken.onnx' cannot be loaded"),
        ("other.onnx", ModelError, r"'other.onnx' is no classifier .*got \[1, 2, 2\]"),
    ],
)
def test_missing_or_unusable_weights_are_named_when_it_opens(
    tmp_path: Path, path: str, kind: type[Exception], problem: str
) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    constant_net(tmp_path / "other.onnx", {"y": np.zeros((1, 2, 2), dtype=np.float32)})
    with pytest.raises(kind, match=f"element 5001 'resnet': model_path: .*{problem}"):
        element(tmp_path, model_path=path).open()


def test_it_reports_what_runs_where(tmp_path: Path) -> None:
    said = []
    opened(tmp_path, report=lambda key, value: said.append((key, value)))
    assert said == [("classifier", "mine.onnx on CPUExecutionProvider")]


def test_only_the_region_is_looked_at(tmp_path: Path) -> None:
    onnx_files.classifier(tmp_path / "net.onnx", size_wh=(64, 64), classes=8)
    whole = element(tmp_path, model_path="net.onnx", task_type="FeatureExtract")
    roi = {"left": 10, "top": 5, "width": 20, "height": 30}
    part = element(tmp_path, model_path="net.onnx", task_type="FeatureExtract", roi=roi)
    whole.open()
    part.open()
    picture = np.random.default_rng(1).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    [found], [expected] = seen(part, picture), seen(whole, np.ascontiguousarray(picture[5:35, 10:30]))
    assert found.feature is not None
    assert found.feature == pytest.approx(expected.feature)


def test_a_region_outside_a_frame_is_an_error_and_outside_a_part_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ready = opened(tmp_path, roi={"left": 70, "top": 0, "width": 9, "height": 9})
    with pytest.raises(GraphError, match=r"roi: 9x9 at \(70, 0\) lies outside the frame of 60x40"):
        seen(ready)
    assert seen(ready, branch_of=3) == seen(ready, branch_of=4) == ()
    assert caplog.text.count("such parts are not recognised") == 1
    assert len(seen(ready, np.zeros((40, 90, 3), dtype=np.uint8), branch_of=5)) == 1
    ready.close()


def test_every_resnet_of_the_real_graphs_is_read(tmp_path: Path) -> None:
    read = 0
    for file in assets.graphs_dir().glob("*/config/*resnet*.json"):
        content = json.loads(file.read_text("utf-8"))
        if isinstance(content, dict) and content.get("name") == "resnet":
            element(tmp_path, **content["configure"])
            read += 1
    assert read == 5
