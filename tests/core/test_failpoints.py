"""Fail-points act where and when they are told to, and only then."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streamserver.core.failpoints import DIR_VARIABLE, NAMES, VARIABLE, FailPoints


def test_without_the_variable_nothing_happens() -> None:
    FailPoints({}).hit("commit.after")


def test_a_point_acts_at_its_nth_hit_and_never_again() -> None:
    points = FailPoints({VARIABLE: "commit.before=full@2"})
    points.hit("commit.before")
    points.hit("commit.after")
    with pytest.raises(OSError) as caught:
        points.hit("commit.before")
    assert caught.value.errno == errno.ENOSPC
    points.hit("commit.before")


def test_the_count_is_shared_by_processes_through_the_folder(tmp_path: Path) -> None:
    environment = {VARIABLE: "commit.before=full@2", DIR_VARIABLE: str(tmp_path)}
    FailPoints(environment).hit("commit.before")
    with pytest.raises(OSError):
        FailPoints(environment).hit("commit.before")
    FailPoints(environment).hit("commit.before")


def test_a_point_kills_its_process() -> None:
    program = "from streamserver.core import failpoints; failpoints.hit('post.answered'); print('alive')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={VARIABLE: "post.answered=kill", "PYTHONPATH": "."},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL and done.stdout == b""


@pytest.mark.parametrize("text", ["nowhere=kill", "commit.after", "commit.after=explode", "commit.after=kill@x"])
def test_a_list_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        FailPoints({VARIABLE: text})


def test_every_point_of_the_list_stands_in_the_code_once_or_more() -> None:
    code = "".join(path.read_text() for path in Path("streamserver").rglob("*.py") if path.name != "failpoints.py")
    assert [name for name in NAMES if f'hit("{name}")' not in code] == []
