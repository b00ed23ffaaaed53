"""Watches tasks as they change: ``tasks watch`` and ``tasks create --wait``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from streamserver.cli.connection import Connection, UnreachableError
from streamserver.cli.cures import cure_of
from streamserver.cli.output import complain, rich_table, say, show_json
from streamserver.cli.tasks import HEAD, connect, pages, query, row_of
from streamserver.core.log_lines import plain

_LOOK_S = 0.3
_ON_THE_WAY = ("PENDING", "STARTING", "BACKOFF", "STOPPING")
_TOLD = ("State", "Source", "Reason")
_LEAST_S = 0.2


class _Progress(Protocol):
    def __call__(self, text: str, /) -> None: ...


def wait_for_it(server: Connection, task_id: str, *, timeout_s: float, as_json: bool) -> int:
    """Follows a new task; 0 once it runs and sees pictures, or has ended well, else 1 and why."""
    deadline = time.monotonic() + timeout_s
    with _progress(task_id, quiet=as_json) as tell:
        task = query(server, task_id)
        while _is_open(task) and time.monotonic() < deadline:
            tell(_summary(task))
            time.sleep(_LOOK_S)
            task = query(server, task_id)
    good = task["State"] == "FINISHED" or (
        task["State"] == "RUNNING" and task["Source"] not in ("reconnecting", "stalled")
    )
    if as_json:
        show_json(task)
    elif good:
        say(f"{plain(task_id)}: {_summary(task)}")
    if not good:
        late = f" after {timeout_s:g} s" if _is_open(task) else ""
        cure = cure_of(task["Reason"])
        told = "; ".join(filter(None, [_summary(task) + late, cure, "the server goes on with it until it is deleted"]))
        complain(f"{plain(task_id)}: {told}")
    return 0 if good else 1


def _is_open(task: Mapping[str, Any]) -> bool:
    """Whether it is not decided yet if the task will see pictures."""
    return task["State"] in _ON_THE_WAY or (task["State"] == "RUNNING" and task["Source"] in ("", "connecting"))


def _summary(task: Mapping[str, Any]) -> str:
    return plain(": ".join(filter(None, [" ".join(filter(None, [task["State"], task["Source"]])), task["Reason"]])))


@contextmanager
def _progress(task_id: str, *, quiet: bool) -> Iterator[_Progress]:
    """Shows what is waited for: a line that changes on a terminal, a line for each change elsewhere."""
    if quiet or not sys.stderr.isatty():
        last = ""

        def tell(text: str, /) -> None:
            nonlocal last
            if text != last and not quiet:
                complain(f"{plain(task_id)}: {text}")
            last = text

        yield tell
        return
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status(escape(plain(task_id))) as status:
        yield lambda text: status.update(escape(f"{plain(task_id)}: {text}"))


def watch(options: argparse.Namespace) -> int:
    """Follows tasks until Ctrl-C, which is the usual end and no failure."""
    server = connect(options)
    interval_s = max(_LEAST_S, options.interval)
    try:
        first = list(pages(server, options))
        if sys.stdout.isatty() and not options.json:
            _draw(server, options, first, interval_s)
        else:
            _tell_changes(server, options, first, interval_s)
    except KeyboardInterrupt:
        pass
    return 0


def _looks(server: Connection, options: argparse.Namespace, interval_s: float) -> Iterator[list[dict[str, Any]] | str]:
    """The tasks again and again, or why the server does not answer."""
    while True:
        time.sleep(interval_s)
        try:
            yield list(pages(server, options))
        except UnreachableError as e:
            yield str(e)


def _draw(server: Connection, options: argparse.Namespace, tasks: list[dict[str, Any]], interval_s: float) -> None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    with Live(rich_table(HEAD, [row_of(task) for task in tasks]), screen=True, auto_refresh=False) as live:
        for look in _looks(server, options, interval_s):
            trouble, tasks = (look, tasks) if isinstance(look, str) else ("", look)
            table = rich_table(HEAD, [row_of(task) for task in tasks])
            live.update(Group(table, Text(plain(trouble), style="red")), refresh=True)


def _tell_changes(
    server: Connection, options: argparse.Namespace, tasks: list[dict[str, Any]], interval_s: float
) -> None:
    known: dict[str, tuple[str, ...]] = {}
    trouble = ""
    _tell(known, tasks, as_json=options.json)
    for look in _looks(server, options, interval_s):
        if isinstance(look, str):
            if look != trouble:
                complain(f"error: {plain(look)}")
            trouble = look
            continue
        trouble = ""
        _tell(known, look, as_json=options.json)


def _tell(known: dict[str, tuple[str, ...]], tasks: list[dict[str, Any]], *, as_json: bool) -> None:
    """Says what differs from ``known``, and keeps it there; a task that is gone is said to be, and forgotten."""
    now = {str(task["TaskID"]): tuple(str(task[key]) for key in _TOLD) for task in tasks}
    gone = dict.fromkeys(known.keys() - now.keys(), ("DELETED", "", ""))
    changed = {task_id: told for task_id, told in (now | gone).items() if known.get(task_id) != told}
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    for task_id, told in changed.items():
        if as_json:
            say(json.dumps({"Time": at, "TaskID": task_id, **dict(zip(_TOLD, told, strict=True))}, ensure_ascii=False))
        else:
            state, source, reason = told
            say(plain(f"{at} {task_id}: {state} {source}".rstrip() + (f": {reason}" if reason else "")))
    known.clear()
    known.update(now)
