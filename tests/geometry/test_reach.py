from __future__ import annotations

import pytest

from streamserver.geometry.reach import Reach

SIZE_WH = (800, 600)

Box = tuple[float, float, float, float]


def may_be_arm(*boxes: Box) -> bool:
    reach = Reach(boxes[0])
    return [reach.may_be_arm(box, SIZE_WH) for box in boxes][-1]


@pytest.mark.parametrize(
    "boxes",
    [
        pytest.param([(100, 0, 180, 50), (100, 0, 180, 400)], id="grows down"),
        pytest.param([(100, 0, 180, 400), (100, 3, 180, 50)], id="shrinks"),
        pytest.param([(0, 200, 50, 260), (0, 190, 400, 260)], id="grows from the left"),
        pytest.param([(750, 200, 800, 260), (300, 190, 798, 260)], id="grows from the right"),
        pytest.param([(0, 0, 90, 230), (4, 0, 140, 243), (0, 1, 79, 242)], id="trembles in a corner"),
    ],
)
def test_what_only_grows_and_shrinks_at_a_border_may_be_an_arm(boxes: list[Box]) -> None:
    assert may_be_arm(*boxes)


@pytest.mark.parametrize(
    "boxes",
    [
        pytest.param([(100, 100, 180, 400)], id="in the middle"),
        pytest.param([(100, 300, 180, 600)], id="before the camera"),
        pytest.param([(0, 100, 30, 400), (20, 100, 100, 400), (0, 100, 30, 400)], id="came from the border and back"),
        pytest.param([(100, 0, 180, 400), (190, 0, 270, 400), (100, 0, 180, 400)], id="walks, its head cut off"),
        pytest.param([(780, 100, 800, 160), (775, 170, 800, 230)], id="walks along the border"),
        pytest.param([(0, 0, 80, 300), (0, 20, 80, 300), (20, 0, 80, 300)], id="leaves each border once"),
    ],
)
def test_who_gets_away_from_the_border_or_moves_along_it_is_somebody(boxes: list[Box]) -> None:
    assert not may_be_arm(*boxes)
