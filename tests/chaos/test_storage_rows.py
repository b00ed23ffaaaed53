"""Small runs of the rows about power loss, syncs, clocks and ports, and mutants that these rows must catch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from streamserver.core.leftovers import Drained, mark_drained, read_drained
from tests.chaos import forgetful_disk, row_clock, row_fsync, row_ports, row_powerloss, stepped_clock, strace
from tests.chaos.context import Context
from tests.chaos.mutants import breed
from tests.chaos.row_mutants import SYNCHRONOUS_OFF
from tests.chaos.row_powerloss import Tally
from tests.chaos.world import alarm_ids

PROJECT = Path(__file__).resolve().parents[2]

needs_shim = pytest.mark.skipif(bool(forgetful_disk.missing_tools()), reason=forgetful_disk.missing_tools())
needs_strace = pytest.mark.skipif(bool(strace.missing_tools()), reason=strace.missing_tools())
needs_clock = pytest.mark.skipif(bool(stepped_clock.missing_tools()), reason=stepped_clock.missing_tools())


@pytest.fixture(scope="module")
def lazy_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return breed(SYNCHRONOUS_OFF.mutant, PROJECT, tmp_path_factory.mktemp("lazy") / "project")


@needs_shim
def test_a_client_that_loses_power_loses_no_alarm(tmp_path: Path) -> None:
    tally = Tally()
    row_powerloss.client_rounds(Context(tmp_path, seed=1), 4, tally)
    assert tally.complaints == []
    assert tally.alarms > 4 and tally.writes > 0


@needs_shim
@pytest.mark.e2e
def test_a_server_that_loses_power_loses_nothing(tmp_path: Path) -> None:
    tally = Tally()
    row_powerloss.server_rounds(Context(tmp_path, seed=1), 1, tally)
    assert tally.complaints == []
    assert tally.tasks == 2 and tally.alarms > 0


@needs_shim
def test_power_loss_catches_a_client_that_does_not_sync(tmp_path: Path, lazy_project: Path) -> None:
    tally = Tally(patience_s=1.0)
    context = Context(tmp_path, seed=1, project=lazy_project)
    row_powerloss.client_rounds(context, 4, tally)
    assert any("alarms lost" in complaint for complaint in tally.complaints)


@needs_shim
def test_the_folders_above_an_outbox_survive(tmp_path: Path) -> None:
    """The file and its own folder are of no use when the folder above has no name."""
    state = tmp_path / "state"
    state.mkdir()
    code = """
