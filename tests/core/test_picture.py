from __future__ import annotations

import threading

import numpy as np
import pytest

from streamserver.core.arrays import ImageBgr
from streamserver.core.picture import Picture


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
