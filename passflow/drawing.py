"""The picture that ``vis`` asks for: areas, people with their numbers, totals."""

from __future__ import annotations

import base64

import cv2
import numpy as np

from passflow.counting import People, Tally
from passflow.request import Polygon
from streamserver.core.arrays import ImageBgr
from streamserver.vision.codec import encode_jpeg
from streamserver.vision.draw.palette import BLUE, color_of
from streamserver.vision.draw.shapes import Style, draw_box, draw_label

_LINE_PX = 2


def draw(image_bgr: ImageBgr, polygons: tuple[Polygon, ...], people: People, tally: Tally) -> None:
    """Draws into the picture; those who are counted as there have a number, others only a box."""
    style = Style()
    for polygon in polygons:
        cv2.polylines(image_bgr, [np.rint(polygon).astype(np.int32)], True, BLUE, _LINE_PX)
    for box_xyxy, identity in zip(people.boxes_xyxy, people.identities.tolist(), strict=True):
        text = str(identity) if identity in people.present else ""
        draw_box(image_bgr, box_xyxy.tolist(), text, color_of(identity), style)
    text = f"total {tally.came}   now {tally.current}"
    draw_label(image_bgr, text, (8, 8), color_bgr=BLUE, writer=style.writer)


def to_base64_jpeg(image_bgr: ImageBgr) -> str:
    """The picture as ``res_frame``."""
    return base64.b64encode(encode_jpeg(image_bgr)).decode("ascii")
