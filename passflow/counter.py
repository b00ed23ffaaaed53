"""The SDK: ``Authorizer`` says who may count, ``CustomerCounter`` counts (docs/passflow.md)."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Any

from passflow.licence import Authorizer, unauthorised
from passflow.options import Options
from passflow.replies import Code, Refusal, failure, message_of
from passflow.request import read_request

__all__ = ["Authorizer", "CustomerCounter"]

logger = logging.getLogger(__name__)


class CustomerCounter:
    """Counts the people of videos; may be used for several at once, by several threads.

    Args:
        detect_interval: look at every so many frames, from 1 to 30; the others keep the numbers of the one before.
        threshold: least confidence of the detector in a person that counts, above 0 and at most 1.
        model: name of a detector in configs/models.yaml, or path of its ONNX file.
        stream_timeout_s: how long a stream may give no picture, at its beginning or later.

    Raises:
        ValueError: an option is out of range; ``run`` itself raises nothing.
    """

    def __init__(
        self,
        *,
        detect_interval: int = 1,
        threshold: float = 0.5,
        model: str = "yolox_nano",
        stream_timeout_s: float = 20.0,
    ) -> None:
        self._options = Options(
            detect_interval=detect_interval, threshold=threshold, model=model, stream_timeout_s=stream_timeout_s
        )

    def run(
        self,
        video_path: str | os.PathLike[str] | None = None,
        region: Sequence[Any] | None = None,
        vis: bool = False,
        mosaic: bool = True,
        device: str = "cpu",
        gpu_id: int = 0,
    ) -> Generator[dict[str, Any], None, None]:
        """Counts a video; yields one dict a frame, as the SDK's document says.

        Args:
            video_path: file (mp4, mkv, mov, avi), or address of a stream (rtsp, rtmp).
            region: polygons ``[[(x, y), …], …]`` in whole pixels: counts who comes in. ``None``: counts who passes.
            vis: give each frame's picture as Base64 JPEG in ``res_frame``.
            mosaic: hide the people in it.
            device: ``cpu`` or ``gpu``.
            gpu_id: which GPU, from 0.

        Yields:
            ``code`` 200 with ``current_num`` (people there now), ``total_num`` (counted so far), ``frame_num`` (from 1)
            and ``res_frame`` (or ``None``). 504 where frames are missing or damaged; those that follow come all the
            same. Any other failure, of which the log tells the reason, is the last.
        """
        try:
            yield from self._run(video_path, region, vis, mosaic, (device, gpu_id))
            return
        except Refusal as e:
            code, reason = e.code, e.reason
            logger.error("%d %s: %s", code, message_of(code), reason)
        except Exception:
            code = Code.UNKNOWN
            logger.exception("%d %s", code, message_of(code))
        yield failure(code)

    def _run(
        self, video_path: object, region: object, vis: bool, mosaic: bool | None, device: tuple[object, object]
    ) -> Generator[dict[str, Any], None, None]:
        if reason := unauthorised():
            raise Refusal(Code.NOT_AUTHORIZED, reason)
        request = read_request(video_path, region, *device)
        options = dataclasses.replace(self._options, vis=bool(vis), mosaic=mosaic is None or bool(mosaic))
        from passflow.following import follow

        with closing(follow(request, options)) as frames:
            for seen in frames:
                yield failure(Code.FRAME) if seen is None else seen.to_reply()
