"""Log handlers, configured in one place; no secret of an address passes them, and none of them stops its process.

Files get JSON (``core/log_lines.py``), the console readable lines. What nobody catches goes the same way: Python would
write the traceback, with all its message holds, to stderr.
"""

from __future__ import annotations

import fcntl
import logging
import os
import select
import stat
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from streamserver.core.log_lines import JsonFormatter, TextFormatter
from streamserver.core.repeats import RepeatFilter
from streamserver.core.settings import Settings

FOLDER = "logs"
"""Where log files are, relative to the state folder and to a task's."""

_PIPE_BYTES = 4096
"""So much fits where ``poll`` says that a pipe takes something."""

_PATIENCE_MS = 50


class LogFile:
    """A file that grows by whole lines and makes room for itself; several processes may write to the same.

    Nothing is raised for a disk that is full: lines are lost then, and the next one that finds room says how many.

    Args:
        path: the file; ``<path>.1`` and so on are those before it. Only the owner can read them.
        max_bytes: size at which the next is begun.
        backups: how many full ones are kept.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, *, max_bytes: int, backups: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._backups = backups
        self._file = -1
        self._lost = 0
        self._torn = False
        self._open()

    def write(self, text: str) -> None:
        """Appends ``text``; a part of it where the disk has room for no more."""
        missing = (
            f'{{"message": "{self._lost} lines are missing here: they could not be written"}}\n' if self._lost else ""
        )
        try:
            self._make_room(len(missing) + len(text))
            data = (("\n" if self._torn else "") + missing + text).encode("utf-8", "backslashreplace")
            written = os.write(self._file, data)
        except OSError:
            self._lost += 1
            return
        self._torn = written < len(data)
        self._lost = 1 if self._torn else 0

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Lets go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> None:
        self.close()
        self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY, 0o600)
        there = os.fstat(self._file)
        if stat.S_ISREG(there.st_mode):
            self._torn = there.st_size > 0 and os.pread(self._file, 1, there.st_size - 1) != b"\n"  # of a killed writer
            with suppress(OSError):  # it is somebody else's, and was opened for us to write
                if there.st_mode & 0o077:
                    os.fchmod(self._file, 0o600)

    def _make_room(self, count: int) -> None:
        """Begins the next file where ``count`` more bytes are too many; follows others who did, or moved it away."""
        if self._file < 0 or not self._is_current():
            self._open()
        if not 0 < self._max_bytes - count < os.fstat(self._file).st_size:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of this file: who has it renames it
        except BlockingIOError:
            return
        if self._is_current():
            for number in range(self._backups, 0, -1):
                with suppress(FileNotFoundError):
                    self._backup(number - 1).replace(self._backup(number))
        self._open()

    def _backup(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._file))
        except FileNotFoundError:
            return False


class Console:
    """Standard error of a process that must not wait for it: a terminal that is stopped, or a pipe that nobody reads.

    What it does not take within ``_PATIENCE_MS`` is left out; the log file has it.
    """

    def __init__(self, file: int = 2) -> None:
        self._file, self._is_own = _never_waiting(file)
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLOUT)
        self._patience_ms = _PATIENCE_MS

    def write(self, text: str) -> None:
        """Writes ``text``, as much of it as goes."""
        data = text.encode("utf-8", "backslashreplace")
        with suppress(OSError):
            while data:
                if not self._poll.poll(self._patience_ms):
                    self._patience_ms = 0
                    return
                data = data[os.write(self._file, data[:_PIPE_BYTES]) :]
            self._patience_ms = _PATIENCE_MS

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Lets go of what it has opened itself."""
        if self._is_own:
            os.close(self._file)
            self._is_own = False


def _never_waiting(file: int) -> tuple[int, bool]:
    """A terminal opened once more, and whether that worked: it takes part of a line and then makes the writer wait.

    Opened by ourselves, for those who share the other would not wait any more either.
    """
    if os.isatty(file):
        with suppress(OSError):  # it is another user's
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            return os.open(f"/proc/self/fd/{file}", flags), True
    return file, False


