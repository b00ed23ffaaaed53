from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streamserver.core.errors import StateLostError
from streamserver.supervise import lock


def test_a_lock_is_held_by_one_and_free_after_its_release(tmp_path: Path) -> None:
    file = lock.lock_file(tmp_path / "state")
    with lock.acquire(file) or exit_with("not acquired"):
        assert lock.acquire(file) is None
        assert lock.holder(file) == str(os.getpid())
    again = lock.acquire(file)
    assert again is not None
    again.release()
    again.release()


def exit_with(reason: str) -> lock.SupervisorLock:
    raise AssertionError(reason)


def test_the_kernel_frees_the_lock_of_a_process_that_was_killed(tmp_path: Path) -> None:
    file = tmp_path / "supervisor.lock"
    program = (
        "import sys, time; from pathlib import Path; from streamserver.supervise import lock\n"
        "held = lock.acquire(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(file)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert lock.acquire(file) is None
        assert lock.holder(file) == str(other.pid)
        other.send_signal(signal.SIGKILL)
        other.wait()
        mine = lock.acquire(file)
        assert mine is not None
        mine.release()


def test_a_full_disk_keeps_nobody_from_supervising() -> None:
    held = lock.acquire(Path("/dev/full"))
    assert held is not None
    held.release()


def test_children_do_not_inherit_the_lock(tmp_path: Path) -> None:
    file = tmp_path / "supervisor.lock"
    held = lock.acquire(file)
    assert held is not None
    program = [sys.executable, "-c", "print('here', flush=True); input()"]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"here\n"
        held.release()
        again = lock.acquire(file)
        assert again is not None
        again.release()
        child.communicate(b"\n")


def test_an_absent_lock_has_no_holder(tmp_path: Path) -> None:
    assert lock.holder(tmp_path / "supervisor.lock") == "?"


def test_each_beat_can_be_told_from_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "supervisor.lock"
    assert lock.last_beat(file) == 0
    with lock.acquire(file) or exit_with("not acquired") as held:
        before = lock.last_beat(file)
        os.utime(file, ns=(0, before + 3_600_000_000_000))  # the clock was set back since
        ahead = lock.last_beat(file)
        held.beat()
        assert lock.last_beat(file) not in (0, ahead)
    held.beat()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_lock_whose_file_was_removed_says_so(tmp_path: Path, replaced: bool) -> None:
    file = tmp_path / "supervisor.lock"
    with lock.acquire(file) or exit_with("not acquired") as held:
        file.unlink()
        if replaced:
            file.touch()
        with pytest.raises(
            StateLostError, match=r"supervisor\.lock was removed while it was in use.*stop the server before"
        ):
            held.beat()
