"""``/task/log``: the last lines of what a task's processes have logged, for who may not look into the state folder."""

from __future__ import annotations

import heapq
from pathlib import Path

from flask import Blueprint, Response, jsonify, request

from streamserver.core.errors import TaskNotFoundError
from streamserver.core.log_lines import plain, text_line
from streamserver.core.log_request import LogRequest, parse_log
from streamserver.core.log_tail import last_entries
from streamserver.core.replies import LogLine, LogReply, TaskLog
from streamserver.core.secrets import hide, register_request
from streamserver.core.wire_errors import validate
from streamserver.web import services
from streamserver.web.body import read_address, read_body

_FILES = ("engine.log", "client.log")

blueprint = Blueprint("log", __name__, url_prefix="/task")


@blueprint.route("/log", methods=["POST", "GET"])
def task_log() -> Response:
    """The last lines of engine and client, by time; in every state of the task."""
    at_hand = services.current()
    wanted = _wanted(at_hand.settings.max_body_bytes)
    record = at_hand.store.find(wanted.task_id)
    if record is None:
        raise TaskNotFoundError(f"no task has the TaskID {wanted.task_id!r}", cure="see /task/list")
    register_request(record.request)
    lines = _last_lines(at_hand.settings.state_path / "tasks" / record.key / "logs", wanted.lines)
    if wanted.format == "text":
        text = "".join(f"{_as_text(line)}\n" for line in lines)
        response = Response(text.encode("utf-8", "replace"), mimetype="text/plain")
    else:
        response = jsonify(LogReply(Result=TaskLog(TaskID=record.task_id, Lines=lines)).model_dump(by_alias=True))
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _wanted(max_bytes: int) -> LogRequest:
    if request.method == "POST":
        return parse_log(read_body(max_bytes=max_bytes), max_bytes=max_bytes)
    name = {"TaskID": request.args["TaskID"]} if "TaskID" in request.args else {}
    return validate(LogRequest, name | read_address(("lines", "format")))


def _last_lines(folder: Path, count: int) -> list[LogLine]:
    """Masked once more: what a process had not been told was a secret then may be known as one now."""
    logs = [last_entries(folder / name, count) for name in _FILES]
    merged = list(heapq.merge(*logs, key=lambda entry: entry["time"]))[-count:]
    return [
        LogLine(
            Time=entry["time"],
            Level=entry["level"],
            Role=entry["role"],
            Pid=int(entry["pid"][:10]) if entry["pid"][:10].isdecimal() else 0,
            Logger=entry["logger"],
            Message=hide(entry["message"]),
            Trace=hide(entry["trace"]),
        )
        for entry in merged
    ]


def _as_text(line: LogLine) -> str:
    """A line for people; one that is none of ours stands alone."""
    if not line.logger:
        return plain(line.message)
    return text_line({name: getattr(line, name) for name in type(line).model_fields})
