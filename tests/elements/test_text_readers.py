"""lprnet, ppocr_rec and ppocr_det as elements: keys, refusals, and plates from whole street pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamserver import elements
from streamserver.core.arrays import Detections, ImageBgr
from streamserver.core.errors import GraphError, ModelError
from streamserver.core.picture import Picture
from streamserver.core.settings import PROJECT_DIR, Settings
from streamserver.engine.element import ElementContext
from streamserver.engine.frame import Frame
from tests import assets
from tests.models.constant_net import constant_net
from tests.samples.plate_clip import read_picture

SAMPLE = PROJECT_DIR / "samples" / "license_plate_recognition" / "config"
MODELS = {
    "lprnet": "lprnet.onnx",
    "ppocr_rec": "ch_PP-OCRv4_rec_infer.onnx",
    "ppocr_det": "ch_PP-OCRv4_det_infer.onnx",
}


def element(name: str, folder: Path, **configure: Any) -> Any:
    context = ElementContext(
        element_id=6001,
        name=name,
        config_file=f"{name}.json",
        configure={"model_path": MODELS.get(name), **configure},
        settings=Settings(
            device="cpu",
            models=str(assets.model("lprnet.onnx").parent),
            model_cache=str(folder.parent / "model_cache"),  # one for all tests of this process
            model_download=False,
        ),
        base_dir=folder,
    )
    return elements.element_class(name)(context)


def run(one: Any, frame: Frame) -> list[Frame]:
    out: list[Frame] = []
    one.process(frame, lambda frame, *, port=None: out.append(frame))
    return out


def frame_of(image: ImageBgr) -> Frame:
    return Frame(0, 0, 0, picture=Picture((image.shape[1], image.shape[0]), lambda: image))


@pytest.mark.parametrize(
    ("name", "configure", "problem"),
    [
        ("lprnet", {"model_path": None}, "model_path: expected a path"),
        ("lprnet", {"scores": 1}, "scores: expected true or false, got 1"),
        ("lprnet", {"class_names_file": "none.txt"}, "class_names_file: .*none.txt' cannot be read"),
        ("lprnet", {"std": 0, "mean": 0}, "std: expected no zero"),
        ("ppocr_rec", {"model_path": 3}, "model_path: expected a path"),
        ("ppocr_rec", {"beam_width": 0}, "beam_width: expected a whole number from 1 to 40, got 0"),
        ("ppocr_rec", {"beam_width": 41}, "beam_width: expected a whole number from 1 to 40"),
        ("ppocr_rec", {"beam_search": "yes"}, "beam_search: expected true or false"),
        ("ppocr_rec", {"alphabet": "greek"}, "alphabet: got 'greek'; use one of all, cn_plate, plate, digits"),
        ("ppocr_rec", {"aspect": -1}, "aspect: expected width by height"),
        ("ppocr_rec", {"characters_file": 7}, "characters_file: expected a path, got 7"),
        ("ppocr_rec", {"class_names_file": "none.txt"}, "class_names_file: characters .*none.txt' cannot be read"),
        ("ppocr_det", {"box_threshold": 1.5}, "box_threshold: expected a number from 0 to 1"),
        ("ppocr_det", {"threshold": "x"}, "threshold: expected a number from 0 to 1"),
        ("ppocr_det", {"unclip_ratio": -1}, "unclip_ratio: expected a number of at least 0"),
        ("ppocr_det", {"max_side": 31}, "max_side: expected a whole number from 32"),
        ("ppocr_det", {"roi": {"left": 1}}, "roi: top: expected"),
        ("ppocr_det", {"mean": [1, 2]}, "mean: expected a number or three"),
    ],
)
def test_a_wrong_key_is_named_with_file_and_element(
    tmp_path: Path, name: str, configure: dict[str, Any], problem: str
) -> None:
    with pytest.raises(GraphError, match=f"^{name}.json: element 6001 '{name}': {problem}"):
        element(name, tmp_path, **configure)


def test_an_alphabet_and_a_file_of_characters_exclude_each_other(tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_text("A\nB\n")
    with pytest.raises(GraphError, match="characters_file: stands beside alphabet; say one of them"):
        element("ppocr_rec", tmp_path, alphabet="cn_plate", characters_file="some.txt")


@pytest.mark.parametrize("name", sorted(MODELS))
def test_weights_of_another_family_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(GraphError, match=f"model_path: 'yolox_nano' is of the family 'yolox', not '{name}'"):
        element(name, tmp_path, model_path="yolox_nano").open()


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_file_that_does_not_fit_is_named_with_file_element_and_key(tmp_path: Path, name: str) -> None:
    constant_net(tmp_path / "own.onnx", {"rows": np.zeros((1, 9, 6), np.float32)}, shape=(1, 3, 48, 320))
    (tmp_path / "names.txt").write_text("a\nb\n")
    names = {} if name == "ppocr_det" else {"class_names_file": "names.txt"}
    with pytest.raises(ModelError, match=f"^{name}.json: element 6001 '{name}': model_path: 'own.onnx'"):
        element(name, tmp_path, model_path="own.onnx", **names).open()


@pytest.mark.parametrize("name", ["lprnet", "ppocr_rec"])
def test_sophon_stream_s_own_keys_run_with_the_stand_in(tmp_path: Path, name: str) -> None:
    sample, file = {"lprnet": ("license_plate_recognition", "lprnet"), "ppocr_rec": ("ppocr", "ppocr_rec")}[name]
    configure = json.loads((assets.graphs_dir() / sample / "config" / f"{file}_group.json").read_text())["configure"]
    one = element(name, tmp_path, **configure)
    one.open()
    [frame] = run(one, frame_of(read_picture(assets.media("plates/crops/皖A30F03.jpg"))))
    [found] = frame.recognitions
    assert found.label.replace("·", "") == "皖A30F03"
    assert len(found.scores) == (name == "ppocr_rec")
    one.close()


def test_lprnet_tells_its_score_when_asked(tmp_path: Path) -> None:
    one = element("lprnet", tmp_path, scores=True)
    one.open()
    [frame] = run(one, frame_of(read_picture(assets.media("plates/crops/皖A30F03.jpg"))))
    assert 0.9 < frame.recognitions[0].scores[0] <= 1


def test_ppocr_rec_reads_only_the_characters_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_text("\n".join("0123456789"))
    one = element("ppocr_rec", tmp_path, characters_file="some.txt", aspect=3)
    one.open()
    [frame] = run(one, frame_of(read_picture(assets.media("plates/crops/皖A33673.jpg"))))
    assert frame.recognitions[0].label == "33673"


@pytest.mark.parametrize("name", sorted(MODELS))
def test_what_has_no_picture_passes(tmp_path: Path, name: str) -> None:
    frame = Frame(0, 0, 0)
    assert run(element(name, tmp_path), frame) == [frame]


def test_ppocr_det_looks_at_its_roi_and_answers_in_pixels_of_the_frame(tmp_path: Path) -> None:
    image = np.full((400, 700, 3), 100, dtype=np.uint8)
    plate = read_picture(assets.media("plates/street/_8_冀D5L690.jpg"))
    image[300 : 300 + plate.shape[0], 500 : 500 + plate.shape[1]] = plate
    image[20 : 20 + plate.shape[0], 20 : 20 + plate.shape[1]] = plate
    boxes = []
    for roi in (None, {"left": 400, "top": 200, "width": 300, "height": 200}):
        one = element("ppocr_det", tmp_path, **({"roi": roi} if roi else {}))
        one.open()
        [frame] = run(one, frame_of(image))
        boxes.append(frame.detections)
    everywhere, inside = boxes
    assert (len(everywhere), len(inside)) == (2, 1)
    lower = everywhere.boxes_xyxy[everywhere.boxes_xyxy[:, 1].argmax()]
    np.testing.assert_allclose(inside.boxes_xyxy[0], lower, atol=8)
    assert inside.corners_xy is not None and inside.corners_xy[0, 0, 0] > 490
    one = element("ppocr_det", tmp_path, roi={"left": 900, "top": 0, "width": 10, "height": 10})
    one.open()
    [frame] = run(one, frame_of(image))
    assert len(frame.detections) == 2, "where it misses the frame, all of that is looked at"


def of_sample(name: str, file: str, folder: Path, **changes: Any) -> Any:
    """An element as Type 16 configures it."""
    configure = json.loads((SAMPLE / f"{file}.json").read_text())["configure"]
    one = element(name, folder, **{**configure, **changes})
    one.open()
    return one


def test_every_street_picture_that_names_its_plate_is_read_right_as_a_whole(tmp_path: Path) -> None:
    detect = of_sample("yolov5", "yolov5_group", tmp_path)
    names = str(SAMPLE / "license_plate.names")
    give_out = of_sample("distributor", "distributor_time_class", tmp_path, class_names_file=names)
    read = of_sample("ppocr_rec", "ppocr_rec_group", tmp_path)
    paths = sorted(assets.media("plates/street").glob("_*.jpg"))
    assert len(paths) == 4
    for path in paths:
        frame = frame_of(read_picture(path))
        for one in (detect, give_out):
            run(one, frame)
        assert isinstance(frame.detections, Detections) and frame.detections.corners_xy is not None
        for part in frame.sub_frames:
            run(read, part)
        texts = [found.label for part in frame.sub_frames for found in part.recognitions]
        assert texts == [path.stem.split("_")[2]], path.name
