"""What to do about what happened to a task's processes: decisions only, no clock, no processes, no store.

The supervisor tells ``decide`` what it saw; ``decide`` says which state follows, why, and when to try again. A process
that ends by itself is started again after a pause that doubles from ``BASE_DELAY_S`` to ``MAX_DELAY_S``, unless its
exit code says that no restart can help. The second pause is as long as the first: a mishap to the engine and one to the
client within a minute are no pattern yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from streamserver.core import exitcodes
from streamserver.core.states import TaskState

BASE_DELAY_S = 1.0
"""Pause before the first restart, before the random factor."""

MAX_DELAY_S = 60.0
"""No pause is longer."""

HEALTHY_RESET_S = 60.0
"""Health of this length wipes out the crashes before it."""

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
    """The task could not be prepared or started; ``permanent`` when no later try can differ."""

    reason: str
    permanent: bool


Event = Exited | Silent | Late | Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What follows an event.

    Attributes:
        state: BACKOFF, FINISHED or FAILED.
        reason: why, in words, for the task's reply.
        history: the history from now on.
        delay_s: pause before the next start; meaningful for BACKOFF.
        counted: whether this is a restart that the task's ``Restarts`` shows.
        next_port: the client needs another port.
    """

    state: TaskState
    reason: str
    history: History
    delay_s: float = 0.0
    counted: bool = False
    next_port: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainStep:
    """What follows when a client that only delivers has ended; ``over`` when it is not to be started again."""

    over: bool
    reason: str
    history: History
    delay_s: float = 0.0


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


def decide_drain(history: History, exited: Exited, *, now: float, jitter: float) -> DrainStep:
    """What to do after a client that only delivers has ended.

    Args:
        history: its crashes so far.
        exited: how it ended.
        now: monotonic time in seconds.
        jitter: see ``backoff_delay_s``.
    """
    if exited.code == exitcodes.FINISHED and exited.done:
        return DrainStep(over=True, reason="nothing is left to deliver", history=History())
    if exited.code in exitcodes.PERMANENT:
        return DrainStep(over=True, reason=f"alarms stay undelivered: {reason_of(exited)}", history=History())
    step = decide(history, exited, now=now, jitter=jitter)
    return DrainStep(over=False, reason=step.reason, history=step.history, delay_s=step.delay_s)


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
        case Exited(role, exitcodes.FINISHED, error, _):
            return f"{role} ended although its work was not done{f': {error}' if error else ''}"
        case Exited(role, code, error, _):
            return f"{role}: {error or exitcodes.describe(code)}"


def _back_off(history: History, event: Event, *, now: float, jitter: float) -> Step:
    healthy_s = 0.0 if history.healthy_since is None else now - history.healthy_since
    crashes = 0 if healthy_s >= HEALTHY_RESET_S else history.crashes
    return Step(
        state=TaskState.BACKOFF,
        reason=reason_of(event),
        history=History(crashes=crashes + 1),
        delay_s=backoff_delay_s(crashes, jitter),
        counted=True,
        next_port=isinstance(event, Exited) and event.code == exitcodes.PORT_TAKEN,
    )
