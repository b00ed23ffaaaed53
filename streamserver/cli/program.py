"""The options of ``python -m streamserver`` and which function does what they say."""

from __future__ import annotations

import argparse
import os
import runpy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from streamserver import __version__
from streamserver.cli.connection import KEY_VARIABLE, RefusedError, UnreachableError, UsageError
from streamserver.cli.output import complain
from streamserver.core import interpreter
from streamserver.core.errors import ConfigError, StreamServerError

OK, FAILED, USAGE, UNREACHABLE = 0, 1, 2, 3
"""The exit codes."""

_STOPPED = 130
_DOORS = {
    "models": "weights: list, fetch, verify, inspect",
    "keys": "keys of this server: create, list, revoke",
    "graph": "element graphs: check, show",
    "settings": "settings: show, check",
}
"""Commands that are modules of their own."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 0 done, 1 refused or failed, 2 wrong usage, 3 no server answers."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in _DOORS:
        interpreter.with_packages()
        sys.argv = [f"python -m streamserver.{words[0]}", *words[1:]]
        runpy.run_module(f"streamserver.{words[0]}", run_name="__main__", alter_sys=True)
        return OK
    options = _parser().parse_args(words)
    try:
        return _command(options)(options)
    except UnreachableError as e:
        return _end(e, UNREACHABLE)
    except (UsageError, ConfigError) as e:
        return _end(e, USAGE)
    except StreamServerError as e:
        return _end(e, FAILED)
    except KeyboardInterrupt:
        return _STOPPED
    except BrokenPipeError:  # whoever read the output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _end(error: StreamServerError, code: int) -> int:
    from streamserver.core.log_lines import plain

    complain(plain(str(error)) if isinstance(error, RefusedError) else f"error: {plain(str(error))}")
    return code


def _command(options: argparse.Namespace) -> Callable[[argparse.Namespace], int]:
    if options.area == "check":
        from streamserver.cli.doctor import check

        return check
    interpreter.with_packages()
    from streamserver.cli import following, tasks

    commands: dict[str, Callable[[argparse.Namespace], int]] = {
        "create": tasks.create, "list": tasks.list_tasks, "show": tasks.show, "delete": tasks.delete,
        "log": tasks.log, "watch": following.watch,
    }  # fmt: skip
    return commands[options.command]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m streamserver", description="Works with a stream-server from the command line."
    )
    parser.add_argument("--version", action="version", version=f"stream-server {__version__}")
    areas = parser.add_subparsers(dest="area", required=True)
    _add_tasks(areas.add_parser("tasks", help="tasks of a running server"))
    check = areas.add_parser("check", help="look for whatever keeps a server on this machine from working")
    check.add_argument("--stream", metavar="URL", help="also take a picture of this address; - reads it from stdin")
    check.add_argument("--report", metavar="URL", help="also try this report address; - reads it from stdin")
    check.add_argument("--send", action="store_true", help="post a report marked as a test to --report")
    check.add_argument("--config", type=Path, metavar="FILE", help="the settings file instead of configs/server.yaml")
    _add_common(check)
    for name, help_text in _DOORS.items():
        areas.add_parser(name, help=f"{help_text} (python -m streamserver.{name})", add_help=False)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="JSON, for scripts")
    parser.add_argument("--url", help="the server, e.g. https://stream.example.com (from the settings)")
    parser.add_argument(
        "--key-file",
        type=Path,
        metavar="FILE",
        help=f"file with the API key, mode 0600 (else {KEY_VARIABLE}, else ~/.config/stream-server/key)",
    )
    parser.add_argument("--ca", type=Path, metavar="FILE", help="certificates to trust, in PEM (those of the system)")


def _add_tasks(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="create a task from a file, or from options")
    create.add_argument("file", nargs="?", metavar="FILE", help="the body of /task/create, in JSON; - for stdin")
    create.add_argument("--id", help="TaskID, without FILE")
    create.add_argument("--stream", metavar="URL", help="address of the source, without FILE; - reads it from stdin")
    create.add_argument(
        "--type", type=int, action="append", metavar="N", help="number of an algorithm; may be repeated"
    )
    create.add_argument("--report", action="append", metavar="URL", help="where alarms go; may be repeated")
    create.add_argument("--wait", action="store_true", help="until the task runs and sees pictures, or say why not")
    create.add_argument("--timeout", type=float, default=300.0, metavar="SECONDS", help="of --wait (%(default)g)")
    listing = commands.add_parser("list", help="tasks, in the order of their TaskIDs")
    listing.add_argument("--limit", type=int, metavar="N", help="at most so many")
    show = commands.add_parser("show", help="everything about a task")
    show.add_argument("id", metavar="TASKID")
    delete = commands.add_parser("delete", help="delete tasks")
    delete.add_argument("ids", nargs="+", metavar="TASKID")
    watch = commands.add_parser("watch", help="follow tasks: a live table, or a line for each change; ends with Ctrl-C")
    watch.add_argument("--interval", type=float, default=2.0, metavar="SECONDS", help="between two looks (%(default)g)")
    for filtered in (listing, watch):
        filtered.add_argument("--state", help="only tasks in this state, e.g. FAILED")
        filtered.add_argument("--prefix", help="only tasks whose TaskID begins so")
    log = commands.add_parser("log", help="the last lines of a task's log")
    log.add_argument("id", metavar="TASKID")
    log.add_argument("--lines", type=int, default=100, metavar="N", help="how many (%(default)d)")
    for command in (create, listing, show, delete, watch, log):
        _add_common(command)