import os, sys
from pathlib import Path
from streamserver.outbox.box import Limits, NewEvent, Outbox
from streamserver.supervise.folders import make_folder
folder = Path(sys.argv[1]) / "tasks" / "key"
make_folder(folder)
Outbox(folder / "outbox.sqlite", limits=Limits()).add([NewEvent(algorithm=0, body=b"[]")])
os._exit(0)
"""
    with forgetful_disk.ForgetfulDisk(state, tmp_path / "shim") as disk:
        environment = {**os.environ, **disk.environment, "PYTHONPATH": str(PROJECT)}
        subprocess.run([sys.executable, "-c", code, str(state)], env=environment, check=True, timeout=60)
        disk.roll_back()
    assert len(alarm_ids(state / "tasks" / "key" / "outbox.sqlite")) == 1


@needs_shim
def test_a_mark_that_was_taken_away_stays_away(tmp_path: Path) -> None:
    """A task whose letters are replayed is not drained any more; were the mark back, nobody would deliver them."""
    folder = tmp_path / "task"
    (folder / "run").mkdir(parents=True)
    mark_drained(folder, Drained())
    code = "import sys; from pathlib import Path; from streamserver.core.leftovers import forget_drained; "
    with forgetful_disk.ForgetfulDisk(folder, tmp_path / "shim") as disk:
        environment = {**os.environ, **disk.environment, "PYTHONPATH": str(PROJECT)}
        program = [sys.executable, "-c", f"{code}forget_drained(Path(sys.argv[1]))", str(folder)]
        subprocess.run(program, env=environment, check=True, timeout=60)
        disk.roll_back()
    assert read_drained(folder) is None


@needs_strace
@pytest.mark.e2e
def test_every_promise_has_its_fsync(tmp_path: Path) -> None:
    outcome = row_fsync.run(Context(tmp_path, seed=1, size=0.01))
    assert outcome.passed, outcome.complaints
    assert outcome.figure == "100 % of 5 alarms and 6 creates and deletes"


@needs_strace
@pytest.mark.e2e
def test_strace_catches_promises_without_an_fsync(tmp_path: Path, lazy_project: Path) -> None:
    outcome = row_fsync.run(Context(tmp_path, seed=1, size=0.01, project=lazy_project))
    assert outcome.figure == "0 % of 5 alarms and 6 creates and deletes"
    assert not outcome.passed


def test_a_trace_is_read_across_interruptions() -> None:
    log = "/state/outbox.sqlite-wal"
    lines = [
        '10 recvfrom(9<TCP:[a->b]>, "POST /flask_test/0 HTTP/1.1", 8192, 0, NULL, NULL) = 30',
        f'10 pwrite64(6<{log}>, "x", 1, 0) = 1',
        f"10 fdatasync(6<{log}> <unfinished ...>",
        f'11 pwrite64(6<{log}>, "y", 1, 1) = 1',
        "10 <... fdatasync resumed>) = 0",
        '10 sendto(9<TCP:[a->b]>, "HTTP/1.1 200 OK", 15, 0, NULL, 0) = 15',
        '10 recvfrom(9<TCP:[a->b]>, "POST /flask_test/0 HTTP/1.1", 8192, 0, NULL, NULL) = 30',
        f'10 pwrite64(6<{log}>, "x", 1, 2) = 1',
        f"10 fdatasync(6<{log}> <unfinished ...>",
        '10 sendto(9<TCP:[a->b]>, "HTTP/1.1 200 OK", 15, 0, NULL, 0) = 15',
        '10 recvfrom(9<TCP:[a->b]>, "POST /flask_test/0 HTTP/1.1", 8192, 0, NULL, NULL) = 30',
        f"10 fdatasync(6<{log}>) = 0",
        '10 sendto(9<TCP:[a->b]>, "HTTP/1.1 200 OK", 15, 0, NULL, 0) = 15',
    ]
    found = strace.promises(
        strace.parse(lines), is_request=lambda t: "POST" in t, is_promise=lambda t: "200" in t, log="outbox.sqlite-wal"
    )
    assert [promise.kept for promise in found] == [True, False, False]


def test_an_answer_counts_that_was_on_its_way_when_the_trace_ended() -> None:
    log = "/state/outbox.sqlite-wal"
    lines = [
        '10 recvfrom(9<TCP:[a->b]>, "POST /flask_test/0 HTTP/1.1", 8192, 0, NULL, NULL) = 30',
        f'10 pwrite64(6<{log}>, "x", 1, 0) = 1',
        f"10 fdatasync(6<{log}>) = 0",
        '10 sendto(9<TCP:[a->b]>, "HTTP/1.1 200 OK", 15, 0, NULL, 0 <unfinished ...>',
        '11 recvfrom(8<TCP:[a->c]>, "POST /flask_test/0 HTTP/1.1", 8192, 0, NULL, NULL) = 30',
        f'11 pwrite64(6<{log}>, "y", 1, 1) = 1',
        '12 sendto(8<TCP:[a->c]>, "HTTP/1.1 200 OK", 15, 0, NULL, 0 <unfinished ...>',
        f"11 fdatasync(6<{log}> <unfinished ...>",
    ]
    found = strace.promises(
        strace.parse(lines), is_request=lambda t: "POST" in t, is_promise=lambda t: "200" in t, log="outbox.sqlite-wal"
    )
    assert [promise.kept for promise in found] == [True, False]


@needs_clock
@pytest.mark.e2e
def test_steps_of_the_clock_change_nothing(tmp_path: Path) -> None:
    outcome = row_clock.run(Context(tmp_path, seed=1, size=0.01))
    assert outcome.passed, outcome.complaints


@pytest.mark.e2e
def test_ports_that_others_take_are_left_to_them(tmp_path: Path) -> None:
    outcome = row_ports.run(Context(tmp_path, seed=1, size=0.05))
    assert outcome.passed, outcome.complaints
