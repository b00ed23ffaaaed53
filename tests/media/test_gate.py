from __future__ import annotations

import numpy as np
import pytest

from streamserver.media.connection import Luma
from streamserver.media.gate import MotionWatch, SizeWatch, region_of

SHAPE = (68, 120)
"""A picture of 960x544."""


def scene(number: int, *, noise: float = 2.0, brighter: float = 0.0, gain: float = 1.0) -> Luma:
    """The same room again and again, as a sensor of its own mood sees it."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    room = 90 + 50 * np.sin(rows / 7) + 40 * ((columns // 12) % 2)
    grain = np.random.default_rng(number).normal(0, noise, SHAPE)
    seen: Luma = np.clip(room * gain + brighter + grain, 0, 255).astype(np.uint8)
    return seen


def with_somebody(luma: Luma, x: int, y: int = 30, *, size: tuple[int, int] = (8, 3), contrast: int = 60) -> Luma:
    shown = luma.astype(np.int16)
    shown[y : y + size[0], x : x + size[1]] += contrast
    seen: Luma = np.clip(shown, 0, 255).astype(np.uint8)
    return seen


def settled(watch: MotionWatch, *, noise: float = 2.0, looks: int = 10) -> MotionWatch:
    for number in range(looks):
        watch.moves(scene(number, noise=noise), at_rest=True)
    return watch


def test_the_first_picture_is_the_background_and_one_of_another_size_is_motion() -> None:
    watch = settled(MotionWatch())
    assert not MotionWatch().moves(scene(0), at_rest=True)
    assert not watch.moves(scene(50), at_rest=True)
    assert watch.moves(scene(51)[:40], at_rest=True)


@pytest.mark.parametrize("noise", [0.0, 3.0, 8.0])
def test_noise_is_no_motion(noise: float) -> None:
    watch = settled(MotionWatch(), noise=noise)
    assert not any(watch.moves(scene(number, noise=noise), at_rest=True) for number in range(100, 200))


@pytest.mark.parametrize("contrast", [-40, 40])
@pytest.mark.parametrize("at_rest", [True, False], ids=["key frames", "every frame"])
def test_somebody_in_the_picture_is_motion(contrast: int, at_rest: bool) -> None:
    watch = settled(MotionWatch())
    assert watch.moves(with_somebody(scene(60), 55, contrast=contrast), at_rest=at_rest)


def test_who_stands_still_becomes_background_and_is_seen_again_when_he_goes() -> None:
    watch = settled(MotionWatch())
    looks = [watch.moves(with_somebody(scene(100 + i), 55), at_rest=False) for i in range(80)]
    assert looks[:5] == [True] * 5
    assert not any(looks[-5:]), "32 seconds of looks"
    assert watch.moves(scene(300), at_rest=True)


@pytest.mark.parametrize(("brighter", "gain"), [(25, 1.0), (-25, 1.0)], ids=["brighter", "darker"])
def test_a_brightness_that_changes_everywhere_alike_is_no_motion(brighter: float, gain: float) -> None:
    watch = settled(MotionWatch())
    assert not watch.moves(scene(60, brighter=brighter, gain=gain), at_rest=True)


def test_a_light_that_is_switched_is_motion_once() -> None:
    watch = settled(MotionWatch())
    looks = [watch.moves(scene(60 + i, gain=0.45), at_rest=True) for i in range(5)]
    assert looks[1:] == [False] * 4


def test_the_light_of_an_evening_is_followed() -> None:
    watch = settled(MotionWatch())
    assert not any(watch.moves(scene(i, gain=1 - i / 200), at_rest=True) for i in range(100)), "200 s to half of it"


def test_leaves_are_learned_and_somebody_among_them_is_seen() -> None:
    random, watch = np.random.default_rng(3), MotionWatch()

    def leaves(number: int) -> Luma:
        seen = scene(number).astype(np.int16)
        seen[:20] += random.integers(-15, 15, (20, 1)).astype(np.int16)
        return np.clip(seen, 0, 255).astype(np.uint8)

    looks = [watch.moves(leaves(number), at_rest=True) for number in range(150)]
    assert not any(looks[-40:])
    assert watch.moves(with_somebody(leaves(999), 55, 8, contrast=90), at_rest=True)


@pytest.mark.parametrize(
    ("x", "counts"), [(10, True), (25, True), (70, False), (110, False)], ids=["in it", "near it", "beside", "far"]
)
def test_only_what_is_in_an_area_or_near_it_counts(x: int, counts: bool) -> None:
    left = [(0.0, 0.0), (160.0, 0.0), (160.0, 540.0), (0.0, 540.0)]
    watch = settled(MotionWatch([left]))
    assert watch.moves(with_somebody(scene(60), x), at_rest=True) is counts


def test_a_line_counts_with_its_surroundings_on_both_sides() -> None:
    region = region_of([[(480.0, 0.0), (480.0, 540.0)]], SHAPE, pitch=8)
    assert region[30, 50:71].all()
    assert not region[30, :40].any() and not region[30, 80:].any()


def test_a_busy_street_beside_the_area_does_not_hide_what_is_in_it() -> None:
    watch = settled(MotionWatch([[(0.0, 0.0), (160.0, 0.0), (160.0, 540.0), (0.0, 540.0)]]))
    for number in range(50):
        assert not watch.moves(with_somebody(scene(number), 60 + number, size=(20, 8)), at_rest=True)
    assert watch.moves(with_somebody(scene(99), 10), at_rest=True)


def sizes(watch: SizeWatch, groups: int, *, event_in: int = -1, key_frame: bool = True) -> list[tuple[int, int]]:
    """Groups of 49 packets of about 1000 bytes; in one of them some are twice as large; where it was suspicious."""
    random, found = np.random.default_rng(5), list[tuple[int, int]]()
    for group in range(groups):
        watch.key_frame()
        for place in range(49):
            size = round(random.normal(1000, 60)) * (2 if group == event_in and 20 <= place < 30 else 1)
            found += [(group, place)] if watch.suspicious(size) else []
    return found


def test_packets_that_are_larger_than_usual_are_suspicious_once_in_their_group() -> None:
    ((group, place),) = sizes(SizeWatch(), 30, event_in=25)
    assert group == 25
    assert 20 <= place < 26


def test_nothing_is_suspicious_before_anything_is_usual() -> None:
    assert sizes(SizeWatch(), 1, event_in=0) == []


def test_what_was_nothing_becomes_usual() -> None:
    watch = SizeWatch()
    sizes(watch, 10)
    suspected = 0
    for _ in range(20):
        watch.key_frame()
        for place in range(49):
            if watch.suspicious(2000 if place > 10 else 1000):
                suspected += 1
            watch.nothing()
    assert 1 <= suspected <= 5
