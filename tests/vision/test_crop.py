from __future__ import annotations

import numpy as np
import pytest

from streamserver.vision.crop import crop_square, square_around


@pytest.mark.parametrize(
    ("box_xyxy", "expected"),
    [
        ((100.0, 100.0, 140.0, 120.0), (80, 70, 160, 150)),
        ((100.0, 100.0, 120.0, 160.0), (60, 80, 160, 180)),
        ((0.0, 0.0, 20.0, 20.0), (0, 0, 40, 40)),
        ((620.0, 340.0, 640.0, 360.0), (600, 320, 640, 360)),
        ((-50.0, -50.0, 700.0, 400.0), (0, 0, 640, 360)),
        ((100.0, 100.0, 100.0, 100.0), (80, 80, 120, 120)),
        ((900.0, 900.0, 910.0, 910.0), (639, 359, 640, 360)),
        ((-300.0, -300.0, -290.0, -290.0), (0, 0, 1, 1)),
        ((100.4, 100.4, 140.6, 120.6), (80, 70, 161, 151)),
    ],
)
def test_the_square_holds_the_box_and_a_margin_and_stays_inside(
    box_xyxy: tuple[float, float, float, float], expected: tuple[int, int, int, int]
) -> None:
    assert square_around(np.array(box_xyxy, np.float32), (640, 360)) == expected
    assert square_around(box_xyxy, (640, 360)) == expected


def test_a_crop_shows_the_object_in_its_middle() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    image[40:60, 90:110] = 255
    crop = crop_square(image, [90, 40, 110, 60])
    assert crop.shape == (60, 60, 3)
    assert crop[20:40, 20:40].all()
    assert not crop[:20].any()
