"""The harness at the size of a test: ten kills, six fail-points, and one server that breaks its promise."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos import row_failpoints, row_kills, row_mutants
from tests.chaos.campaign import Campaign
from tests.chaos.context import Context
from tests.chaos.receivers import receivers
from tests.chaos.row_mutants import ACKNOWLEDGE_FIRST, trial
from tests.chaos.world import FEW_FRAMES, fast_clip
from tests.e2e.harness import PROJECT, Server, wait_for

pytestmark = pytest.mark.e2e

SEED_VARIABLE = "STREAMSERVER_CHAOS_SEED"
MOST_DANGEROUS = (
    ("accept.committed", 1),
    ("start.client_spawned", 3),
    ("commit.after", 2),
    ("post.answered", 2),
    ("delete.committed", 1),
    ("stop.folder_removed", 1),
)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """A context whose seed comes from the environment, or is new and printed."""
    seed = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().randrange(1_000_000))
    print(f"{SEED_VARIABLE}={seed}")
    return Context(tmp_path, seed)


def test_ten_kills_lose_no_task_and_no_alarm_and_leave_nothing_behind(context: Context) -> None:
    with receivers(2) as several:
        server = Server(context.folder / "state", environment=row_kills.ENVIRONMENT)
        campaign = Campaign(server, several, fast_clip(context.folder, times=8, rate=FEW_FRAMES))
        outcome = row_kills.strike(context, campaign, kills=10, p95_s=None, second_kill=0.6)
    assert outcome.passed, (outcome.figure, outcome.complaints)


def test_a_kill_at_the_most_dangerous_points_loses_nothing(context: Context) -> None:
    died, alarms, complaints = row_failpoints.live(context, context.folder / "life", MOST_DANGEROUS)
    assert complaints == []
    assert died == len(MOST_DANGEROUS)
    assert alarms > 0


def test_a_server_that_acknowledges_before_it_posts_does_not_pass(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_mutants, "ARRIVAL_S", 2.0)
    outcome = trial(context, ACKNOWLEDGE_FIRST)
    assert any("never arrived" in text for text in outcome.complaints), outcome


def test_a_harness_that_is_killed_leaves_no_server_behind(tmp_path: Path) -> None:
    code = f"""if True:
        from pathlib import Path
        from tests.e2e.harness import PROJECT, Server, wait_for
        Server(Path({str(tmp_path / "state")!r})).start()
        print("up", flush=True)
        input()
    """
    with subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT, stdin=-1, stdout=-1) as harness:
        assert harness.stdout is not None and harness.stdout.readline() == b"up\n"
        server = Server(tmp_path / "state")
        assert server.processes()
        harness.kill()
    wait_for(lambda: not server.processes(), "the server is gone", server.processes)
