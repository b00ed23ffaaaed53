"""PP-OCR recognition: widths, alphabets and layouts, and the real weights of the package on real plates and words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from streamserver.core.arrays import FloatArray
from streamserver.core.errors import ConfigError, ModelError
from streamserver.core.plates import DIGITS, LETTERS
from streamserver.core.settings import Settings
from streamserver.models.ppocr_rec import ALPHABETS, UNREADABLE, Alphabet, PpocrRec, read_characters, suggest
from streamserver.models.store import ModelStore
from streamserver.runtime.session import open_session
from tests import assets
from tests.models.constant_net import constant_net
from tests.models.yolov8_files import constant_network
from tests.samples.plate_clip import read_picture
from tests.searching import SEARCHING

PLATE_ASPECT = 3.0


@pytest.fixture(scope="module")
def weights() -> Path:
    """Those of the installed package, which is a requirement like any other."""
    return ModelStore(Settings(model_download=False)).find("ppocr_v4_rec")


def one_hot(*symbols: int, count: int, certain: float = 0.9) -> FloatArray:
    """Probabilities (t, count) of a network that sees these symbols."""
    columns: FloatArray = np.full((len(symbols), count), (1 - certain) / (count - 1), dtype=np.float32)
    columns[np.arange(len(symbols)), symbols] = certain
    return columns


def reader(path: Path, columns: FloatArray, *, width: int | str = "w", **options: Any) -> PpocrRec:
    made = constant_net(path, {"softmax": columns[None]}, shape=("n", 3, 48, width))
    return PpocrRec.load(made, device="cpu", **options)


BLACK = np.zeros((20, 60, 3), dtype=np.uint8)


@pytest.mark.parametrize("shape", [(1, 84, 3549), (1, 10647, 85), (1, 300, 300)])
def test_detectors_with_as_many_numbers_are_no_readers(tmp_path: Path, shape: tuple[int, ...]) -> None:
    rows = np.random.default_rng(0).uniform(0, 0.4, shape).astype(np.float32)
    for picture in ((1, 3, 416, 416), (1, 3, "h", "w"), (1, 3, 48, 320)):
        path = constant_network(tmp_path / "boxes.onnx", rows, shape=picture)
        assert suggest(open_session(path, device="cpu")) is None


def test_a_reader_that_does_not_name_its_characters_is_known_by_what_it_says(tmp_path: Path) -> None:
    columns = np.full((1, 40, 200), 1 / 200, dtype=np.float32)
    found = suggest(open_session(constant_network(tmp_path / "r.onnx", columns, shape=(1, 3, 48, 320)), device="cpu"))
    assert found is not None and found.layout.startswith("200 characters")
    square = constant_network(tmp_path / "s.onnx", columns, shape=(1, 3, 416, 416))
    assert suggest(open_session(square, device="cpu")) is None


def test_97_in_100_real_plates_are_read_right_with_what_a_plate_may_hold(weights: Path) -> None:
    """Of every other plate that there is; ``PROPERTY_TESTS=search`` reads all."""
    every = sorted(assets.media("plates/crops").glob("*.jpg"))
    crops = every if SEARCHING else every[::2]
    plates = PpocrRec.load(weights, device="cpu", alphabet=ALPHABETS["cn_plate"], aspect=PLATE_ASPECT)
    wrong = [path.stem for path in crops if plates.read(read_picture(path)).label != path.stem]
    assert len(every) == 250
    assert len(wrong) <= (3 if SEARCHING else 2), wrong  # 99.2 % when this was written; asked for are 97


def test_words_are_read_with_their_score(weights: Path) -> None:
    image = np.full((60, 400, 3), 255, dtype=np.uint8)
    cv2.putText(image, "Hello 2026", (20, 44), cv2.FONT_HERSHEY_DUPLEX, 1.5, (0, 0, 0), 2)
    for beam_width in (0, 5):
        found = PpocrRec.load(weights, device="cpu", beam_width=beam_width).read(image)
        assert found.label == "Hello 2026"
        assert 0.8 < found.scores[0] <= 1.0


def test_a_picture_without_text_is_unreadable(weights: Path) -> None:
    assert PpocrRec.load(weights, device="cpu").read(BLACK) == UNREADABLE
    assert (UNREADABLE.label, UNREADABLE.scores) == ("###", (0.0,))


@pytest.mark.parametrize(
    ("size_wh", "width", "aspect", "text_width", "input_width"),
    [
        ((60, 20), "w", None, 144, 320),
        ((320, 48), "w", None, 320, 320),
        ((400, 48), "w", None, 400, 480),
        ((640, 48), 320, None, 320, 320),
        ((640, 48), 640, None, 640, 640),
        ((60, 20), 640, None, 144, 640),
        ((94, 24), "w", 3.0, 144, 320),
        ((90000, 20), "w", None, 2560, 2560),
        ((1, 400), "w", None, 1, 320),
    ],
)
def test_pictures_keep_their_ratio_and_are_filled_up_to_the_right(
    tmp_path: Path, size_wh: tuple[int, int], width: int | str, aspect: float | None, text_width: int, input_width: int
) -> None:
    one = reader(tmp_path / "rec.onnx", one_hot(1, count=3), width=width, characters="ab", aspect=aspect)
    blob = one.preprocess(np.full((size_wh[1], size_wh[0], 3), 255, dtype=np.uint8))
    assert blob.shape == (1, 3, 48, input_width)
    np.testing.assert_allclose(blob[..., :text_width], 1.0, atol=1e-6)
    assert not blob[..., text_width:].any()


def test_channels_come_blue_first_from_minus_one_to_one(tmp_path: Path) -> None:
    one = reader(tmp_path / "rec.onnx", one_hot(1, count=3), characters="ab")
    blob = one.preprocess(np.full((48, 48, 3), (0, 51, 255), dtype=np.uint8))
    np.testing.assert_allclose(blob[0, :, 0, 0], [-1.0, -0.6, 1.0], atol=1e-6)


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        (one_hot(1, 1, 0, 1, 2, count=3), "aab"),
        (one_hot(1, 3, 2, count=4), "a b"),
        (np.log(one_hot(1, 1, 0, 1, 2, count=3)), "aab"),
        (np.ascontiguousarray(one_hot(1, 1, 0, 1, 2, count=3).T), "aab"),
    ],
    ids=["blank first", "with a space", "logits", "transposed"],
)
def test_every_layout_is_read(tmp_path: Path, columns: FloatArray, text: str) -> None:
    one = reader(tmp_path / "rec.onnx", columns, characters="ab")
    assert (one.read(BLACK).label, one.read(BLACK).scores[0]) == (text, pytest.approx(0.9, abs=1e-5))


def test_an_alphabet_hides_the_rest_and_takes_lookalikes_together(tmp_path: Path) -> None:
    columns = np.array(
        [
            # blank,   0,    O,    B,    洲,   ·
            [0.00, 0.30, 0.35, 0.35, 0.00, 0.0],
            [0.05, 0.00, 0.00, 0.00, 0.25, 0.7],
            [0.05, 0.10, 0.00, 0.20, 0.65, 0.0],
        ],
        dtype=np.float32,
    )
    characters = ("0", "O", "B", "洲", "·")
    everything = reader(tmp_path / "all.onnx", columns, characters=characters)
    assert everything.read(BLACK).label == "O·洲"
    alphabet = Alphabet("0B", {"O": "0"}, "·")
    found = reader(tmp_path / "some.onnx", columns, characters=characters, alphabet=alphabet).read(BLACK)
    assert (found.label, found.scores[0]) == ("0B", pytest.approx((0.65 + 0.2) / 2))
    with pytest.raises(ModelError, match=r"cannot read 'X'"):
        reader(tmp_path / "none.onnx", columns, characters=characters, alphabet=Alphabet("0X"))


def test_the_named_alphabets_hold_what_plates_hold(weights: Path) -> None:
    for alphabet in ALPHABETS.values():
        PpocrRec.load(weights, device="cpu", alphabet=alphabet)
    assert set(DIGITS + LETTERS + "港京") < set(ALPHABETS["cn_plate"].characters)
    assert ALPHABETS["plate"].alike["a"] == "A"


def test_the_list_of_characters_must_fit(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"was given 7 characters: expected an output of 8 .*or 9 .*got \[1, 1, 3\]"):
        reader(tmp_path / "rec.onnx", one_hot(1, count=3), characters="abcdefg")
    with pytest.raises(ModelError, match="does not name its characters; name the file that does as class_names_file"):
        reader(tmp_path / "rec.onnx", one_hot(1, count=3))


def test_a_file_may_name_its_own_characters(tmp_path: Path) -> None:
    path = constant_net(tmp_path / "rec.onnx", {"s": one_hot(2, 1, count=4)[None]}, shape=(1, 3, 48, 320))
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"character": "\x85\nb"})  # a line end to some, a character to PP-OCR
    onnx.save(model, path)
    assert PpocrRec.load(path, device="cpu").read(BLACK).label == "b\x85"


def test_characters_are_one_a_line_and_may_be_a_space(tmp_path: Path) -> None:
    path = tmp_path / "keys.txt"
    path.write_bytes("\ufeff'\r\n \r\n\u3000\n字\n\n".encode())
    assert read_characters(path) == ("'", " ", "\u3000", "字")
    path.write_text("")
    with pytest.raises(ConfigError, match="is empty"):
        read_characters(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_characters(tmp_path / "gone.txt")


def test_is_suggested_for_readers_only(weights: Path) -> None:
    suggestion = suggest(open_session(weights, device="cpu"))
    assert suggestion is not None and (suggestion.element, suggestion.certainty) == ("ppocr_rec", 0.9)
    assert suggest(open_session(assets.model("lprnet.onnx"), device="cpu")) is None
