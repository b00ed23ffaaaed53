"""The form of a log line: an object of JSON in files, text for people; without secrets and control characters."""

from __future__ import annotations

import ast
import json
import logging
import re
import time
from collections.abc import Mapping
from typing import Any

from streamserver.core.secrets import hide

LONGEST = 20_000
"""Characters of a message, and of the end of a traceback, that a line holds: a reader of the log has limits, too."""

_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
"""What ends a line, moves a terminal's cursor, turns the direction of text, or is not seen at all."""

_TASK = re.compile(r"""task ('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")
"""How a message about one task begins in processes that work for all of them: ``task %r``."""


class _Formatter(logging.Formatter):
    """Makes the parts of a line, masked.

    Args:
        role: what the process is.
        task: the TaskID it works for; empty where it works for all.
    """

    def __init__(self, role: str, task: str = "") -> None:
        super().__init__()
        self._role = role
        self._task = task

    def formatException(self, ei: Any) -> str:
        return hide(super().formatException(ei))

    def parts(self, record: logging.LogRecord) -> dict[str, Any]:
        """What the line says, by name."""
        message = hide(record.getMessage())
        traces = [self.formatException(record.exc_info)] if record.exc_info else []
        traces += [hide(record.stack_info)] if record.stack_info else []
        parts = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "role": self._role,
            "pid": record.process,
            "task": self._task or _task_of(message),
            "logger": record.name,
            "message": message if len(message) <= LONGEST else f"{message[:LONGEST]} …",
        }
        return parts | ({"trace": "\n".join(traces)[-LONGEST:]} if traces else {})


class JsonFormatter(_Formatter):
    """One object a line; ``trace`` is there only where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        return json_line(self.parts(record))


class TextFormatter(_Formatter):
    """A line for people, with the lines of a traceback behind it, indented."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        return text_line(self.parts(record))


def json_line(content: Mapping[str, Any]) -> str:
    """``content`` as JSON without line breaks, control characters or others that are not seen."""
    return _UNSEEN.sub(lambda found: json.dumps(found[0])[1:-1], json.dumps(content, ensure_ascii=False))


def text_line(parts: Mapping[str, Any]) -> str:
    """The parts of a line (those of ``JsonFormatter``) as text."""
    head = " ".join(str(parts[name]) for name in ("time", "role", "level") if parts[name])
    lines = [f"{head} {parts['logger']}: {plain(parts['message'])}", *parts.get("trace", "").split("\n")]
    return "\n  ".join([plain(line) for line in lines if line])


def plain(text: str) -> str:
    """``text`` in one line, with what a terminal would obey written as an escape of Python, e.g. ``\\x1b``."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _task_of(message: str) -> str:
    found = _TASK.match(message)
    try:
        return str(ast.literal_eval(found[1])) if found else ""
    except (ValueError, SyntaxError):  # not by %r, or a secret was hidden in the middle of an escape
        return ""