class _Handler(logging.StreamHandler[Any]):
    """Never prints what it could not format: Python would show the arguments as they are."""

    def handleError(self, record: logging.LogRecord) -> None:
        kind = sys.exc_info()[0]
        name = kind.__name__ if kind else "error"
        where = f"{record.pathname}:{record.lineno}"
        broken = {**record.__dict__, "args": (where, name), "exc_info": None, "exc_text": None, "stack_info": None}
        broken["msg"] = "a line of the log could not be written: %s: %s"
        with suppress(OSError, ValueError):  # its stream is closed or gone
            self.stream.write(self.format(logging.makeLogRecord(broken)) + self.terminator)

    def close(self) -> None:
        if isinstance(self.stream, LogFile | Console):
            self.stream.close()
        super().close()


def configure(*, level: str = "INFO", role: str = "", hold_repeats: bool = False) -> None:
    """Sends all logging of this process to stderr, as text.

    Args:
        level: a standard level name.
        role: what this process is (``web``, ``supervisor``, ``engine``, ``client``), shown in each line.
        hold_repeats: write the same warning or error once a minute, with a count; for what may happen with each frame.
    """
    handler = _Handler(sys.stderr)
    handler.setFormatter(TextFormatter(role))
    _take_over([handler], level, hold_repeats=hold_repeats)


def configure_file(
    settings: Settings, folder: Path, role: str, *, task: str = "", console: bool = False, hold_repeats: bool = False
) -> None:
    """Sends all logging of this process to ``logs/<role>.log``, as JSON.

    Where that file cannot be opened, it goes to stderr, with a warning.

    Args:
        settings: level, sizes, and the form of what the console gets.
        folder: the state folder, or the task's.
        role: as for ``configure``.
        task: the TaskID of the task that the process works for.
        console: also to stderr, without ever waiting for it.
        hold_repeats: as for ``configure``; not together with ``console``.
    """
    handlers, problem = [], ""
    path = folder / FOLDER / f"{role}.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = LogFile(path, max_bytes=int(settings.log_max_mb * 1e6), backups=settings.log_backups)
        handlers.append(_Handler(file))
        handlers[0].setFormatter(JsonFormatter(role, task))
    except OSError as e:
        problem = f"{path}: no log can be written there ({e.strerror}); it goes to stderr"
    if console or problem:
        shown = _Handler(Console())
        as_json = settings.log_console == "json"
        shown.setFormatter(JsonFormatter(role, task) if as_json else TextFormatter(role, task))
        handlers.append(shown)
    _take_over(handlers, settings.log_level, hold_repeats=hold_repeats)
    if problem:
        logging.getLogger(__name__).warning("%s", problem)


def _take_over(handlers: Iterable[logging.Handler], level: str, *, hold_repeats: bool) -> None:
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        if hold_repeats:
            handler.addFilter(RepeatFilter())
        root.addHandler(handler)
    root.setLevel(level)
    sys.excepthook, threading.excepthook, sys.unraisablehook = _log_uncaught, _log_uncaught_in_thread, _log_unraisable
    logging.captureWarnings(True)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logging.getLogger(__name__).critical("unexpected", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(what: threading.ExceptHookArgs) -> None:
    if what.exc_value is not None and not isinstance(what.exc_value, SystemExit):
        name = what.thread.name if what.thread else "unknown"
        trace = (what.exc_type, what.exc_value, what.exc_traceback)
        logging.getLogger(__name__).critical("thread %s has ended: unexpected", name, exc_info=trace)


def _log_unraisable(what: sys.UnraisableHookArgs) -> None:
    if what.exc_value is not None:
        trace = (what.exc_type, what.exc_value, what.exc_traceback)
        logging.getLogger(__name__).error("%s", what.err_msg or "an error that nobody could catch", exc_info=trace)
