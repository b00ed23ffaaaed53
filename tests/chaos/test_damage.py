"""The row ``damage``, small: files are damaged, opened, used and opened again."""

from __future__ import annotations

from pathlib import Path

from tests.chaos import row_damage
from tests.chaos.context import Context


def test_twelve_damaged_files_are_mended_once_and_nothing_is_lost_in_silence(tmp_path: Path) -> None:
    context = Context(tmp_path, seed=7, size=12 / 300)
    found, complaints = row_damage.judge_files(context, 12)
    assert complaints == []
    assert len(found) == 12
    assert {one.outcome for one in found} >= {"mended", "harmless"}
    assert sum(one.salvaged for one in found) > 20 < sum(one.restored for one in found)
