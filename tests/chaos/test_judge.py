"""The judge sees each kind of loss, and only where there is one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.chaos.judge import Promises, judge
from tests.chaos.receivers import Delivery

PLACES = ("49 a", "92 b", "133 c")


def took(task_id: str, *rows: tuple[str, str]) -> list[Delivery]:
    """Deliveries from (alarm id, place)."""
    return [Delivery(float(n), alarm_id, task_id, 1, place) for n, (alarm_id, place) in enumerate(rows)]


def loops(task_id: str, n: int, *, more: Sequence[str] = ()) -> list[Delivery]:
    """Whole loops of the clip, then single places."""
    places = list(PLACES) * n + list(more)
    return took(task_id, *((f"{task_id}-{i}", place) for i, place in enumerate(places)))


def ids(rows: Sequence[Delivery]) -> set[str]:
    return {row.alarm_id for row in rows}


def test_whole_loops_with_one_copy_and_all_tasks_in_their_states_are_well() -> None:
    rows = [*loops("counted", 2), *loops("endless", 3, more=PLACES[:2]), *loops("gone", 1)]
    promises = Promises({"endless"}, {"gone"}, {"counted": 2}, {"old": "FAILED"}, alarms={"counted": ids(rows)})
    states = {"endless": "RUNNING", "counted": "FINISHED", "old": "FAILED"}
    verdict = judge(promises, states, [*rows, rows[0]])
    assert verdict.complaints == ()
    assert (verdict.tasks_lost, verdict.alarms_lost, verdict.alarms, verdict.twice, verdict.most) == (0, 0, 20, 1, 2)
    assert promises.tasks == 4


@pytest.mark.parametrize(
    ("promises", "states", "rows", "complaint"),
    [
        pytest.param(Promises({"t"}), {}, loops("t", 1), "accepted tasks are lost: t not listed", id="task-gone"),
        pytest.param(Promises({"t"}), {"t": "BACKOFF"}, loops("t", 1), "lost: t BACKOFF", id="task-not-running"),
        pytest.param(
            Promises(counted={"t": 1}), {"t": "RUNNING"}, loops("t", 1), "lost: t RUNNING", id="file-without-end"
        ),
        pytest.param(Promises(deleted={"t"}), {"t": "RUNNING"}, loops("t", 1), "deleted tasks came back: t", id="back"),
        pytest.param(Promises(), {"t": "RUNNING"}, loops("t", 1), "nobody created: t", id="task-from-nowhere"),
        pytest.param(
            Promises({"t"}, alarms={"t": {"t-0", "x"}}),
            {"t": "RUNNING"},
            loops("t", 1),
            "1 committed alarms never arrived, e.g. x",
            id="alarm-lost",
        ),
        pytest.param(
            Promises({"t"}), {"t": "RUNNING"}, loops("t", 1) * 3, "3 alarms came more than twice", id="alarm-thrice"
        ),
        pytest.param(
            Promises(counted={"t": 3}), {"t": "FINISHED"}, loops("t", 2), "in each of 3 loops", id="loop-missing"
        ),
        pytest.param(
            Promises(counted={"t": 1}), {"t": "FINISHED"}, loops("t", 2), "in each of 1 loops", id="loop-under-two-ids"
        ),
        pytest.param(Promises(counted={"t": 1}), {"t": "FINISHED"}, loops("u", 1), "got {}", id="no-alarm-of-a-task"),
        pytest.param(
            Promises({"t"}), {"t": "RUNNING"}, loops("t", 2, more=PLACES[1:2]), "t: a loop with missing", id="skipped"
        ),
        pytest.param(
            Promises({"t"}),
            {"t": "RUNNING"},
            took("t", *((str(n), PLACES[0]) for n in range(3))),
            "t: a loop",
            id="stuck",
        ),
        pytest.param(Promises({"t"}), {"t": "RUNNING"}, [], "no alarm arrived at all", id="nothing-was-tried"),
    ],
)
def test_it_complains_of(promises: Promises, states: dict[str, str], rows: list[Delivery], complaint: str) -> None:
    assert any(complaint in text for text in judge(promises, states, rows).complaints)


def test_it_says_how_many_alarms_are_lost() -> None:
    verdict = judge(Promises({"t"}, alarms={"t": {"a", "b"}}), {"t": "RUNNING"}, loops("t", 1))
    assert (verdict.alarms_lost, verdict.alarms) == (2, 3)
    assert "2 of 5 alarms lost" in verdict.figure
