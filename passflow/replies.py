"""What ``CustomerCounter.run`` yields: the envelope and the table of errors of the SDK's document."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

_STATUS = 200
"""Of the interface, not of the frame: always the same."""


class Code(IntEnum):
    """How it went; the numbers are the document's."""

    SUCCESS = 200
    PARAMETER_NULL = 300
    NOT_AUTHORIZED = 500
    REGION = 501
    DEVICE = 502
    VIDEO = 503
    FRAME = 504
    FORMAT = 505
    UNKNOWN = 509


_MESSAGES = {
    Code.SUCCESS: "SUCCESS",
    Code.PARAMETER_NULL: "required parameter is null",
    Code.NOT_AUTHORIZED: "SDK Not Authorized",
    Code.REGION: "region format error",
    Code.DEVICE: "CUDA device error",
    Code.VIDEO: "video initialization error",
    Code.FRAME: "frame data error",
    Code.FORMAT: "unsupported video format",
    Code.UNKNOWN: "unknown error",
}


class Refusal(Exception):
    """Why a run ends.

    Args:
        code: the row of the table.
        reason: what is wrong, with the value and the cure, for people; holds no secrets.
    """

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def success(*, current: int, total: int, frame_num: int, res_frame: str | None) -> dict[str, Any]:
    """The dict of a frame."""
    data = {"current_num": current, "total_num": total, "frame_num": frame_num, "res_frame": res_frame}
    return _envelope(Code.SUCCESS, data)


def failure(code: Code) -> dict[str, Any]:
    """The dict of a row of the table of errors."""
    return _envelope(code, None)


def message_of(code: Code) -> str:
    """The table's words."""
    return _MESSAGES[code]


def _envelope(code: Code, data: dict[str, Any] | None) -> dict[str, Any]:
    return {"code": int(code), "msg": _MESSAGES[code], "status": _STATUS, "data": data}
