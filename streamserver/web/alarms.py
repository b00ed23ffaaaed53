"""Dead letters: alarms that every receiver refused. ``/alarm/dead`` lists them, ``/alarm/replay`` sends them again."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from flask import Blueprint, Response, jsonify, request

from streamserver.core.alarm_requests import DeadRequest, parse_dead, parse_replay
from streamserver.core.errors import StoreError, TaskNotFoundError
from streamserver.core.leftovers import forget_drained
from streamserver.core.replies import DeadAlarm, DeadReply, OutboxProblem, ReplayReply, Reply
from streamserver.core.secrets import hide, register_request
from streamserver.core.wire_errors import validate
from streamserver.outbox import letters
from streamserver.outbox.letters import DeadLetter
from streamserver.store import TaskRecord
from streamserver.web import audit, services
from streamserver.web.body import read_address, read_body
from streamserver.web.task_status import utc_text

log = logging.getLogger(__name__)

_OUTBOX_FILE = "outbox.sqlite"

blueprint = Blueprint("alarms", __name__, url_prefix="/alarm")


@blueprint.route("/dead", methods=["POST", "GET"])
def dead() -> Response:
    """Lists dead letters by id, of tasks that were deleted too; an outbox that cannot be read hides no other."""
    wanted = _wanted()
    problems: list[OutboxProblem] = []
    found = [_letters_of(record, wanted, problems) for record in _records(wanted.task_id)]
    page = list(islice(heapq.merge(*found, key=lambda alarm: alarm.alarm_id), wanted.limit + 1))
    more = len(page) > wanted.limit
    return _json(DeadReply(Msg=_message(problems), Result=page[: wanted.limit], More=more, Problems=problems))


@blueprint.post("/replay")
def replay() -> Response:
    """Makes dead letters due again; whoever delivers for their task takes them up within seconds."""
    max_bytes = services.current().settings.max_body_bytes
    wanted = parse_replay(read_body(max_bytes=max_bytes), max_bytes=max_bytes)
    audit.about(wanted.task_id)
    problems: list[OutboxProblem] = []
    replayed = 0
    for record in _records(wanted.task_id):
        try:
            replayed += _replay(record, None if wanted.all else wanted.alarm_ids)
        except StoreError as e:
            problems.append(_problem(record, e))
    if problems and not replayed:
        raise StoreError("; ".join(f"task {one.task_id!r}: {one.reason}" for one in problems[:3]))
    if wanted.alarm_ids and not replayed:
        of_task = f" of task {wanted.task_id!r}" if wanted.task_id else ""
        raise TaskNotFoundError(f"none of these alarms is a dead letter{of_task}", cure="see /alarm/dead")
    return _json(ReplayReply(Msg=_message(problems), Replayed=replayed, Problems=problems))


def _wanted() -> DeadRequest:
    if request.method == "GET":
        return validate(DeadRequest, read_address(("TaskID", "After", "Limit")))
    max_bytes = services.current().settings.max_body_bytes
    return parse_dead(read_body(max_bytes=max_bytes), max_bytes=max_bytes)


def _records(task_id: str) -> Sequence[TaskRecord]:
    """Every row of the task, deleted ones included, or of all tasks."""
    store = services.current().store
    if not task_id:
        return store.all()
    own = store.versions_of(task_id)
    if not own:
        raise TaskNotFoundError(f"no task has the TaskID {task_id!r}, nor has a deleted one dead letters")
    return own


def _letters_of(record: TaskRecord, wanted: DeadRequest, problems: list[OutboxProblem]) -> list[DeadAlarm]:
    """One more than asked for, to know whether there are more; none, and a problem, when they cannot be read."""
    register_request(record.request)
    try:
        found = letters.dead_letters(_outbox(record), limit=wanted.limit + 1, after=wanted.after)
    except StoreError as e:
        problems.append(_problem(record, e))
        return []
    return [_alarm(record, letter) for letter in found]


def _alarm(record: TaskRecord, letter: DeadLetter) -> DeadAlarm:
    algorithms = record.request["Algorithm"]
    known = 0 <= letter.algorithm < len(algorithms)
    return DeadAlarm(
        AlarmID=letter.id,
        TaskID=record.task_id,
        Type=algorithms[letter.algorithm]["Type"] if known else None,
        Created=utc_text(letter.created),
        Attempts=letter.attempts,
        Reason=hide(letter.error),
        Bytes=letter.size,
    )


def _replay(record: TaskRecord, ids: Sequence[str] | None) -> int:
    outbox = _outbox(record)
    if not outbox.exists():
        return 0
    count = letters.replay(outbox, ids)
    if count:
        log.info("task %r (%s): %d dead letters are sent again", record.task_id, record.key, count)
        _wake(record)
    return count


def _wake(record: TaskRecord) -> None:
    """A task that is over and was drained is no longer."""
    try:
        forget_drained(_folder(record))
    except OSError as e:
        raise StoreError(f"{_folder(record)}: run/drained cannot be removed: {e.strerror}") from e


def _problem(record: TaskRecord, error: StoreError) -> OutboxProblem:
    log.error("task %r (%s): its dead letters cannot be reached: %s", record.task_id, record.key, error)
    return OutboxProblem(TaskID=record.task_id, Reason=hide(str(error)))


def _message(problems: Sequence[OutboxProblem]) -> str:
    if not problems:
        return str(Reply.model_fields["msg"].default)
    names = ", ".join(repr(one.task_id) for one in problems[:3])
    return f"success, but the alarms of {len(problems)} tasks cannot be reached now: {names}; see Problems"


def _folder(record: TaskRecord) -> Path:
    return services.current().settings.state_path / "tasks" / record.key


def _outbox(record: TaskRecord) -> Path:
    return _folder(record) / _OUTBOX_FILE


def _json(reply: Reply) -> Response:
    return jsonify(reply.model_dump(by_alias=True))
