from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamserver.core.arrays import Detections
from streamserver.core.errors import GraphError
from streamserver.core.picture import Picture
from streamserver.core.settings import Settings
from streamserver.elements.download_image import DownloadImage
from streamserver.engine.element import ElementContext
from streamserver.engine.frame import Frame
from streamserver.vision.codec import decode_jpeg
from streamserver.vision.draw.algorithms import DRAWINGS


def context(base_dir: Path, **configure: Any) -> ElementContext:
    return ElementContext(
        element_id=7,
        name="download_image",
        config_file="demo.json",
        configure=configure,
        settings=Settings(),
        base_dir=base_dir,
    )


def make_frame(number: int = 0, **attributes: Any) -> Frame:
    picture = Picture((320, 240), lambda: np.full((240, 320, 3), 30, np.uint8))
    detections = Detections.from_arrays([[50, 60, 150, 200]], [0.5], [1], [3])
    return Frame(4, 1, number, **{"picture": picture, "detections": detections, **attributes})


def keep(base_dir: Path, *frames: Frame, **configure: Any) -> list[Frame]:
    element = DownloadImage(context(base_dir, **configure))
    element.open()
    emitted: list[Frame] = []
    for frame in frames:
        element.process(frame, lambda frame, port=None: emitted.append(frame))
    return emitted


def test_each_result_is_a_jpeg_named_by_graph_channel_and_frame_with_the_drawing(tmp_path: Path) -> None:
    frames = [make_frame(n) for n in range(3)]
    assert keep(tmp_path, *frames, draw_func_name="draw_yolov5_results") == frames
    folder = tmp_path / "results"
    assert sorted(path.name for path in folder.iterdir()) == ["1_4_0.jpg", "1_4_1.jpg", "1_4_2.jpg"]
    image = decode_jpeg((folder / "1_4_1.jpg").read_bytes())
    assert image.shape == (240, 320, 3) and (image[100:160, 49:52] > 60).any() and abs(int(image[20, 20, 0]) - 30) < 5
    assert all(frame.drawing is None for frame in frames)


@pytest.mark.parametrize("name", sorted(DRAWINGS))
def test_every_drawing_of_sophon_stream_can_be_used(tmp_path: Path, name: str) -> None:
    keep(tmp_path, make_frame(), draw_func_name=name, heatmap_loss="MSELoss")
    plates = name == "draw_license_plate_recognition_results"
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["4_0.jpg" if plates else "1_4_0.jpg"]


def test_what_an_osd_drew_is_kept_under_the_drawing(tmp_path: Path) -> None:
    white = Picture((320, 240), lambda: np.full((240, 320, 3), 255, np.uint8))
    keep(tmp_path, make_frame(drawing=white))
    assert decode_jpeg((tmp_path / "results" / "1_4_0.jpg").read_bytes()).min() > 250


def test_names_come_from_the_demo_files_keys_and_their_absence_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "coco.names").write_text("person\nbicycle\n")
    pictures = []
    with caplog.at_level(logging.WARNING):
        for class_names in ("coco.names", "missing"):
            keep(tmp_path, make_frame(), draw_func_name="draw_yolox_results", class_names=class_names)
            pictures.append((tmp_path / "results" / "1_4_0.jpg").read_bytes())
    assert pictures[0] != pictures[1]
    assert caplog.text.count("demo.json: element 7: class_names") == 1


@pytest.mark.parametrize(
    ("configure", "message"),
    [
        ({"draw_func_name": "draw_me"}, "draw_func_name: there is no drawing 'draw_me'; use one of default"),
        ({"draw_func_name": 3}, "draw_func_name: expected a text, got 3"),
        ({"heatmap_loss": []}, r"heatmap_loss: expected a text, got \[\]"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path: Path, configure: dict[str, Any], message: str) -> None:
    with pytest.raises(GraphError, match=f"demo.json: element 7 'download_image': {message}"):
        DownloadImage(context(tmp_path, **configure))


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(GraphError, match=r"download_image: the folder '.*results' cannot be made: there is a file"):
        keep(tmp_path)
