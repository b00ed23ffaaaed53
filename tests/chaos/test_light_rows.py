"""The rows with light engines, as small as they get; tests/e2e/test_many_tasks.py is the small one of ``churn``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos import row_reboot, row_soak
from tests.chaos.context import Context
from tests.chaos.row_churn import _compare, _Look


def test_a_few_tasks_come_back_after_a_reboot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_reboot, "_ASK_EVERY_S", 0.2)  # how long answers take is not judged here
    outcome = row_reboot.run(Context(tmp_path, seed=1, size=0.01))
    slow = [line for line in outcome.complaints if "answers took" in line or "were up after" in line]
    assert set(outcome.complaints) <= set(slow), "only the times may suffer from a busy machine"


@pytest.mark.parametrize(
    ("after", "complaint"),
    [
        (_Look({"web": 22}, {"web": 50_000}, frozenset({"a"})), "web: 20 -> 22 descriptors"),
        (_Look({"web": 20}, {"web": 53_000}, frozenset({"a"})), "web: 50000 -> 53000 kB"),
        (_Look({"web": 20}, {"web": 50_000}, frozenset({"a", "b"})), "1 files are left: ['b']"),
    ],
    ids=["descriptors", "memory", "files"],
)
def test_what_is_left_is_complained_of(after: _Look, complaint: str) -> None:
    before = _Look({"web": 20}, {"web": 50_000}, frozenset({"a"}))
    assert _compare(before, before) == []
    assert _compare(before, after) == [complaint]


@pytest.mark.parametrize(
    ("kilobytes", "slope"),
    [
        (lambda s: 60_000 + 2_000 * s / 3600, 2_000),
        (lambda s: 60_000 + 500 * (s // 100), 15_000),  # one of its five steps is taken out
        (lambda s: 60_000 + 700 * (s > 300), 0),
    ],
    ids=["steady", "stairs", "one step"],
)
def test_growth_is_seen_also_in_stairs_but_one_step_is_none(kilobytes: Callable[[float], float], slope: float) -> None:
    found = row_soak.slope_kb_an_hour([(float(s), round(kilobytes(s))) for s in range(0, 600, 2)])
    assert found == pytest.approx(slope, rel=0.1, abs=1)
