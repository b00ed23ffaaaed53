"""Our crossings of vtest.avi against those that people see: ``python -m bench.vtest_truth [--picture slit.png]``.

Prints a table of counts, misses and false ones at DetectInterval 1, 3 and 5, beginning at each possible frame. With
``--picture`` it draws a slit-scan of the line instead, which shows every crossing and shares nothing with our chain.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import ImageBgr
from tests import assets
from tests.geometry.counting import people, pictures
from tests.truth.vtest import CLIP, DOWN, UP, Crossing, compare, seen, told_of

INTERVALS = (1, 3, 5)
LINE_Y, BAND_PX = 330, 40
DIFFERENT = 40


def main() -> None:
    """Prints the table or draws the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", type=Path)
    picture = parser.parse_args().picture
    if picture is not None:
        cv2.imwrite(str(picture), slit_scan([image for _, image in pictures(assets.clip(CLIP), interval=1)]))
        return
    truth = seen()
    print("| DetectInterval | first frame | down | up | missed | false |\n|---|---|---|---|---|---|")
    print(f"| seen | | {_ways(truth)} | | |")
    found = list(people(pictures(assets.clip(CLIP), interval=1)))
    for interval in INTERVALS:
        for first in range(interval):
            result = compare(told_of(found[first::interval], interval=interval))
            print(f"| {interval} | {first} | {_ways(result.told)} | {_list(result.missed)} | {_list(result.false)} |")


def slit_scan(images_bgr: list[ImageBgr]) -> ImageBgr:
    """Who stood where near the line, and when: time goes down, two pixels a frame, x goes right, two a pixel.

    A column of the clip has the colour of the lowest row, from 40 px above the line (blue) to 40 below (red), that
    differs from the clip's median picture; so people who go up turn from red to blue, and people who go down from
    blue to red. White rings are the crossings of the truth: up; black ones: down.
    """
    bands = np.array([image[LINE_Y - BAND_PX : LINE_Y + BAND_PX + 1] for image in images_bgr])
    background = np.median(bands[::8], axis=0)
    lowest = np.array([_lowest_rows(band, background) for band in bands])
    shades = np.clip(lowest * (255 / (2 * BAND_PX)), 0, 255).astype(np.uint8)
    scan = cv2.applyColorMap(shades, cv2.COLORMAP_JET)
    scan[lowest < 0] = 128
    scan = cv2.resize(scan, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    for crossing in seen():
        color = (255, 255, 255) if crossing.direction == UP else (0, 0, 0)
        cv2.circle(scan, (2 * crossing.x, 2 * crossing.frame_id), 14, color, 2)
    return np.asarray(scan, dtype=np.uint8)


def _lowest_rows(band: ImageBgr, background: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Of each column the lowest row with somebody in it, -1 for none."""
    different = (np.abs(band - background).max(axis=2) > DIFFERENT).astype(np.uint8)
    closed = cv2.morphologyEx(different, cv2.MORPH_CLOSE, np.ones((7, 3), np.uint8))
    somebody = cv2.morphologyEx(closed, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
    rows = len(somebody) - 1 - somebody[::-1].argmax(axis=0)
    return np.where(somebody.any(axis=0), rows, -1)


def _ways(crossings: Iterable[Crossing]) -> str:
    ways = [crossing.direction for crossing in crossings]
    return f"{ways.count(DOWN)} | {ways.count(UP)}"


def _list(crossings: list[Crossing]) -> str:
    return f"{len(crossings)}: " + ", ".join(f"{one.frame_id} {one.direction} x={one.x}" for one in crossings)


if __name__ == "__main__":
    main()
