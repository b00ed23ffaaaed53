"""A frame and all its parts as the message that http_push posts and encode sends (CONTRACT 4)."""

from __future__ import annotations

from typing import Any

from streamserver.core.picture import Picture
from streamserver.core.results import WHOLE_FRAME, frame_to_wire, objects_to_wire
from streamserver.engine.frame import Frame
from streamserver.vision.codec import encode_jpeg


def message_of(frame: Frame, *, with_pictures: bool, fps: float = 0.0) -> dict[str, Any]:
    """The message of a frame; its parts are members of ``mSubObjectMetadatas``, likewise down to the smallest.

    Args:
        frame: what was drawn goes before the picture itself.
        with_pictures: or with ``mSpData`` empty everywhere.
        fps: frames a second, where somebody has measured it.
    """
    return _message(frame, with_pictures=with_pictures, fps=fps, whole=True)


def _message(frame: Frame, *, with_pictures: bool, fps: float, whole: bool) -> dict[str, Any]:
    sized = whole or frame.sub_id == WHOLE_FRAME  # sophon-stream sends no size of a cut-out part
    message = frame_to_wire(
        channel_id=frame.channel_id,
        graph_id=frame.graph_id,
        frame_id=frame.frame_id,
        sequence=frame.sequence if whole else None,
        loop=frame.loop,
        size_wh=frame.picture.size_wh if frame.picture and sized else (0, 0),
        timestamp_us=frame.timestamp_us if whole else 0,
        picture_jpeg=_jpeg(frame.drawing or frame.picture) if with_pictures else b"",
        sub_id=0 if whole else frame.sub_id,
        fps=fps,
    )
    message |= objects_to_wire(frame.detections, poses=frame.poses, recognitions=frame.recognitions, faces=frame.faces)
    if frame.sub_frames:
        message["mSubObjectMetadatas"] = [
            _message(part, with_pictures=with_pictures, fps=0.0, whole=False) for part in frame.sub_frames
        ]
    return message


def _jpeg(picture: Picture | None) -> bytes:
    return encode_jpeg(picture.bgr) if picture else b""
