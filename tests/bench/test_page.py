from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.page import write_page
from bench.table import Missing, Row

Measure = Callable[..., list[Row]]


def table(name: str, measure: Measure) -> Any:
    return SimpleNamespace(TITLE=f"Title of {name}", ABOUT=f"About {name}.", measure=measure)


def gives(value: float, limit: float | None = None) -> Measure:
    return lambda rounds, say: [Row(measure="figure", value=value, unit="ms", limit=limit, limit_of="value")]


def raises(error: BaseException) -> Measure:
    def measure(rounds: int, say: Any) -> list[Row]:
        raise error

    return measure


def written(out: Path | None, **measures: Measure) -> int:
    tables = {name: table(name, measure) for name, measure in measures.items()}
    return write_page(list(tables), tables.__getitem__, rounds=5, out=out)


def test_the_page_has_every_table_with_its_command(tmp_path: Path) -> None:
    assert written(tmp_path / "page.md", one=gives(1.0), two=gives(2.0, limit=3.0)) == 0
    page = (tmp_path / "page.md").read_text()
    assert page.index("## Title of one") < page.index("## Title of two") < page.index("## Other figures")
    assert "`python -m bench two`. About two." in page
    assert "| figure | 2 ms |" in page


@pytest.mark.parametrize(
    ("error", "said"),
    [
        pytest.param(Missing("no clip here"), "Not measured here: no clip here", id="something is missing"),
        pytest.param(pytest.skip.Exception("no ffmpeg"), "Not measured here: no ffmpeg", id="an asset is missing"),
        pytest.param(ValueError("odd"), "because it failed: `ValueError: odd`", id="it fails"),
        pytest.param(SystemExit(3), "because it failed: `SystemExit: 3`", id="it ends the program"),
    ],
)
def test_a_table_that_fails_does_not_lose_the_others(tmp_path: Path, error: BaseException, said: str) -> None:
    assert written(tmp_path / "page.md", bad=raises(error), good=gives(1.0)) == 1
    page = (tmp_path / "page.md").read_text()
    assert said in page.split("## Title of good")[0]
    assert "| figure | 1 ms |" in page


def test_what_was_measured_is_kept_when_the_run_is_broken_off(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        written(tmp_path / "page.md", one=gives(1.0), two=raises(KeyboardInterrupt()))
    assert "| figure | 1 ms |" in (tmp_path / "page.md").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["page.md"]


def test_a_limit_that_is_not_kept_is_told_by_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert written(None, one=gives(4.0, limit=3.0)) == 1
    assert "**not kept**" in capsys.readouterr().out


def test_a_module_that_cannot_be_loaded_is_a_table_that_fails(tmp_path: Path) -> None:
    def load(name: str) -> Any:
        raise ModuleNotFoundError("tritonclient")

    assert write_page(["remote"], load, rounds=1, out=tmp_path / "page.md") == 1
    assert "ModuleNotFoundError: tritonclient" in (tmp_path / "page.md").read_text()
