"""The request of ``POST /task/snapshot``: an address, alone or where a create request has it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from streamserver.core.address_checks import check_source
from streamserver.core.errors import BadRequestError
from streamserver.core.messages import StreamSrc
from streamserver.core.outgoing import Policy
from streamserver.core.strict_json import describe, parse_object
from streamserver.core.urls import local_path, source_type
from streamserver.core.wire_errors import validate
from streamserver.core.wire_types import Wire


class SnapshotSource(Wire):
    """The source of a create request; its name does not matter."""

    stream_src: StreamSrc = Field(
        alias="StreamSrc", description="how to reach it", examples=[{"Address": "rtsp://192.0.2.1:554/stream"}]
    )


class SnapshotRequest(Wire):
    """As much of a create request as a snapshot needs; what else there is does not matter."""

    input_src: SnapshotSource = Field(
        alias="InputSrc", description="the source", examples=[{"StreamSrc": {"Address": "rtsp://192.0.2.1:554/stream"}}]
    )


def parse_snapshot(
    body: bytes, *, max_bytes: int, source_exists: Callable[[str], bool], policy: Policy
) -> dict[str, str]:
    """What a body of ``POST /task/snapshot`` names: ``address``, ``source_type`` and ``transport``.

    Args:
        body: ``{"Address": "…"}`` or ``{"InputSrc": {"StreamSrc": {"Address": "…"}}}``.
        max_bytes: largest body.
        source_exists: tells whether the file or folder at an absolute path can be read by this server.
        policy: where addresses may lead.

    Raises:
        RefusedAddressError: the address leads to where the settings let nobody go.
        BadRequestError: of the first thing that is wrong, with its JSON path.
        BodyTooLargeError: the body is larger than ``max_bytes``.
    """
    content = parse_object(body, max_bytes=max_bytes)
    if content.get("Address") is not None or "InputSrc" not in content:
        address, path = validate(StreamSrc, content).address, "$.Address"
    else:
        address = validate(SnapshotRequest, content).input_src.stream_src.address
        path = "$.InputSrc.StreamSrc.Address"
    policy.check_all({path: address})
    try:
        check_source(address, source_exists=source_exists, foreign_engine=False)
    except BadRequestError as e:
        raise BadRequestError(e.message.removeprefix(f"{e.path}: "), path=path, cure=e.cure) from e
    kind = source_type(address)
    if kind == "BASE64":
        problem = f"pictures are posted to {describe(address)}; there is none to fetch"
        raise BadRequestError(problem, path=path, cure="use the picture that you post")
    if kind == "VIDEO":
        address = local_path(address)
        kind = "IMG_DIR" if Path(address).is_dir() else kind
    return {"address": address, "source_type": kind, "transport": ""}
