"""From pixels to what a network wants to see."""

from typing import Any

import numpy as np
import pytest

from streamserver.models.normalisation import Normalisation

PIXEL_BGR = np.array([[[10, 20, 30]]], dtype=np.uint8)


def seen(normalisation: Normalisation) -> list[float]:
    blob = np.empty((3, 1, 1), dtype=np.float32)
    normalisation.fill(blob, PIXEL_BGR)
    return [float(v) for v in blob.ravel()]


@pytest.mark.parametrize(
    ("normalisation", "channels"),
    [
        (Normalisation(), [10, 20, 30]),
        (Normalisation(rgb=True), [30, 20, 10]),
        (Normalisation.per_channel(scale=0.5, offset=1), [4, 9, 14]),
        (Normalisation.per_channel(scale=[1, 2, 3], offset=[0, 0, 5]), [10, 40, 85]),
        (Normalisation.from_yolox_keys(mean=[0, 0, 0], std=[0.0039215686] * 3, bgr2rgb=False), [10, 20, 30]),
        (Normalisation.from_yolox_keys(mean=[0, 0, 0], std=[1, 1, 1], bgr2rgb=True), [30 / 255, 20 / 255, 10 / 255]),
        (
            Normalisation.from_yolox_keys(mean=[0.5, 0, 0], std=[0.5, 1, 1], bgr2rgb=False),
            [20 / 255 - 1, 20 / 255, 30 / 255],
        ),
    ],
)
def test_each_channel_is_scaled_and_shifted(normalisation: Normalisation, channels: list[float]) -> None:
    assert seen(normalisation) == pytest.approx(channels, rel=1e-5)


@pytest.mark.parametrize(
    ("mean", "std", "problem"),
    [
        ([0, 0], [1, 1, 1], "mean: expected a number or three"),
        ([0, 0, 0], [1, 0, 1], "std: expected no zero"),
        ([0, 0, 0], ["1", 1, 1], "std: expected"),
        ([0, 0, float("nan")], [1, 1, 1], "mean: expected"),
        (None, [1, 1, 1], "mean: expected"),
    ],
)
def test_keys_that_make_no_sense_are_refused(mean: Any, std: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Normalisation.from_yolox_keys(mean=mean, std=std, bgr2rgb=False)
