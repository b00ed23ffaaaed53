from __future__ import annotations

import numpy as np
import pytest

from streamserver.geometry.rules.zone import Zone
from tests.geometry.rules.rule_frames import SIZE_WH, BoxXyxy, person, polygon

ANCHORS = ("foot", "center", "box", "share")
DOOR = polygon((300, 200), (500, 200), (500, 400), (300, 400))
BESIDE_THE_DOOR = polygon((500, 200), (600, 200), (600, 400), (500, 400))
WHOLE_FRAMES = {
    "as application-web draws it": polygon((0, 0), (799, 0), (799, 599), (0, 599)),
    "up to the size": polygon((0, 0), (800, 0), (800, 600), (0, 600)),
    "a pixel inside": polygon((1, 1), (798, 1), (798, 598), (1, 598)),
}
HOOK = polygon((0, 0), (800, 0), (800, 200), (200, 200), (200, 600), (0, 600))


def holds(zone: Zone, box: BoxXyxy, *, already: bool = False) -> bool:
    held = zone.holds([box], SIZE_WH, np.array([already]))
    assert held.dtype == np.bool_
    return bool(held[0])


@pytest.mark.parametrize("anchor", ANCHORS)
def test_no_polygon_and_the_whole_frame_mean_everywhere(anchor: str) -> None:
    boxes = [person(10, 30), person(790, 640), (-30, -10, 900, 700), (-50, 10, -20, 90), (810, 610, 820, 620)]
    assert Zone([], anchor=anchor).holds(boxes, SIZE_WH).all()
    for whole in WHOLE_FRAMES.values():
        assert Zone([whole], anchor=anchor, share=1.0).holds(boxes, SIZE_WH).all()
    assert Zone([DOOR], anchor=anchor).holds([], SIZE_WH).shape == (0,)


@pytest.mark.parametrize(
    ("anchor", "box", "inside"),
    [
        ("foot", person(310, 210), True),
        ("foot", person(310, 410), False),
        ("center", person(310, 210), False),
        ("center", person(310, 410), True),
        ("box", person(315, 255), True),
        ("box", person(315, 245), False),
        ("box", person(305, 300), False),
        ("share", person(305, 300), True),
        ("share", person(299, 300), False),
    ],
)
def test_the_anchor_says_what_has_to_be_inside(anchor: str, box: BoxXyxy, inside: bool) -> None:
    assert holds(Zone([DOOR], anchor=anchor), box) == inside


def test_a_concave_area_does_not_hold_what_is_in_its_bay() -> None:
    for anchor in ANCHORS:
        assert not holds(Zone([HOOK], anchor=anchor), person(500, 400))
        assert holds(Zone([HOOK], anchor=anchor), person(100, 550))


def test_areas_side_by_side_are_one_for_boxes_across_their_border() -> None:
    both = Zone([DOOR, BESIDE_THE_DOOR], anchor="box")
    assert holds(both, person(500, 300))
    assert not holds(Zone([DOOR], anchor="box"), person(500, 300))
    assert both.places([person(x, 300) for x in (400, 496, 504, 550)], SIZE_WH).tolist() == [0, 0, 1, 1]
    feet = Zone([DOOR, BESIDE_THE_DOOR])
    assert feet.places([person(x, 300) for x in (400, 500, 501, 550)], SIZE_WH).tolist() == [0, 0, 1, 1]
    assert Zone([]).places([person(400, 300)], SIZE_WH).tolist() == [0]
    assert both.places([], SIZE_WH).shape == (0,)


@pytest.mark.parametrize("anchor", ANCHORS)
def test_who_is_in_stays_in_until_it_is_clearly_out(anchor: str) -> None:
    zone = Zone([DOOR], anchor=anchor)
    path = [float(x) for x in np.arange(520, 460, -0.5)]
    first_in = next(x for x in path if holds(zone, person(x, 300)))
    last_in = next(x for x in path if holds(zone, person(x, 300), already=True))
    assert 2.5 <= last_in - first_in <= 10
    assert not holds(zone, person(last_in + 1, 300), already=True)


def test_an_area_smaller_than_the_band_at_its_edge_holds_somebody_all_the_same() -> None:
    crack = Zone([polygon((400, 200), (403, 200), (403, 300), (400, 300))])
    assert holds(crack, person(401, 250, height=400))
