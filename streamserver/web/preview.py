"""What a task's camera shows: /task/preview as a row of JPEGs, /task/snapshot as one."""

from __future__ import annotations

import logging
import math
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, request

from streamserver.core.errors import BadRequestError, PreviewError, TaskNotFoundError, TaskNotRunningError
from streamserver.core.messages import TaskIdRequest
from streamserver.core.outgoing import Policy
from streamserver.core.preview import (
    DEFAULT_FPS,
    DEFAULT_WIDTH,
    HIGH_FPS,
    HIGH_WIDTH,
    LOW_FPS,
    LOW_WIDTH,
    Wish,
)
from streamserver.core.snapshot_request import parse_snapshot
from streamserver.core.states import TaskState
from streamserver.core.strict_json import describe
from streamserver.core.wire_errors import validate
from streamserver.store import TaskRecord
from streamserver.web import services
from streamserver.web.address_picture import take_picture
from streamserver.web.body import read_body
from streamserver.web.engine_link import EngineLink
from streamserver.web.patience import connection_of, stays
from streamserver.web.task_status import utc_text

log = logging.getLogger(__name__)

MAX_VIEWERS = 16
MAX_SNAPSHOTS = 6
"""Each holds a thread of the server; what is left answers for the tasks."""

_BOUNDARY = "picture"
_SEND_BUFFER_BYTES = 262_144
"""What the kernel holds for a slow viewer: more would be seconds of old pictures."""

_viewers = threading.BoundedSemaphore(MAX_VIEWERS)
_snapshots = threading.BoundedSemaphore(MAX_SNAPSHOTS)

blueprint = Blueprint("preview", __name__, url_prefix="/task")


@blueprint.get("/preview")
def preview() -> Response:
    """Shows a running task until the viewer leaves, the task ends or another takes its place."""
    record = _running_task()
    wish = Wish(
        index=_algorithm(record),
        fps=_number("Fps", DEFAULT_FPS, LOW_FPS, HIGH_FPS),
        width=int(_number("Width", DEFAULT_WIDTH, LOW_WIDTH, HIGH_WIDTH)),
    )
    mimetype = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
    if request.method == "HEAD":
        return _not_kept(Response(mimetype=mimetype))
    pictures = _Pictures(_folder(record), wish, request.environ)
    log.info("task %r is watched", record.task_id)
    return _not_kept(Response(pictures, mimetype=mimetype))


@blueprint.get("/snapshot")
def snapshot() -> Response:
    """One picture of a running task, in full size and fresh."""
    record = _running_task()
    wish = Wish(index=_algorithm(record), drawn=_flag("Drawn"), once=True)
    if request.method == "HEAD":
        return _jpeg(b"")
    _take(_snapshots, f"{MAX_SNAPSHOTS} snapshots are being taken already")
    try:
        with EngineLink(_folder(record), wish) as link:
            return _jpeg(link.next_jpeg())
    finally:
        _snapshots.release()


@blueprint.post("/snapshot")
def snapshot_of_address() -> Response:
    """One picture of an address, before there is a task."""
    settings = services.current().settings
    source = parse_snapshot(
        read_body(max_bytes=settings.max_body_bytes),
        max_bytes=settings.max_body_bytes,
        source_exists=services.is_readable_file,
        policy=Policy.from_settings(settings),
    )
    return _jpeg(take_picture({**source, "decoder": settings.decoder}, settings, waits=stays(request.environ)))


class _Pictures:
    """The body of a preview. Holds a viewer's place and the engine's connection from its making until ``close``."""

    def __init__(self, folder: Path, wish: Wish, environ: dict[str, Any]) -> None:
        """Waits for the first picture, so that an error has a status of its own."""
        self._stays = stays(environ)
        self._connection = connection_of(environ)
        with ExitStack() as held:
            _take(_viewers, f"{MAX_VIEWERS} previews are being watched already")
            held.callback(_viewers.release)
            self._link = held.enter_context(EngineLink(folder, wish))
            self._first = self._link.next_jpeg()
            self._held = held.pop_all()

    def __iter__(self) -> Iterator[bytes]:
        if self._connection is not None:
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        yield f"--{_BOUNDARY}\r\n".encode()
        yield _part(self._first)
        while self._stays():
            try:
                jpeg = self._link.next_jpeg()
            except PreviewError as e:
                log.info("a preview ends: %s", e.message)
                return
            yield _part(jpeg)

    def close(self) -> None:
        """Leaves; called by the server when the answer has ended, however it did. May be called twice."""
        self._held.close()


def _part(jpeg: bytes) -> bytes:
    """A picture with the boundary behind it: browsers show a picture when they see its end."""
    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
    return head + jpeg + f"\r\n--{_BOUNDARY}\r\n".encode()


def _take(places: threading.BoundedSemaphore, problem: str) -> None:
    if not places.acquire(blocking=False):
        raise PreviewError(problem, cure="close one, or try again later")


def _jpeg(data: bytes) -> Response:
    return _not_kept(Response(data, mimetype="image/jpeg"))


def _not_kept(response: Response) -> Response:
    """For pictures that nobody on the way may keep or hold back."""
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _running_task() -> TaskRecord:
    """The task that ``TaskID`` names, if its engine is one of ours and runs."""
    at_hand = services.current()
    given = request.args.get("TaskID")
    if given is None:
        raise BadRequestError("is missing", path="TaskID", cure=f"ask {request.path}?TaskID=t1")
    name = validate(TaskIdRequest, {"TaskID": given}).task_id
    record = at_hand.store.find(name)
    if record is None:
        raise TaskNotFoundError(f"no task has the TaskID {name!r}", cure="see /task/list")
    if record.state is not TaskState.RUNNING:
        why = f": {record.reason}" if record.reason else ""
        raise TaskNotRunningError(
            f"task {name!r} is {record.state} since {utc_text(record.since)}{why}",
            cure="ask again when /task/query says RUNNING",
        )
    if at_hand.settings.engine_binary is not None:
        raise PreviewError(
            f"the engine is {at_hand.settings.engine_binary}, which shows no pictures",
            cure="leave the setting stream_path empty for our own engine, or post the address to /task/snapshot",
        )
    return record


def _folder(record: TaskRecord) -> Path:
    return services.current().settings.state_path / "tasks" / record.key


def _algorithm(record: TaskRecord) -> int:
    return int(_number("Algorithm", 0, 0, len(record.request["Algorithm"]) - 1))


def _number(name: str, default: float, low: float, high: float) -> float:
    """A number of the address' query; whole where its limits are."""
    text = request.args.get(name)
    if text is None:
        return default
    kind = int if isinstance(low, int) else float
    try:
        number: float = kind(text)
    except ValueError:
        number = math.nan
    if not low <= number <= high:
        noun = "a whole number" if kind is int else "a number"
        raise BadRequestError(f"expected {noun} from {low:g} to {high:g}, got {describe(text)}", path=name)
    return number


def _flag(name: str) -> bool:
    text = request.args.get(name, "0")
    if text not in ("0", "1"):
        raise BadRequestError(f"expected 0 or 1, got {describe(text)}", path=name)
    return text == "1"
