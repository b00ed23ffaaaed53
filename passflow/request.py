"""What a caller of ``run`` asks for, checked in the order of the SDK's table of errors."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from passflow.replies import Code, Refusal
from streamserver.core.errors import ModelError
from streamserver.core.shapes import PointXy, distinct_corners, polygon_fault
from streamserver.core.urls import masked, source_type

FILE_FORMATS = (".mp4", ".mkv", ".mov", ".avi")
STREAM_TYPES = ("RTSP", "RTMP")
"""Over TLS as well (rtsps, rtmps)."""

_FARTHEST_PX = 1_000_000
_FORM = "expected a list of polygons, each of three or more points: [[(x, y), (x, y), (x, y)], …]"

Polygon = npt.NDArray[np.float64]
"""Corners, (k, 2), in pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """What to count where.

    Attributes:
        address: path of a file, or address of a stream (may hold a password).
        source_type: ``VIDEO``, ``RTSP`` or ``RTMP``.
        polygons: whose union is the area; none for the whole view.
        device: as ``runtime.session.open_session`` takes it.
    """

    address: str
    source_type: str
    polygons: tuple[Polygon, ...] = ()
    device: str = "cpu"

    @property
    def is_live(self) -> bool:
        """Whether it is a stream, which has no end and no length."""
        return self.source_type in STREAM_TYPES


def read_request(video_path: object, region: object, device: object, gpu_id: object) -> Request:
    """Checks what ``run`` was called with; loads the runtime only for a GPU.

    Raises:
        Refusal: with the code of the first of 300, 505, 501 and 502 that it deserves.
    """
    address = _read_address(video_path)
    kind = _read_kind(address)
    polygons = () if region is None else _read_region(region)
    return Request(address, kind, polygons, _read_device(device, gpu_id))


def _read_address(video_path: object) -> str:
    if video_path is None or (isinstance(video_path, str) and not video_path.strip()):
        raise Refusal(Code.PARAMETER_NULL, "video_path is missing; pass a video file or the address of a stream")
    if isinstance(video_path, os.PathLike):
        video_path = os.fspath(video_path)
    if not isinstance(video_path, str):
        raise Refusal(Code.FORMAT, f"video_path: expected text, got {type(video_path).__name__}")
    return video_path


def _read_kind(address: str) -> str:
    scheme, separator, _ = address.partition("://")
    if separator:
        kind = source_type(address)
        if kind not in STREAM_TYPES:
            raise Refusal(Code.FORMAT, f"'{masked(address)}': streams come over rtsp or rtmp, not over {scheme}")
        return kind
    ending = Path(address).suffix.lower()
    if ending not in FILE_FORMATS:
        raise Refusal(Code.FORMAT, f"'{address}': video files end in {', '.join(FILE_FORMATS)}")
    return "VIDEO"


def _read_region(region: object) -> tuple[Polygon, ...]:
    polygons = _members(region, "region")
    if not polygons:
        raise Refusal(Code.REGION, f"region is empty; {_FORM}, or None for the whole view")
    return tuple(_read_polygon(polygon, f"region[{i}]") for i, polygon in enumerate(polygons))


def _read_polygon(polygon: object, where: str) -> Polygon:
    points = [_read_point(point, f"{where}[{i}]") for i, point in enumerate(_members(polygon, where))]
    corners = distinct_corners(points)
    if fault := polygon_fault(corners):
        raise Refusal(Code.REGION, f"{where} is no polygon: {fault}")
    return np.array(corners, dtype=np.float64)


def _read_point(point: object, where: str) -> PointXy:
    numbers = _members(point, where)
    if len(numbers) != 2:
        raise Refusal(Code.REGION, f"{where}: expected x and y, got {len(numbers)} values")
    return _read_pixels(numbers[0], where), _read_pixels(numbers[1], where)


def _read_pixels(number: object, where: str) -> int:
    if isinstance(number, bool) or not isinstance(number, int | np.integer):
        raise Refusal(Code.REGION, f"{where}: expected whole numbers, got {type(number).__name__}")
    if abs(int(number)) > _FARTHEST_PX:
        raise Refusal(Code.REGION, f"{where}: no picture is so large")
    return int(number)


def _members(value: object, where: str) -> list[Any]:
    plain = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(plain, list | tuple):
        raise Refusal(Code.REGION, f"{where}: got {type(value).__name__}; {_FORM}")
    return list(plain)


def _read_device(device: object, gpu_id: object) -> str:
    if not isinstance(device, str) or device not in ("cpu", "gpu"):
        raise Refusal(Code.DEVICE, f"device: expected 'cpu' or 'gpu', got {device!r:.100}")
    if device == "cpu":
        return "cpu"
    if isinstance(gpu_id, bool) or not isinstance(gpu_id, int | np.integer) or gpu_id < 0:
        raise Refusal(Code.DEVICE, f"gpu_id: expected a number from 0 on, got {gpu_id!r:.100}")
    from streamserver.runtime.providers import choose_providers

    chosen = f"cuda:{gpu_id}"
    try:
        choose_providers(chosen)
    except ModelError as e:
        raise Refusal(Code.DEVICE, e.message) from e
    return chosen
