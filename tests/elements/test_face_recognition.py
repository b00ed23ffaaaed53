"""Faces by name, through the real elements: retinaface, distributor, resnet and faiss (the sample of that name)."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from streamserver import elements
from streamserver.core.objects import Recognition
from streamserver.core.settings import Settings
from streamserver.engine.element import ElementContext
from streamserver.engine.frame import Frame, Picture
from tests import assets
from tests.test_docs import section

PEOPLE = {
    "anna": (20, 21),
    "bert": (3, 12, 53, 55, 56),
    "cara": (22, 23),
    "dora": (24, 25),
    "emil": (1, 2, 4, 5, 6, 7, 10, 11),
    "fred": (13, 14, 15, 57, 58),
    "gina": (18, 19, 67),
    "hugo": (8, 9, 47, 48, 49, 50, 51),
    "ines": (38, 39, 40, 41),
    "john": (34, 35, 36, 37),
    "kate": (29, 30, 31, 32, 33),
    "lena": (26, 27, 28, 42, 43, 44, 45, 46),
    "mara": (16, 17, 61),
}
"""Numbers of the deepface pictures of each person, from the pairs in its lists; the names are made up."""

GRAPH = {"score_threshold": 0.3, "threshold_nms": 0.5, "bgr2rgb": False, "mean": [104, 117, 123], "std": [1, 1, 1]}
"""As in sophon-stream's sample."""


def made(name: str, tmp_path: Path, **configure: Any) -> Any:
    context = ElementContext(
        element_id=5001,
        name=name,
        config_file=f"elements/0_5001_{name}.json",
        configure=configure,
        settings=Settings(
            device="cpu",
            models=str(assets.model("yunet_n_dynamic.onnx").parent),
            model_cache=str(tmp_path / "cache"),
            model_download=False,
        ),
        base_dir=tmp_path,
    )
    element = elements.element_class(name)(context)
    element.open()
    return element


class FaceReader:
    """Retinaface, distributor and resnet in a row: a picture's faces as recognitions with their features."""

    def __init__(self, tmp_path: Path) -> None:
        (tmp_path / "class.names").write_text("retinaface\n")
        self.retinaface = made(
            "retinaface", tmp_path, model_path="data/retinaface_mobilenet0.25_fp32_1b.bmodel", **GRAPH
        )
        rules = [{"routes": [{"classes": ["retinaface"], "port": 1}]}]
        self.distributor = made(
            "distributor", tmp_path, default_port=0, class_names_file="class.names", rules=rules, is_affine=False
        )
        self.resnet = made(
            "resnet",
            tmp_path,
            model_path="data/resnet_arcface_fp32_1b.bmodel",
            task_type="FeatureExtract",
            bgr2rgb=True,
            bgr2gray=True,
            mean=[127.5] * 3,
            std=[127.5] * 3,
        )

    def __call__(self, picture: np.ndarray[Any, Any]) -> list[Frame]:
        frame = Frame(0, 0, 0, picture=Picture((picture.shape[1], picture.shape[0]), lambda: picture))
        parts: list[Frame] = []
        self.retinaface.process(frame, lambda frame, *, port=None: None)
        self.distributor.process(frame, lambda frame, *, port=None: parts.append(frame) if port == 1 else None)
        assert len(parts) == len(frame.faces)
        for part in parts:
            self.resnet.process(part, lambda frame, *, port=None: None)
        return parts


def picture_of(number: int) -> np.ndarray[Any, Any]:
    picture = cv2.imread(str(assets.clip("../faces/deepface") / f"img{number}.jpg"), cv2.IMREAD_REDUCED_COLOR_2)
    assert picture is not None
    return picture


@pytest.fixture(scope="module")
def read_faces(tmp_path_factory: pytest.TempPathFactory) -> FaceReader:
    return FaceReader(tmp_path_factory.mktemp("faces"))


@pytest.fixture(scope="module")
def features(read_faces: FaceReader) -> dict[tuple[str, int], np.ndarray[Any, Any]]:
    """One feature for each picture."""
    found = {}
    for name, numbers in PEOPLE.items():
        for number in numbers:
            parts = read_faces(picture_of(number))
            assert len(parts) == 1, (name, number, len(parts))
            [recognition] = parts[0].recognitions
            assert (recognition.scores, recognition.class_ids, recognition.label) == ((), (), "")
            assert recognition.feature is not None
            found[name, number] = recognition.feature
    return found


def table(tmp_path: Path, rows: list[tuple[str, np.ndarray[Any, Any]]], **keys: Any) -> Any:
    np.savetxt(tmp_path / "db.txt", np.array([feature for _, feature in rows]), fmt="%.5f")
    (tmp_path / "names.txt").write_text("".join(f"{name}\n" for name, _ in rows))
    return made("faiss", tmp_path, db_path="db.txt", label_path="names.txt", **keys)


def looked_up(faiss: Any, feature: np.ndarray[Any, Any]) -> Recognition:
    frame = Frame(0, 0, 0, recognitions=(Recognition(feature=feature),))
    faiss.process(frame, lambda frame, *, port=None: None)
    [recognition] = frame.recognitions
    return recognition


@pytest.mark.parametrize("metric", ["inner_product", "cosine"])
def test_one_picture_of_each_person_is_enough_to_name_the_others(
    tmp_path: Path, features: dict[tuple[str, int], np.ndarray[Any, Any]], metric: str
) -> None:
    known = [(name, features[name, numbers[0]]) for name, numbers in PEOPLE.items()]
    faiss = table(tmp_path, known, metric=metric)
    wrong = []
    for name, numbers in PEOPLE.items():
        for number in numbers[1:]:
            found = looked_up(faiss, features[name, number])
            assert len(found.scores) == len(found.class_ids) == 1
            if found.label != name:
                wrong.append((name, number, found.label, found.scores))
    assert sum(map(len, PEOPLE.values())) - len(PEOPLE) == 45
    assert wrong == []


def test_the_program_of_the_manual_makes_a_table_that_names_people(
    tmp_path: Path,
    features: dict[tuple[str, int], np.ndarray[Any, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    manual = section("faiss").split("```python\n")[1].split("```")[0]
    for name, number in (("anna", 20), ("bert", 3), ("王", 22)):
        (tmp_path / "people" / name).mkdir(parents=True)
        assert cv2.imwrite(str(tmp_path / "people" / name / "1.jpg"), picture_of(number))
    cv2.imwrite(str(tmp_path / "people" / "anna" / "2.jpg"), np.zeros((80, 80, 3), np.uint8))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STREAMSERVER_MODELS", str(assets.model("yunet_n_dynamic.onnx").parent))
    exec(compile(manual, "docs/elements.md", "exec"), {})
    assert capsys.readouterr().out == "people/anna/2.jpg: left out, it shows no face\n"
    faiss = made("faiss", tmp_path, db_path="db.txt", label_path="names.txt", metric="cosine", threshold=0.4)
    found = [looked_up(faiss, features[who]).label for who in (("anna", 21), ("bert", 12), ("cara", 23), ("dora", 24))]
    assert found == ["anna", "bert", "王", ""]


def test_with_a_threshold_strangers_stay_without_a_name(
    tmp_path: Path, features: dict[tuple[str, int], np.ndarray[Any, Any]]
) -> None:
    people = list(PEOPLE)
    known = [(name, features[name, PEOPLE[name][0]]) for name in people[:8]]
    faiss = table(tmp_path, known, metric="cosine", threshold=0.4)
    names = {name: {looked_up(faiss, features[name, n]).label for n in PEOPLE[name][1:]} for name in people}
    assert names == {name: {name if name in people[:8] else ""} for name in people}
