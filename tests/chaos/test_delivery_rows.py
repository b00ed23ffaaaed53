"""The rows about receivers at the size of a test: what is lost counts, how long it takes does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import row_outage, row_receivers
from tests.chaos.context import Context

pytestmark = pytest.mark.e2e


def test_an_outage_of_all_receivers_loses_nothing(tmp_path: Path) -> None:
    lasting_s = dict.fromkeys(row_outage.OUTAGES, 1)
    outcome = row_outage.measure(Context(tmp_path, seed=1), lasting_s, tasks=2, timed=False)
    assert outcome.passed, (outcome.figure, outcome.complaints)


def test_a_receiver_that_answers_a_byte_a_second_costs_no_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_receivers, "SEVERAL", 1)
    monkeypatch.setattr(row_receivers, "WELL_S", 1)
    what = "a byte a second"
    faults = {what: row_receivers.FAULTS[what]}
    outcome = row_receivers.measure(Context(tmp_path, seed=1), faults, bad_s=3, p95_s=None)
    assert outcome.passed, (outcome.figure, outcome.complaints)
