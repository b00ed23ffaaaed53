"""``python -m streamserver tasks``: each command is a request or a few, and what is shown of the replies."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from streamserver.cli.connection import Connection, RefusedError, UsageError, default_url, find_key
from streamserver.cli.cures import cure_of
from streamserver.cli.output import complain, say, show_json, show_table
from streamserver.core.log_lines import plain
from streamserver.core.settings import load
from streamserver.core.urls import secrets_of

HEAD = ("TaskID", "State", "Source", "Fps", "Events", "Pending", "Lost", "Restarts", "Reason")
"""The columns of the table of tasks; keys of the API."""

_PAGE = 1000


def connect(options: argparse.Namespace) -> Connection:
    """The server that the options name, else the one of this machine's settings.

    Raises:
        StreamServerError: an option, the settings or the key cannot be used.
    """
    key = find_key(os.environ, options.key_file)
    if options.url:
        return Connection(options.url, key, trusted=options.ca)
    settings = load()
    own = Path(settings.tls_cert) if settings.tls_cert and not options.ca else None
    return Connection(default_url(settings), key, trusted=options.ca or own, any_name=own is not None)


def typed_address(text: str) -> str:
    """An address from the command line; ``-`` reads it from standard input, where nobody else sees its password."""
    if text == "-":
        return sys.stdin.readline().strip()
    if secrets_of(text):
        complain("warning: everybody on this machine could see the password in the options; use - and standard input")
    return text


def pages(server: Connection, options: argparse.Namespace, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """The tasks that ``--state`` and ``--prefix`` choose, at most ``limit``, asked for page by page."""
    question: dict[str, Any] = {"State": options.state, "TaskIDPrefix": options.prefix}
    left = limit
    while left is None or left > 0:
        reply = server.call("/task/list", {**question, "Limit": _PAGE if left is None else min(left, _PAGE)})
        yield from reply["Result"]
        if not reply.get("More") or not reply["Result"]:
            return
        question["After"] = reply["Result"][-1]["TaskID"]
        left = None if left is None else left - len(reply["Result"])


def row_of(task: Mapping[str, Any]) -> tuple[str, ...]:
    """A task as a row below ``HEAD``."""
    return tuple(str(task.get(key, "")) for key in HEAD)


def list_tasks(options: argparse.Namespace) -> int:
    """Prints a table of tasks."""
    if options.limit is not None and options.limit < 1:
        raise UsageError(f"--limit: got {options.limit}", cure="use a number from 1")
    found = list(pages(connect(options), options, options.limit))
    if options.json:
        show_json(found)
    elif found:
        show_table(HEAD, [row_of(task) for task in found])
    else:
        complain("there are no such tasks")
    return 0


def show(options: argparse.Namespace) -> int:
    """Prints all that is known of a task; of one that has ended, too."""
    task = query(connect(options), options.id)
    if options.json:
        show_json(task)
        return 0
    reason, _, cure = str(task.get("Reason", "")).partition("; ")
    cure = cure or cure_of(reason)
    lines = [(key, _shown(value)) for key, value in task.items() if key not in ("Algorithms", "Reason")]
    lines[3:3] = [("Reason", reason), *([("Cure", cure)] if cure else [])]
    width = max(len(key) for key, _ in lines)
    for key, value in lines:
        say(f"{key.ljust(width)}  {plain(value)}".rstrip())
    head = ("Type", "Name", "Events", "Totals", "LeftOut", "Port", "Path")
    say("")
    show_table(head, [tuple(_shown(one.get(key)) for key in head) for one in task.get("Algorithms", [])])
    return 0


def query(server: Connection, task_id: str) -> dict[str, Any]:
    """The ``Result`` of /task/query, whether the task runs or has ended.

    Raises:
        RefusedError: there is no such task.
    """
    _, reply = server.ask("POST", "/task/query", json.dumps({"TaskID": task_id}).encode())
    result = reply.get("Result")
    if not isinstance(result, dict):
        raise RefusedError(str(reply.get("Msg", reply)))
    return result


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{key} {part}" for key, part in value.items())
    return "" if value is None else str(value)


def delete(options: argparse.Namespace) -> int:
    """Deletes one task after another; one that is refused does not keep the others."""
    server, outcomes = connect(options), []
    for task_id in options.ids:
        try:
            outcomes.append(
                {"TaskID": task_id, "Deleted": True, "Msg": server.call("/task/delete", {"TaskID": task_id})["Msg"]}
            )
        except RefusedError as e:
            outcomes.append({"TaskID": task_id, "Deleted": False, "Msg": str(e)})
            complain(plain(str(e)))
            continue
        if not options.json:
            say(f"{plain(task_id)}: deleted")
    if options.json:
        show_json(outcomes)
    return 0 if all(outcome["Deleted"] for outcome in outcomes) else 1


def log(options: argparse.Namespace) -> int:
    """Prints the last lines of a task's log, oldest first."""
    lines = connect(options).call("/task/log", {"TaskID": options.id, "lines": options.lines})["Result"]["Lines"]
    if options.json:
        show_json(lines)
        return 0
    for line in lines:
        say(plain("{Time} {Level:<7} {Role:<6} {Message}".format(**line)))
        for traced in str(line.get("Trace") or "").splitlines():
            say(f"    {plain(traced)}")
    return 0


def create(options: argparse.Namespace) -> int:
    """Creates a task; with ``--wait`` follows it until it runs."""
    body = _body(options)
    server = connect(options)
    reply = server.call("/task/create", body)
    for warning in reply.get("Warnings", []):
        complain(f"warning: {plain(str(warning))}")
    task_id = str(json.loads(body)["TaskID"])
    if options.wait:
        from streamserver.cli.following import wait_for_it

        return wait_for_it(server, task_id, timeout_s=options.timeout, as_json=options.json)
    if options.json:
        show_json(reply)
    else:
        say(f"{plain(task_id)}: created; 'tasks show' tells how it is doing")
    return 0


def _body(options: argparse.Namespace) -> bytes:
    short = {"--id": options.id, "--stream": options.stream, "--type": options.type}
    if options.file is None:
        missing = [name for name, value in short.items() if value is None]
        if missing:
            raise UsageError(f"{', '.join(missing)} is missing", cure="give FILE, or --id, --stream and --type")
        return json.dumps(
            {
                "TaskID": options.id,
                "InputSrc": {"SrcID": options.id, "StreamSrc": {"Address": typed_address(options.stream)}},
                "Algorithm": [{"Type": number} for number in options.type],
                "Reporting": {"ReportUrlList": [typed_address(url) for url in options.report or []]},
            }
        ).encode()
    if options.report or any(value is not None for value in short.values()):
        raise UsageError("FILE holds the whole task", cure="leave out --id, --stream, --type and --report")
    try:
        return sys.stdin.buffer.read() if options.file == "-" else Path(options.file).read_bytes()
    except OSError as e:
        raise UsageError(f"'{options.file}' cannot be read: {e.strerror}", cure="correct the path") from e
