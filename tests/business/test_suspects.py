from __future__ import annotations

from pathlib import Path

import pytest

from streamserver.business import suspects


def test_visits_that_begin_and_do_not_end_are_counted_until_one_ends(tmp_path: Path) -> None:
    suspects.begin(tmp_path)  # no run/ there: nothing can be noted
    assert suspects.unfinished(tmp_path) == 0
    (tmp_path / "run").mkdir()
    for expected in (1, 2, 3):
        suspects.begin(tmp_path)
        assert suspects.unfinished(tmp_path) == expected
    suspects.end(tmp_path)
    suspects.end(tmp_path)
    assert suspects.unfinished(tmp_path) == 0


@pytest.mark.parametrize("content", [b"", b"x", b"\xff"])
def test_a_note_that_says_nothing_counts_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / suspects.VISITS_FILE).write_bytes(content)
    assert suspects.unfinished(tmp_path) == 0


def test_a_suspect_waits_longer_and_longer_and_the_worst_comes_last() -> None:
    assert suspects.pauses_s([("once", 1), ("never", 0)]) == {}
    assert suspects.pauses_s([("a", 5), ("b", 2), ("c", 1), ("d", 2)]) == {"b": 1.0, "d": 2.0, "a": 10.0}
    assert suspects.pauses_s([("a", 5000)]) == {"a": 60.0}
