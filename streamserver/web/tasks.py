"""The four endpoints of the old server, /task/create, /task/delete, /task/query, /task/list, and /task/update."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from flask import Blueprint, Response, current_app, request

from streamserver.core import failpoints
from streamserver.core.errors import (
    BadRequestError,
    DiskFullError,
    SampleError,
    TaskNotFoundError,
    TaskNotRunningError,
)
from streamserver.core.list_request import LIST_KEYS, list_request, parse_list
from streamserver.core.messages import (
    CreateRequest,
    TaskIdRequest,
    canonical,
    parse_create,
    parse_task_id,
    slips_of,
    spec_hash,
)
from streamserver.core.outgoing import Policy
from streamserver.core.replies import (
    ListReply,
    PageReply,
    QueryReply,
    Reply,
    TaskEntry,
    Updated,
    UpdateReply,
    WarnedReply,
)
from streamserver.core.secrets import register_request
from streamserver.core.states import ALIVE, TaskState
from streamserver.core.update_requests import UpdateRequest, merged, parse_update
from streamserver.core.wire_errors import validate
from streamserver.durable.disk import shortage
from streamserver.store import TaskRecord
from streamserver.web import audit, errors, services
from streamserver.web.body import read_address, read_body
from streamserver.web.task_status import entry_of, utc_text

log = logging.getLogger(__name__)

_TURN_S = 1.0
_turn = threading.Lock()

blueprint = Blueprint("tasks", __name__, url_prefix="/task")


@blueprint.post("/create")
def create() -> Response:
    """Wants a task to run; answers at once, the supervisor does the rest."""
    at_hand = services.current()
    settings = at_hand.settings
    accepted = _parse(read_body(max_bytes=settings.max_body_bytes), max_bytes=settings.max_body_bytes)
    audit.about(accepted.task_id)
    if full := shortage(settings.state_path, settings.disk_reserve_mb):
        raise DiskFullError(full)
    content = canonical(accepted)
    with _in_turn():
        at_hand.check(content, settings)
        failpoints.hit("accept.checked")
        record, created = at_hand.store.create(accepted.task_id, accepted.input_src.src_id, content, spec_hash(content))
    log.info("task %r %s as %s", accepted.task_id, "accepted" if created else "is unchanged", record.key)
    audit.about(accepted.task_id, unchanged=not created)
    slips = slips_of(accepted)
    return _json(WarnedReply(Warnings=slips) if slips else Reply())


@blueprint.post("/update")
def update() -> Response:
    """Wants a running task to go on with other rules or report addresses; answers once that is on the disk."""
    max_bytes = services.current().settings.max_body_bytes
    wanted = parse_update(read_body(max_bytes=max_bytes), max_bytes=max_bytes)
    audit.about(wanted.task_id)
    with _in_turn():
        while (reply := _updated(wanted)) is None:
            log.info("task %r was changed meanwhile; its update is checked again", wanted.task_id)
    return _json(reply)


@blueprint.post("/delete")
def delete() -> Response:
    """Wants a task gone: by its TaskID, else by the SrcID of its source (application-web sends either)."""
    store = services.current().store
    name = _posted_name()
    audit.about(name)
    if not store.delete(name):
        name = _only_task_of(name).task_id
        if not store.delete(name):
            raise TaskNotFoundError(f"no task has the TaskID {name!r}", cure="see /task/list")
    log.info("task %r deleted", name)
    return _json(Reply())


@blueprint.route("/query", methods=["POST", "GET"])
def query() -> Response:
    """Tells how one task is doing; ``Code`` 0 means that it is meant to run."""
    name = _posted_name() if request.method == "POST" else _name_in_address()
    record = services.current().store.find(name)
    if record is None:
        raise TaskNotRunningError(f"no task has the TaskID {name!r}", cure="see /task/list")
    (entry,) = _entries([record])
    if entry.status:
        return _json(QueryReply(Result=entry))
    return errors.failure(_ended(record, entry.reason), result=entry)


@blueprint.route("/list", methods=["POST", "GET"], endpoint="list")
def list_tasks() -> Response:
    """Tells how tasks are doing: a page of them where one is asked for, else all, whatever the body is."""
    store, max_bytes = services.current().store, services.current().settings.max_body_bytes
    body = read_body(max_bytes=max_bytes)
    wanted = parse_list(body, max_bytes=max_bytes) or list_request(read_address(LIST_KEYS))
    if wanted is None:
        return _json(ListReply(Result=_entries(store.list())))
    state = TaskState(wanted.state) if wanted.state else None
    page = store.page(limit=wanted.limit, after=wanted.after, prefix=wanted.prefix, state=state)
    return _json(PageReply(Result=_entries(page.records), Total=page.total, More=page.more))


def _updated(wanted: UpdateRequest) -> UpdateReply | None:
    """One try; ``None`` when somebody else changed it at the same time."""
    at_hand = services.current()
    record = at_hand.store.find(wanted.task_id)
    if record is None:
        raise TaskNotFoundError(f"no task has the TaskID {wanted.task_id!r}", cure="see /task/list")
    if record.state not in ALIVE:
        register_request(record.request)  # its reason may speak of its addresses
        raise _ended(record, record.reason)
    body = merged(record.request, wanted)
    accepted = _parse(body, max_bytes=len(body))
    content, slips = canonical(accepted), slips_of(accepted)
    if content == record.request:
        audit.about(wanted.task_id, unchanged=True)
        return UpdateReply(Result=Updated(Revision=record.revision), Warnings=slips)
    at_hand.check_update(record.request, content, at_hand.settings)
    if full := shortage(at_hand.settings.state_path, at_hand.settings.disk_reserve_mb):
        raise DiskFullError(full)
    changed = at_hand.store.update(record, content, spec_hash(content))
    if changed is None:
        return None
    log.info("task %r: revision %d accepted", changed.task_id, changed.revision)
    return UpdateReply(Result=Updated(Revision=changed.revision), Warnings=slips)


def _parse(body: bytes, *, max_bytes: int) -> CreateRequest:
    at_hand = services.current()
    return parse_create(
        body,
        known_types=at_hand.known_types(),
        max_bytes=max_bytes,
        events_kept_locally=bool(at_hand.settings.event_dir),
        source_exists=services.is_readable_file,
        foreign_engine=at_hand.settings.engine_binary is not None,
        policy=Policy.from_settings(at_hand.settings),
    )


@contextmanager
def _in_turn() -> Iterator[None]:
    """One create at a time: a burst is answered in half the time when its threads do not interrupt each other.

    An algorithm that hangs holds up the others for ``_TURN_S`` and no longer: the turn is a courtesy, not a guard.
    """
    mine = _turn.acquire(timeout=_TURN_S)
    try:
        yield
    finally:
        if mine:
            _turn.release()


def _posted_name() -> str:
    max_bytes = services.current().settings.max_body_bytes
    return parse_task_id(read_body(max_bytes=max_bytes), max_bytes=max_bytes).task_id


def _name_in_address() -> str:
    name = request.args.get("TaskID")
    if name is None:
        raise BadRequestError("TaskID is missing", cure='ask /task/query?TaskID=t1, or post {"TaskID": "t1"}')
    return validate(TaskIdRequest, {"TaskID": name}).task_id


def _only_task_of(src_id: str) -> TaskRecord:
    found = services.current().store.find_by_source(src_id)
    if len(found) == 1:
        return found[0]
    if not found:
        raise TaskNotFoundError(f"no task has the TaskID or the SrcID {src_id!r}", cure="see /task/list")
    names = ", ".join(repr(record.task_id) for record in found)
    raise TaskNotFoundError(
        f"no task has the TaskID {src_id!r}, and {len(found)} have it as SrcID", cure=f"delete by TaskID: {names}"
    )


def _entries(records: Sequence[TaskRecord]) -> list[TaskEntry]:
    at_hand = services.current()
    try:
        names = at_hand.known_types()
    except SampleError:
        log.exception("the names of the algorithms cannot be read; they are left out")
        names = {}
    settings, folder = at_hand.settings, at_hand.settings.state_path / "tasks"
    return [entry_of(record, folder=f"{folder}/{record.key}", settings=settings, names=names) for record in records]


def _ended(record: TaskRecord, reason: str) -> TaskNotRunningError:
    why = f": {reason}" if reason else ""
    return TaskNotRunningError(
        f"task {record.task_id!r} is {record.state} since {utc_text(record.since)}{why}",
        cure="create it to run it again",
    )


def _json(reply: Reply) -> Response:
    return current_app.response_class(reply.model_dump_json(by_alias=True), mimetype="application/json")
