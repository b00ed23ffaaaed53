"""What to do about what happened to a task's processes: decisions only, no clock, no processes, no store.

The supervisor tells ``decide`` what it saw; ``decide`` says which state follows, why, and when to try again. A process
that ends by itself is started again after a pause that doubles from ``BASE_DELAY_S`` to ``MAX_DELAY_S``, unless its
exit code says that no restart can help. The second pause is as long as the first: a mishap to the engine and one to the
client within a minute are no pattern yet. A process that holds too much memory is started again as planned, with the
same pauses; one that fills it every few minutes is a pattern, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from streamserver.core import exitcodes
from streamserver.core.states import TaskState

BASE_DELAY_S = 0.5
"""Pause before the first restart, before the random factor: one mishap should not cost more than the start itself."""

MAX_DELAY_S = 60.0
"""No pause is longer."""

HEALTHY_RESET_S = 60.0
"""Health of this length wipes out the crashes before it."""

MEMORY_RESET_S = 600.0
"""Health of this length before it holds too much memory wipes out what was before: memory does not fill in a second."""

_WORDLESS_CURE = "logs/{role}.out in the task's folder says more; mend it, then create the task again"
"""For a process that ends with a cause no restart can mend and without a word of its own."""

MAX_PORT_MOVES = 20
"""So many ports in a row may turn out to be taken before that counts as a crash like any other."""


class Role(StrEnum):
    """The two processes of a task."""

    ENGINE = "engine"
    CLIENT = "client"


@dataclass(frozen=True, slots=True)
class History:
    """What decisions depend on, besides the event.

    Attributes:
        crashes: restarts in a row without ``HEALTHY_RESET_S`` of health between them.
        port_moves: ports in a row that were taken when the client wanted them.
        healthy_since: monotonic time at which the task became RUNNING; ``None`` while it is not.
    """

    crashes: int = 0
    port_moves: int = 0
    healthy_since: float | None = None

    def became_healthy(self, now: float) -> History:
        """The history once both processes are ready."""
        return replace(self, port_moves=0, healthy_since=now)


@dataclass(frozen=True, slots=True)
class Exited:
    """A process has ended.

    Attributes:
        code: the exit code, negative for a signal.
        error: its own last words (``status.error``), or empty.
        done: for a code of 0: True when the engine's source has ended or the client has delivered everything; False
            when it left before that, e.g. a client that somebody sent SIGTERM.
    """

    role: Role
    code: int
    error: str = ""
    done: bool = True


@dataclass(frozen=True, slots=True)
class Silent:
    """A process lives but has not beaten for ``silence_s``."""

    role: Role
    silence_s: float


@dataclass(frozen=True, slots=True)
class Late:
    """A process was not ready within the start time-out of ``limit_s``."""

    role: Role
    limit_s: float


@dataclass(frozen=True, slots=True)
class Refused:
    """The task could not be prepared or started, or cannot show that it lives; ``permanent`` when no try can differ."""

    reason: str
    permanent: bool


@dataclass(frozen=True, slots=True)
class Swollen:
    """A process holds more memory than the setting ``memory_limit_mb`` allows, in megabytes."""

    role: Role
    used_mb: float
    limit_mb: int


Event = Exited | Silent | Late | Refused | Swollen


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What follows an event.

    Attributes:
        state: BACKOFF, FINISHED or FAILED.
        reason: why, in words, for the task's reply.
        history: the history from now on.
        delay_s: pause before the next start; meaningful for BACKOFF.
        counted: whether this is a restart that the task's ``Restarts`` shows; what never ran is not started again.
        next_port: the client needs another port.
    """

    state: TaskState
    reason: str
    history: History
    delay_s: float = 0.0
    counted: bool = False
    next_port: bool = False


def backoff_delay_s(crashes: int, jitter: float) -> float:
    """The pause after so many crashes in a row.

    Args:
        crashes: crashes before this one.
        jitter: a random number from 0 to 1; shortens the pause by up to a half, so that tasks do not start in step.
    """
    return float(min(MAX_DELAY_S, BASE_DELAY_S * 2.0 ** min(max(crashes - 1, 0), 30)) * (0.5 + 0.5 * jitter))


def decide(history: History, event: Event, *, now: float, jitter: float) -> Step:
    """The state that follows ``event``.

    Args:
        history: the task's crashes so far.
        event: what was seen.
        now: monotonic time in seconds.
        jitter: see ``backoff_delay_s``.
    """
    match event:
        case Exited(Role.ENGINE, exitcodes.FINISHED, _, True):
            return Step(state=TaskState.FINISHED, reason="the source has ended", history=History())
        case Exited(_, code, _, _) if code in exitcodes.PERMANENT:
            return Step(state=TaskState.FAILED, reason=reason_of(event), history=History())
        case Refused(reason, True):
            return Step(state=TaskState.FAILED, reason=reason, history=History())
        case Exited(Role.CLIENT, exitcodes.PORT_TAKEN, _, _) if history.port_moves < MAX_PORT_MOVES:
            moved = replace(history, port_moves=history.port_moves + 1, healthy_since=None)
            return Step(state=TaskState.BACKOFF, reason=reason_of(event), history=moved, next_port=True)
        case _:
            return _back_off(history, event, now=now, jitter=jitter)


def blame(exits: Sequence[Exited]) -> Exited:
    """The one to judge by when both processes ended between two looks: what is final before what is not."""

    def rank(exited: Exited) -> int:
        if exited.code in exitcodes.PERMANENT:
            return 0
        if exited.role is Role.ENGINE and exited.code == exitcodes.FINISHED and exited.done:
            return 1
        if exited.code == exitcodes.PORT_TAKEN:
            return 2
        return 3 if exited.role is Role.ENGINE else 4

    return min(exits, key=rank)


def reason_of(event: Event) -> str:
    """The event in words, for the task's reply and the log."""
    match event:
        case Refused(reason, _):
            return reason
        case Silent(role, silence_s):
            return f"{role} gave no sign of life for {silence_s:.0f} s"
        case Late(role, limit_s):
            return f"{role} was not ready within {limit_s:.0f} s"
        case Swollen(role, used_mb, limit_mb):
            used = f"{used_mb / 1000:.1f} GB" if used_mb >= 1000 else f"{used_mb:.0f} MB"
            return f"{role} used {used} of memory, more than memory_limit_mb ({limit_mb}): planned restart"
        case Exited(role, exitcodes.FINISHED, error, _):
            return f"{role} ended although its work was not done{f': {error}' if error else ''}"
        case Exited(role, code, error, _) if code in exitcodes.PERMANENT and not error:
            return f"{role}: {exitcodes.describe(code)}; {_WORDLESS_CURE.format(role=role)}"
        case Exited(role, code, error, _):
            return f"{role}: {error or exitcodes.describe(code)}"


def _back_off(history: History, event: Event, *, now: float, jitter: float) -> Step:
    healthy_s = 0.0 if history.healthy_since is None else now - history.healthy_since
    reset_s = MEMORY_RESET_S if isinstance(event, Swollen) else HEALTHY_RESET_S
    crashes = 0 if healthy_s >= reset_s else history.crashes
    return Step(
        state=TaskState.BACKOFF,
        reason=reason_of(event),
        history=History(crashes=crashes + 1),
        delay_s=backoff_delay_s(crashes, jitter),
        counted=not isinstance(event, Refused),
        next_port=isinstance(event, Exited) and event.code == exitcodes.PORT_TAKEN,
    )
