"""Watches a process with strace and tells which of its answers had their data on the disk before they were sent.

strace sees all threads' system calls one after another, so the order of its lines is the order of events; a call that
others came in between stands on two lines, where it begins and where it ends.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.harness import wait_for

_CALLS = "read,recvfrom,recvmsg,readv,write,writev,pwrite64,pwritev,sendto,sendmsg,fsync,fdatasync"
_LINE = re.compile(r"(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)$")
_FILE = re.compile(r"\d+<((?:->|[^>])*)>")
_READS = frozenset({"read", "recvfrom", "recvmsg", "readv"})
_SENDS = frozenset({"sendto", "sendmsg", "write", "writev"})
_SYNCS = frozenset({"fsync", "fdatasync"})


def missing_tools() -> str:
    """Why strace cannot be used here; empty when it can."""
    if not (strace := shutil.which("strace")):
        return "strace is not installed"
    probe = subprocess.run([strace, "-f", "-o", "/dev/null", "true"], capture_output=True, text=True)
    return "" if probe.returncode == 0 else f"strace may not trace here: {probe.stderr.strip()[:100]}"


@dataclass(frozen=True, slots=True)
class Call:
    """One system call: which thread, on which file or connection, where in the trace it began and ended."""

    thread: int
    name: str
    file: str
    text: str
    begun: int
    ended: int


@dataclass(frozen=True, slots=True)
class Promise:
    """An answer that promises something; ``kept`` when what it promises was synced after the request and before it."""

    answer: str
    kept: bool


class Strace:
    """Traces running processes and all their threads, as a context manager.

    Args:
        pids: who is watched.
        output: where the trace goes.
    """

    def __init__(self, pids: Iterable[int], output: Path) -> None:
        self._pids = list(pids)
        self._output = output
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Strace:
        who = [part for pid in self._pids for part in ("-p", str(pid))]
        said = self._output.with_suffix(".said")
        with said.open("wb") as errors:
            self._process = subprocess.Popen(
                ["strace", "-f", "-yy", "-s", "600", "-e", f"trace={_CALLS}", "-o", str(self._output), *who],
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
        wait_for(lambda: said.read_text().count("attached") >= len(self._pids), "strace is attached", said.read_text)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.wait(60)

    def calls(self) -> list[Call]:
        """What was seen, by the end of each call."""
        return parse(self._output.read_text(errors="replace").splitlines())


def parse(lines: Iterable[str]) -> list[Call]:
    """The calls of a trace, by their ends; those that had not ended when nobody looked any more are the last."""
    begun: dict[int, tuple[int, str, str]] = {}
    calls = []
    for number, line in enumerate(lines):
        match = _LINE.match(line)
        if match is None:
            continue
        thread, resumed, name, rest = int(match[1]), match[2], match[3], match[4]
        if resumed:
            if thread not in begun:
                continue
            start, name, text = begun.pop(thread)
            rest = text + rest
        elif rest.endswith("<unfinished ...>"):
            begun[thread] = (number, name, rest.removesuffix("<unfinished ...>"))
            continue
        else:
            start = number
        file = _FILE.match(rest)
        calls.append(Call(thread, name, file[1] if file else "", rest, start, number))
    for thread, (start, name, text) in begun.items():
        file = _FILE.match(text)
        calls.append(Call(thread, name, file[1] if file else "", text, start, sys.maxsize))
    return calls


def promises(
    calls: Sequence[Call], *, is_request: Callable[[str], bool], is_promise: Callable[[str], bool], log: str
) -> list[Promise]:
    """Judges each answer for which ``is_promise`` holds, by its text.

    Args:
        calls: what ``Strace.calls`` gave.
        is_request: tells the first part of a request.
        is_promise: tells an answer that promises something.
        log: the end of the path that has to be written and synced between the two, e.g. ``outbox.sqlite-wal``.
    """
    asked: dict[str, int] = {}
    found = []
    for call in calls:
        if not call.file.startswith("TCP"):
            continue
        if call.name in _READS and is_request(call.text):
            asked[call.file] = call.ended
        elif call.name in _SENDS and call.file in asked and is_promise(call.text):
            found.append(Promise(call.text, _synced(calls, asked.pop(call.file), call.begun, log)))
    return found


def _synced(calls: Sequence[Call], asked: int, answered: int, log: str) -> bool:
    """A thread wrote to the log after the question, then had it synced before the answer."""
    between = [call for call in calls if call.file.endswith(log) and asked < call.begun and call.ended < answered]
    return any(
        sync.name in _SYNCS
        and any(c.thread == sync.thread and c.name.startswith("pwrite") and c.ended < sync.begun for c in between)
        for sync in between
    )
