from __future__ import annotations

import pytest

from streamserver.core import exitcodes
from streamserver.core.states import TaskState
from streamserver.supervise.policy import (
    BASE_DELAY_S,
    HEALTHY_RESET_S,
    MAX_PORT_MOVES,
    MEMORY_RESET_S,
    Event,
    Exited,
    History,
    Late,
    Refused,
    Role,
    Silent,
    Swollen,
    backoff_delay_s,
    blame,
    decide,
    reason_of,
)

NOW = 1000.0
FRESH = History()
ENGINE, CLIENT = Role.ENGINE, Role.CLIENT
CURE = "logs/{}.out in the task's folder says more; mend it, then create the task again"
FULL = "more than memory_limit_mb (4096): planned restart"


@pytest.mark.parametrize(
    ("history", "event", "state", "delay_s", "reason"),
    [
        (FRESH, Exited(ENGINE, 0), TaskState.FINISHED, 0, "the source has ended"),
        (History(crashes=5), Exited(ENGINE, 0), TaskState.FINISHED, 0, "the source has ended"),
        (
            FRESH,
            Exited(ENGINE, 0, done=False),
            TaskState.BACKOFF,
            BASE_DELAY_S,
            "engine ended although its work was not done",
        ),
        (FRESH, Exited(CLIENT, 0), TaskState.BACKOFF, BASE_DELAY_S, "client ended although its work was not done"),
        (FRESH, Exited(ENGINE, -9), TaskState.BACKOFF, BASE_DELAY_S, "engine: killed by signal 9"),
        (FRESH, Exited(CLIENT, -11), TaskState.BACKOFF, BASE_DELAY_S, "client: killed by signal 11"),
        (FRESH, Exited(ENGINE, 70, "boom"), TaskState.BACKOFF, BASE_DELAY_S, "engine: boom"),
        (FRESH, Exited(ENGINE, 1), TaskState.BACKOFF, BASE_DELAY_S, "engine: exit code 1"),
        (FRESH, Exited(ENGINE, 64), TaskState.FAILED, 0, f"engine: wrong command line; {CURE.format('engine')}"),
        (FRESH, Exited(ENGINE, 65, "graph 0: no sink"), TaskState.FAILED, 0, "engine: graph 0: no sink"),
        (
            FRESH,
            Exited(ENGINE, 66),
            TaskState.FAILED,
            0,
            f"engine: the model is missing or unusable; {CURE.format('engine')}",
        ),
        (FRESH, Exited(ENGINE, 67), TaskState.FAILED, 0, f"engine: the source cannot be read; {CURE.format('engine')}"),
        (
            FRESH,
            Exited(CLIENT, 68),
            TaskState.FAILED,
            0,
            f"client: the algorithm's own code is broken; {CURE.format('client')}",
        ),
        (FRESH, Exited(CLIENT, 73), TaskState.BACKOFF, 0, "client: the port is taken"),
        (FRESH, Exited(ENGINE, 73), TaskState.BACKOFF, BASE_DELAY_S, "engine: the port is taken"),
        (FRESH, Silent(ENGINE, 15.4), TaskState.BACKOFF, BASE_DELAY_S, "engine gave no sign of life for 15 s"),
        (FRESH, Late(CLIENT, 300), TaskState.BACKOFF, BASE_DELAY_S, "client was not ready within 300 s"),
        (FRESH, Refused("bad graph", permanent=True), TaskState.FAILED, 0, "bad graph"),
        (FRESH, Refused("disk full", permanent=False), TaskState.BACKOFF, BASE_DELAY_S, "disk full"),
        (
            FRESH,
            Swollen(ENGINE, 4310.0, 4096),
            TaskState.BACKOFF,
            BASE_DELAY_S,
            f"engine used 4.3 GB of memory, {FULL}",
        ),
        (
            History(3, 0, NOW - 60),
            Swollen(CLIENT, 5000, 4096),
            TaskState.BACKOFF,
            4 * BASE_DELAY_S,
            f"client used 5.0 GB of memory, {FULL}",
        ),
        (
            History(3, 0, NOW - MEMORY_RESET_S),
            Swollen(ENGINE, 5000, 4096),
            TaskState.BACKOFF,
            BASE_DELAY_S,
            f"engine used 5.0 GB of memory, {FULL}",
        ),
        (History(crashes=3), Exited(ENGINE, -9), TaskState.BACKOFF, 4 * BASE_DELAY_S, "engine: killed by signal 9"),
        (History(crashes=8), Exited(ENGINE, -9), TaskState.BACKOFF, 60, "engine: killed by signal 9"),
        (History(crashes=5000), Exited(ENGINE, -9), TaskState.BACKOFF, 60, "engine: killed by signal 9"),
        (
            History(3, 0, NOW - 59),
            Exited(ENGINE, -9),
            TaskState.BACKOFF,
            4 * BASE_DELAY_S,
            "engine: killed by signal 9",
        ),
        (History(3, 0, NOW - 60), Exited(ENGINE, -9), TaskState.BACKOFF, BASE_DELAY_S, "engine: killed by signal 9"),
    ],
)
def test_each_event_leads_to_its_state_pause_and_reason(
    history: History, event: Event, state: TaskState, delay_s: float, reason: str
) -> None:
    step = decide(history, event, now=NOW, jitter=1.0)
    assert (step.state, step.delay_s, step.reason) == (state, delay_s, reason)


