"""Alarms as files: one folder a day, the report as JSON, its pictures beside it as JPEG."""

from __future__ import annotations

import base64
import binascii
import json
import time
from pathlib import Path
from typing import Any

from streamserver.core.errors import DeliveryError
from streamserver.core.files import write_atomically, write_json
from streamserver.sinks.sink import Alarm


class FileSink:
    """Writes ``<folder>/<yyyymmdd>/<hhmmss>_<id>.json``, ``…_scene.jpg`` and ``…_<n>.jpg`` for event n.

    The JSON is the report with ``SceneImage`` and ``Image`` (file names, empty where there is no picture) in place of
    the Base64 texts, and ``AlarmID`` and ``Time`` added. It is written last: where it is, its pictures are. Times are
    local. Writing the same alarm again replaces the same files. Several threads may write at a time.

    Args:
        folder: made when the first alarm comes.
    """

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self._folder = folder

    def send(self, alarm: Alarm) -> None:
        """Writes ``alarm``; when it returns, all its files are on the disk."""
        created = time.localtime(alarm.created)
        stem = f"{time.strftime('%H%M%S', created)}_{alarm.id}"
        try:
            day = self._folder / time.strftime("%Y%m%d", created)
            day.mkdir(parents=True, exist_ok=True)
            [report] = json.loads(alarm.body)
            report = {"AlarmID": alarm.id, "Time": time.strftime("%Y-%m-%dT%H:%M:%S%z", created), **report}
            _replace_picture(report, "SceneImageBase64", "SceneImage", day / f"{stem}_scene.jpg")
            for n, event in enumerate(report["AnalyzeEvents"]):
                _replace_picture(event, "ImageBase64", "Image", day / f"{stem}_{n}.jpg")
            write_json(day / f"{stem}.json", report, indent=2, sync=True)
        except OSError as e:
            raise DeliveryError(f"{self._folder}: {e.strerror or e}", cure="check free space and owner") from e

    def knock(self) -> None:
        """A folder has nobody to ask."""

    def close(self) -> None:
        """Nothing is kept open."""


def _replace_picture(item: dict[str, Any], base64_key: str, name_key: str, path: Path) -> None:
    try:
        picture = base64.b64decode(item.pop(base64_key, ""), validate=True)
    except (binascii.Error, ValueError, TypeError):
        picture = b""
    if picture:
        write_atomically(path, picture, sync=True)
    item[name_key] = path.name if picture else ""
