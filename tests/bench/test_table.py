from __future__ import annotations

import re
from typing import Any

import pytest

from bench.__main__ import load, names
from bench.table import HEADINGS, Row, markdown


def row(**more: Any) -> Row:
    return Row(**{"measure": "reader", "value": 3.0, "unit": "ms", "yardstick": "decoder", "reference": 2.0, **more})


@pytest.mark.parametrize(
    ("more", "kept"),
    [
        pytest.param({}, None, id="no limit"),
        pytest.param({"limit": 1.5}, True, id="ratio at its limit"),
        pytest.param({"limit": 1.49}, False, id="ratio above its limit"),
        pytest.param({"limit": 3.0, "limit_of": "value"}, True, id="figure at its limit"),
        pytest.param({"limit": 2.9, "limit_of": "value"}, False, id="figure above its limit"),
        pytest.param({"limit": 3.1, "limit_of": "value", "sense": "at least"}, False, id="figure below its least"),
        pytest.param({"limit": 1.4, "sense": "at least"}, True, id="ratio above its least"),
        pytest.param({"limit": 1.4, "reference": None}, None, id="ratio without a yardstick"),
    ],
)
def test_a_limit_is_kept_or_not(more: dict[str, Any], kept: bool | None) -> None:
    assert row(**more).kept is kept


def test_a_table_has_as_many_cells_in_each_line_as_headings() -> None:
    lines = markdown([row(limit=1.2), row(reference=None, yardstick=""), row(remark="quick")]).splitlines()
    assert len(lines) == 5
    assert {line.count("|") for line in lines} == {len(HEADINGS) + 1}
    assert "| 1.500 | at most 1.2 x | **not kept** |" in lines[2]
    assert "at most" not in lines[3]


@pytest.mark.parametrize("name", names())
def test_every_table_says_what_it_is(name: str) -> None:
    table = load(name)
    assert table.TITLE.strip() and table.ABOUT.strip().endswith("."), name
    assert callable(table.measure)
    assert re.fullmatch(r"[a-z_]+", name)
