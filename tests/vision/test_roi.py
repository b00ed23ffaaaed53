"""The part of the frame that a detector looks at."""

from typing import Any

import numpy as np
import pytest

from streamserver.vision.roi import Roi


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([1, 2, 3, 4], "expected an object"),
        ({}, "left: expected"),
        ({"left": 0, "top": -1, "width": 5, "height": 5}, "top: expected"),
        ({"left": 0, "top": 0, "width": 0, "height": 5}, "width: expected"),
        ({"left": 0, "top": 0, "width": 5, "height": 2.5}, "height: expected"),
        ({"left": True, "top": 0, "width": 5, "height": 2}, "left: expected"),
    ],
)
def test_what_is_no_rectangle_is_refused_by_key(value: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Roi.from_config(value)


def test_no_rectangle_means_the_whole_frame() -> None:
    assert Roi.from_config(None) is None


@pytest.mark.parametrize(
    ("roi", "shape_hw"),
    [(Roi(2, 1, 3, 4), (4, 3)), (Roi(8, 6, 10, 10), (2, 2)), (Roi(50, 0, 5, 5), (5, 0))],
)
def test_the_part_ends_where_the_frame_ends(roi: Roi, shape_hw: tuple[int, int]) -> None:
    assert roi.crop(np.zeros((8, 10, 3), dtype=np.uint8)).shape[:2] == shape_hw