def test_the_pause_doubles_to_a_minute_and_no_further() -> None:
    history, pauses = FRESH, []
    for _ in range(10):
        step = decide(history, Exited(ENGINE, -9), now=NOW, jitter=1.0)
        history = step.history
        pauses.append(step.delay_s)
    assert pauses == [0.5, 0.5, 1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.parametrize(("jitter", "expected_s"), [(0.0, 2.0), (0.5, 3.0), (1.0, 4.0)])
def test_chance_shortens_the_pause_by_up_to_a_half(jitter: float, expected_s: float) -> None:
    assert backoff_delay_s(4, jitter) == expected_s


def test_health_counts_from_running_and_is_forgotten_at_the_crash() -> None:
    healthy = History(crashes=4).became_healthy(NOW)
    after = decide(healthy, Exited(ENGINE, -9), now=NOW + HEALTHY_RESET_S, jitter=1.0).history
    assert after == History(crashes=1)
    assert decide(after, Exited(ENGINE, -9), now=NOW + 10 * HEALTHY_RESET_S, jitter=1.0).history.crashes == 2


def test_only_crashes_are_counted_as_restarts() -> None:
    counted = {
        event: decide(FRESH, event, now=NOW, jitter=1.0).counted
        for event in (Exited(ENGINE, -9), Silent(CLIENT, 20), Exited(CLIENT, 73), Exited(ENGINE, 0), Exited(ENGINE, 65))
    }
    assert list(counted.values()) == [True, True, False, False, False]
    assert decide(FRESH, Swollen(ENGINE, 5000, 4096), now=NOW, jitter=1.0).counted
    assert not decide(FRESH, Refused("the disk is full", permanent=False), now=NOW, jitter=1.0).counted


def test_a_taken_port_means_another_port_and_no_crash_until_too_many_were_taken() -> None:
    history = History(crashes=2)
    for _ in range(MAX_PORT_MOVES):
        step = decide(history, Exited(CLIENT, exitcodes.PORT_TAKEN), now=NOW, jitter=1.0)
        assert (step.next_port, step.delay_s, step.history.crashes) == (True, 0.0, 2)
        history = step.history
    step = decide(history, Exited(CLIENT, exitcodes.PORT_TAKEN), now=NOW, jitter=1.0)
    assert (step.next_port, step.delay_s, step.counted) == (True, 2 * BASE_DELAY_S, True)


def test_becoming_healthy_forgets_the_ports_that_were_taken() -> None:
    assert History(1, 5).became_healthy(NOW) == History(1, 0, NOW)


@pytest.mark.parametrize(
    ("first", "second", "blamed"),
    [
        (Exited(CLIENT, -9), Exited(ENGINE, 65), ENGINE),
        (Exited(CLIENT, -9), Exited(ENGINE, 0), ENGINE),
        (Exited(CLIENT, 68), Exited(ENGINE, 0), CLIENT),
        (Exited(ENGINE, -9), Exited(CLIENT, 73), CLIENT),
        (Exited(CLIENT, 1), Exited(ENGINE, 1), ENGINE),
        (Exited(ENGINE, 0, done=False), Exited(CLIENT, 73), CLIENT),
    ],
)
def test_of_two_that_ended_at_once_the_final_cause_is_blamed(first: Exited, second: Exited, blamed: Role) -> None:
    assert blame([first, second]).role is blamed
    assert blame([second, first]).role is blamed


def test_every_permanent_code_has_words() -> None:
    for code in exitcodes.PERMANENT:
        assert "exit code" not in reason_of(Exited(ENGINE, code))
