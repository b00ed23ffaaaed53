from __future__ import annotations

import threading

import numpy as np
import pytest

from streamserver.core.arrays import ImageBgr
from streamserver.core.picture import Coding, Picture, Planes


class Loader:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> ImageBgr:
        self.calls += 1
        return np.full((2, 3, 3), 7, np.uint8)


def test_pixels_are_made_once_however_many_ask() -> None:
    load = Loader()
    picture = Picture((3, 2), load)
    assert load.calls == 0
    threads = [threading.Thread(target=lambda: picture.bgr) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert picture.bgr is picture.bgr
    assert load.calls == 1
    assert not picture.given_up


def test_a_picture_that_was_given_up_is_not_converted_and_says_so() -> None:
    load = Loader()
    picture = Picture((3, 2), load)
    picture.give_up()
    assert picture.given_up
    assert load.calls == 0
    with pytest.raises(RuntimeError, match="given up"):
        _ = picture.bgr


def test_pixels_that_are_there_stay_when_the_picture_is_given_up() -> None:
    picture = Picture((3, 2), Loader())
    image = picture.bgr
    picture.give_up()
    assert picture.bgr is image
    assert not picture.given_up


def test_giving_up_a_part_gives_up_the_whole() -> None:
    load = Loader()
    whole = Picture((3, 2), load)
    part = Picture((1, 1), lambda: whole.bgr[:1, :1], part_of=whole)
    part.give_up()
    assert whole.given_up
    assert load.calls == 0


def planes(width: int, height: int) -> Planes:
    y = np.arange(width * height, dtype=np.uint8).reshape(height, width)
    u = np.arange(-(-width // 2) * -(-height // 2), dtype=np.uint8).reshape(-(-height // 2), -1)
    return Planes(y, u, u + 1)


def test_planes_stay_beside_bgr_until_the_picture_is_given_up() -> None:
    load = Loader()
    picture = Picture((4, 2), load, load_planes=lambda: planes(4, 2))
    assert isinstance(picture.pixels, Planes)
    assert load.calls == 0
    assert picture.bgr.shape == (2, 3, 3)
    assert isinstance(picture.pixels, Planes)
    picture.give_up()
    assert picture.planes is None


def test_a_part_of_planes_has_the_colours_of_its_pixels() -> None:
    part = planes(6, 4).cut(1, 1, 3, 2)
    assert part.y.tolist() == [[7, 8, 9], [13, 14, 15]]
    assert part.u.tolist() == [[0, 1], [3, 4]]
    assert part.v.tolist() == [[1, 2], [4, 5]]


@pytest.mark.parametrize("coding", ["bt601", "bt709", "bt2020"])
@pytest.mark.parametrize(("full_range", "black", "white"), [(False, 16, 235), (True, 0, 255)])
def test_grey_is_grey_in_every_coding(coding: Coding, full_range: bool, black: int, white: int) -> None:
    one = np.zeros((1, 1), np.uint8)
    matrix = Planes(one, one, one, full_range, coding).bgr_matrix()
    assert matrix @ np.array([black, 128, 128, 1]) == pytest.approx([0, 0, 0], abs=1e-3)
    assert matrix @ np.array([white, 128, 128, 1]) == pytest.approx([255, 255, 255], abs=1e-3)
