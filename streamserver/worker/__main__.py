"""``python -m streamserver.worker --demo_config_path=demo.json``: the command line of sophon-stream's ``main``."""

from __future__ import annotations

import argparse
import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from streamserver.core import exitcodes, logs, settings
from streamserver.core.errors import StreamServerError
from streamserver.core.files import read_json
from streamserver.core.processes import die_with_starter

DEFAULT_DEMO = "demo.json"


class _Parser(argparse.ArgumentParser):
    """A parser that leaves with our own exit code."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(exitcodes.USAGE, f"{self.prog}: {message}\n")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; leaves with ``USAGE`` when it is wrong."""
    parser = _Parser(
        prog="python -m streamserver.worker",
        description="Runs the element graphs of a demo file (docs/graphs.md).",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--demo_config_path", type=Path, default=Path(DEFAULT_DEMO), help="the demo file (default: %(default)s)"
    )
    parser.add_argument(
        "--base_dir",
        type=Path,
        default=Path(),
        help="what relative paths in the files count from, like sophon-stream's samples/build (default: where you are)",
    )
    parser.add_argument(
        "--task_dir", type=Path, help="the task's folder, for status and log; without it, log to stderr"
    )
    parser.add_argument("--run", default="", help="the task's key: which accepted version this process belongs to")
    options = parser.parse_args(arguments)
    if not options.base_dir.is_dir():
        parser.error(f"--base_dir: there is no folder '{options.base_dir}'")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the engine; returns its exit code, or ends the process by the signal that asked it to end."""
    faulthandler.enable()
    die_with_starter()
    options = parse(arguments)
    task_dir: Path | None = options.task_dir
    if task_dir is not None:
        (task_dir / "run").mkdir(parents=True, exist_ok=True)
    try:
        values = settings.load()
    except StreamServerError as e:
        sys.stderr.write(f"{e}\n")
        return exitcodes.USAGE
    if task_dir is None:
        logs.configure(level=values.log_level, role="engine", hold_repeats=True)
    else:
        logs.configure_file(values, task_dir, "engine", task=_task_id(task_dir), hold_repeats=True)
    return _run(options, values)


def _task_id(task_dir: Path) -> str:
    request = read_json(task_dir / "request.json")
    return str(request.get("TaskID", "")) if isinstance(request, dict) else ""


def _run(options: argparse.Namespace, values: settings.Settings) -> int:
    import cv2

    from streamserver.worker.app import App
    from streamserver.worker.heartbeat import Heartbeat

    cv2.setNumThreads(1)
    heartbeat = Heartbeat(options.task_dir, options.run)
    app = App(
        options.demo_config_path,
        settings=values,
        base_dir=options.base_dir.absolute(),
        heartbeat=heartbeat,
        task_dir=options.task_dir,
    )
    ending = app.run()
    logging.shutdown()
    if ending.signal_number:
        signal.signal(ending.signal_number, signal.SIG_DFL)
        os.kill(os.getpid(), ending.signal_number)
    if ending.left_behind:
        sys.stderr.flush()
        os._exit(ending.exit_code)
    return ending.exit_code


if __name__ == "__main__":
    sys.exit(main())
