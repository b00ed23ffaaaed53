"""Whose turn it is to start."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamserver.core.states import TaskState
from streamserver.store.records import new_record
from streamserver.supervise.group import Group
from streamserver.supervise.starts import WAITS, StartQueue


def _group(
    name: str, *, state: TaskState = TaskState.PENDING, start_at: float = 0.0, asked_for: bool = False, reason: str = ""
) -> Group:
    record = new_record(name, "cam", {}, "hash")
    return Group(record, Path("/nowhere"), state, start_at=start_at, asked_for=asked_for, reason=reason)


def _turns(groups: list[Group], *, most: int = 2, a_round: int = 2, now: float = 10.0) -> list[str]:
    queue = StartQueue(most=most, a_round=a_round)
    queue.choose(groups, now)
    return [group.record.task_id for group in groups if queue.is_turn_of(group)]


@pytest.mark.parametrize(
    ("groups", "turns"),
    [
        ([], []),
        ([_group("a"), _group("b"), _group("c")], ["a", "b"]),
        ([_group("late", start_at=2.0), _group("b", start_at=1.0), _group("c", start_at=1.5)], ["b", "c"]),
        ([_group("a"), _group("b"), _group("asked", start_at=9.0, asked_for=True)], ["a", "asked"]),
        ([_group("crashed", state=TaskState.BACKOFF, start_at=1.0), _group("b"), _group("c")], ["b", "c"]),
        ([_group("crashed", state=TaskState.BACKOFF, start_at=1.0), _group("b", start_at=2.0)], ["crashed", "b"]),
        ([_group("not yet", state=TaskState.BACKOFF, start_at=11.0), _group("b")], ["b"]),
        ([_group("runs", state=TaskState.RUNNING), _group("over", state=TaskState.FINISHED), _group("b")], ["b"]),
    ],
    ids=["none", "first come", "who is due first", "the user goes first", "crashes queue up", "due", "early", "others"],
)
def test_whose_turn_it_is(groups: list[Group], turns: list[str]) -> None:
    assert _turns(groups) == turns


def test_no_more_than_allowed_begin_in_a_round() -> None:
    groups = [_group(str(number)) for number in range(10)]
    assert _turns(groups, most=8, a_round=3) == ["0", "1", "2"]


def test_who_waits_for_long_says_so_once_and_keeps_what_it_said_before() -> None:
    silent, told, crashed, fresh = (
        _group("a"),
        _group("b", reason="the supervisor was started"),
        _group("c", state=TaskState.BACKOFF, reason="engine: exit code 70"),
        _group("d", start_at=9.5),
    )
    groups = [silent, told, crashed, fresh]
    _turns(groups, most=0)
    expected = [WAITS, f"the supervisor was started; {WAITS}", "engine: exit code 70", ""]
    assert [group.reason for group in groups] == expected
    assert [group.saved for group in groups] == [False, False, True, True]
    silent.saved = told.saved = True
    _turns(groups, most=0)
    assert [group.reason for group in groups] == expected and silent.saved and told.saved
