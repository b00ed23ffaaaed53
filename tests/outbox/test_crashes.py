"""Real processes that are killed between two steps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streamserver.core import failpoints
from streamserver.outbox.letters import dead_letters
from tests.business.support import REPOSITORY
from tests.outbox.support import FILE, make, number_of, take_all

ADD = """if True:
    import sys
    from pathlib import Path
    from tests.outbox.support import event, make
    outbox = make(Path(sys.argv[1]))
    for number in range(100):
        outbox.add([event(number, key=str(number))])
        print(number, flush=True)
"""

DELIVER = """if True:
    import os, signal, sys
    from pathlib import Path
    from tests.outbox.support import event, make, number_of
    outbox = make(Path(sys.argv[1]))
    outbox.add([event(number) for number in range(100)])
    for _ in range(20):
        delivered, failed, buried = outbox.claim(3)
        for found in (delivered, failed, buried):
            print("posted", number_of(found), found.attempt, flush=True)
        outbox.delivered([delivered.id])
        print("delivered", number_of(delivered), flush=True)
        outbox.bury(buried.id, "no")
        print("buried", number_of(buried), flush=True)
        outbox.failed(failed.id, 1000.0, "no")
    outbox.claim(1)
    os.kill(os.getpid(), signal.SIGKILL)
"""

BACK_UP = """if True:
    import sys
    from pathlib import Path
    from streamserver.durable import back_up
    from streamserver.outbox.schema import SCHEMA
    from tests.outbox.support import FILE, event, make
    outbox = make(Path(sys.argv[1]))
    outbox.add([event(number) for number in range(5)])
    back_up(Path(sys.argv[1]) / FILE, check=SCHEMA)
"""

OPEN = """if True:
    import sys
    from pathlib import Path
    from tests.outbox.support import make
    make(Path(sys.argv[1])).close()
"""


def run(program: str, folder: Path, points: str = "") -> list[str]:
    """The lines that the program wrote before it was killed."""
    environment = {**os.environ, failpoints.VARIABLE: points}
    command = [sys.executable, "-c", program, str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("point, more", [("commit.before", 0), ("commit.after", 1)])
@pytest.mark.parametrize("at", [1, 7])
def test_what_was_added_is_there_and_nothing_twice(tmp_path: Path, point: str, more: int, at: int) -> None:
    added = [int(line) for line in run(ADD, tmp_path, f"{point}=kill@{at}")]
    assert added == list(range(at - 1))
    outbox = make(tmp_path)
    assert sorted(number_of(found) for found in take_all(outbox)) == list(range(at - 1 + more))
    assert outbox.counters.events == at - 1 + more and outbox.counters.lost == 0
    outbox.close()


def test_a_full_disk_at_the_commit_is_an_error_and_no_alarm(tmp_path: Path) -> None:
    program = ADD.replace("outbox.add([", "0 if number == 2 and broken(outbox) else outbox.add([")
    program = program.replace("    outbox = make", "    from streamserver.core.errors import StoreError\n" + BROKEN, 1)
    command = [sys.executable, "-c", program, str(tmp_path)]
    environment = {**os.environ, failpoints.VARIABLE: "commit.before=full@3"}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True)
    assert "the disk is full" in done.stdout
    outbox = make(tmp_path)
    assert outbox.counters.events == 99
    outbox.close()


BROKEN = """    def broken(outbox):
        try:
            outbox.add([event(2)])
        except StoreError as e:
            print(e)
            return True
    outbox = make"""


def test_a_kill_in_the_midst_of_delivery_forgets_nothing(tmp_path: Path) -> None:
    lines = [line.split() for line in run(DELIVER, tmp_path)]
    delivered = {int(line[1]) for line in lines if line[0] == "delivered"}
    buried = {int(line[1]) for line in lines if line[0] == "buried"}
    attempts = {int(line[1]): int(line[2]) for line in lines if line[0] == "posted"}
    assert len(delivered) == len(buried) == 20
    assert len(dead_letters(tmp_path / FILE, limit=100)) == 20
    outbox = make(tmp_path)
    again = {number_of(found): found.attempt for found in take_all(outbox)}
    again |= {number_of(found): found.attempt for found in take_all(outbox, early=True)}
    assert set(again) == set(range(100)) - delivered - buried
    assert all(attempt > attempts.get(number, 0) for number, attempt in again.items())
    outbox.close()


@pytest.mark.parametrize("point", ["backup.copied", "backup.renamed"])
def test_a_kill_while_a_backup_is_made_does_no_harm(tmp_path: Path, point: str) -> None:
    run(BACK_UP, tmp_path, f"{point}=kill")
    outbox = make(tmp_path)
    assert outbox.counters.pending == 5
    outbox.close()
    assert not list(tmp_path.glob("*.damaged-*"))


def test_a_kill_while_an_old_file_is_migrated_loses_nothing(tmp_path: Path) -> None:
    old = REPOSITORY / "tests" / "fixtures" / "databases" / "outbox_v1.sqlite"
    (tmp_path / FILE).write_bytes(old.read_bytes())
    killed = tmp_path / "killed"
    killed.mkdir()
    (killed / FILE).write_bytes(old.read_bytes())
    run(OPEN, killed, "migrate.step=kill")
    outbox, again = make(tmp_path), make(killed)
    assert again.counters == outbox.counters and again.counters.pending
    assert [found.id for found in take_all(again)] == [found.id for found in take_all(outbox)]
    outbox.close()
    again.close()


def test_a_kill_while_a_damaged_file_is_mended_loses_nothing(tmp_path: Path) -> None:
    run(BACK_UP, tmp_path, "backup.renamed=kill")
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"{FILE}{suffix}").unlink()
    (tmp_path / FILE).write_bytes(b"garbage " * 1000)
    run(OPEN, tmp_path, "restore.moved_aside=kill")
    outbox = make(tmp_path, known_events=5)
    assert (outbox.counters.pending, outbox.counters.lost) == (5, 0)
    outbox.close()
    assert len(list(tmp_path.glob("*.damaged-*"))) == 1
