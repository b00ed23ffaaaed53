"""The contract of a launcher: what the supervisor asks for and what it gets. A new kind is one file beside this one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """One process to start.

    Attributes:
        argv: program and arguments; no secrets, for every user of the machine can read them.
        cwd: its working directory.
        out_file: where stdout and stderr go; its folder must exist.
        env: variables beside those that the launcher gives every process.
        foreign: the program is not ours, so the launcher must see to it that it dies with the supervisor; ours do that
            themselves (``core.processes.die_with_parent``).
        nursery: which nursery can fork it (``launchers/nursery.py``); empty for a program that is none of those.
    """

    argv: tuple[str, ...]
    cwd: Path
    out_file: Path
    env: Mapping[str, str] = field(default_factory=dict)
    foreign: bool = False
    nursery: str = ""


class Process(Protocol):
    """A started process with whatever it started in turn."""

    @property
    def pid(self) -> int:
        """Its number, for the log."""

    def poll(self) -> int | None:
        """``None`` while it runs; then its exit code, negative for a signal, with nothing of it left behind."""

    def signal(self, number: int) -> None:
        """Sends a signal to the process itself; does nothing once it has ended."""

    def kill(self) -> None:
        """SIGKILLs it and all that it started; ``poll`` tells when it is gone."""

    def settle(self) -> None:
        """It has started: what it does from now on is less urgent than others' starts."""

    def trim_output(self) -> None:
        """Keeps ``out_file`` from filling the disk; called every few seconds."""


class Launcher(Protocol):
    """Starts processes."""

    def start(self, spec: ProcessSpec) -> Process:
        """Starts one; raises ``OSError`` when that cannot be done. The process must not outlive this one."""

    def tend(self) -> None:
        """Looks after what it keeps to start processes with; called in every round of the supervisor."""

    @property
    def warming(self) -> bool:
        """True while a start had better wait a moment."""

    @property
    def helpers(self) -> frozenset[int]:
        """Pids of what it keeps for itself, and waits for."""

    def close(self) -> None:
        """Ends what it keeps; the processes that it has started go on."""
