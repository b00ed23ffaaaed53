"""The guard in a process of its own, for it takes signals and buries every child."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from streamserver.core.settings import PROJECT_DIR
from tests.supervise.house import is_alive, wait_until

PROGRAM = """
import itertools, json, os, sys
from pathlib import Path
from streamserver.core import logs
from streamserver.supervise import guard as module
from streamserver.supervise.guard import FolderWatch, Guard, Pulse
from streamserver.supervise.lock import last_beat
logs.configure()
commands, cwd, patience_s = json.loads(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
for name, value in json.loads(sys.argv[4]).items():
    setattr(module, name, value)
pulses = {
    name: Pulse(read=lambda name=name: last_beat(cwd / f"{name}.beat"), first_s=60.0, silence_s=3.0)
    for name in commands
    if name.startswith("beating")
}
pulses |= {
    name: Pulse(read=lambda: 0, first_s=1000.0, silence_s=1000.0, with_children=True)
    for name in commands
    if name.startswith("parent")
}
pulses |= {
    # However busy the machine is, this one beats until its file says that it is stopped.
    name: Pulse(
        read=lambda name=name, beats=itertools.count(1): 0 if (cwd / f"{name}.stopped").exists() else next(beats),
        first_s=60.0,
        silence_s=0.5,
    )
    for name in commands
    if name.startswith("steady")
}
guard = Guard(
    commands, environment=dict(os.environ), cwd=cwd, patience_s=patience_s, pulses=pulses, fresh_start_code=74,
    withheld={"unknowing": ["SECRET_WORD"]}, folder=FolderWatch(cwd / "state"),
)
guard.listen()
print("listening", flush=True)
sys.exit(guard.run())
"""

KEEP = "import os, time; open('{0}', 'a').write(f'{{os.getpid()}}\\n'); time.sleep(1000)"
QUIT = "import os; open('{0}', 'a').write(f'{{os.getpid()}}\\n')"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + KEEP
HANG_ONCE = """
import faulthandler, os, time
faulthandler.enable()
first = not os.path.exists('{0}')
open('{0}', 'a').write(f'{{os.getpid()}}\\n')
while True:
    open('{0}.beat', 'w').write(str(time.time()))
    time.sleep(1000 if first else 0.05)
"""
QUIT_ONCE_FOR_ALL = """
import os, sys, time
first = not os.path.exists('{0}')
open('{0}', 'a').write(f'{{os.getpid()}}\\n')
while first and not os.path.exists('slow'):
    time.sleep(0.05)
sys.exit(74) if first else time.sleep(1000)
"""
SLOW_TO_END = """
import os, signal, sys, time
def end(*_):
    time.sleep(1)
    open('ended', 'w').write('x')
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
open('order', 'a').write(str(os.path.exists('ended')))
open('{0}', 'a').write(f'{{os.getpid()}}\\n')
time.sleep(1000)
"""
PARENT = """
import os, subprocess, time
open('{0}', 'a').write(f'{{os.getpid()}}\\n')
while True:
    child = subprocess.Popen(['sleep', '1000'])
    open('children', 'a').write(f'{{child.pid}}\\n')
    child.wait()
"""
FORKING = "import subprocess; p = subprocess.Popen(['sleep', '1000']); open('child', 'w').write(str(p.pid)); " + KEEP


@contextmanager
def guard(
    folder: Path, *, patience_s: float = 60.0, constants: dict[str, float] | None = None, **programs: str
) -> Iterator[subprocess.Popen[str]]:
    commands = {name: [sys.executable, "-c", text.format(name)] for name, text in programs.items()}
    argv = [sys.executable, "-c", PROGRAM, json.dumps(commands), str(folder), str(patience_s)]
    argv.append(json.dumps(constants or {}))
    environment = {**os.environ, "PYTHONPATH": str(PROJECT_DIR)}
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def pids(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def targets(pid: int) -> set[str]:
    """What the descriptors of a process lead to."""
    found = set()
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(os.readlink(one))
    return found


def test_each_program_comes_back_and_all_end_together(tmp_path: Path) -> None:
    with guard(tmp_path, one=KEEP, two=KEEP) as process:
        wait_until(lambda: pids(tmp_path / "one") and pids(tmp_path / "two"), "both run")
        first = pids(tmp_path / "one")[0]
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: len(pids(tmp_path / "one")) == 2, "the killed one is back")
        assert not Path(f"/proc/{first}").exists()
        process.terminate()
        assert process.wait() == 0
    assert not any(is_alive(pid) for name in ("one", "two") for pid in pids(tmp_path / name))
    assert len(pids(tmp_path / "two")) == 1


def test_a_program_is_not_given_what_is_withheld_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_WORD", "hush")
    tell = "import os, time; open('{0}', 'w').write(os.environ['SECRET_WORD'] + '.'); time.sleep(1000)"
    files = [tmp_path / name for name in ("knowing", "unknowing")]
    with guard(tmp_path, knowing=tell, unknowing=tell) as process:
        wait_until(lambda: all(file.exists() and file.read_text() for file in files), "both have told")
        process.terminate()
        assert process.wait() == 0
    assert [file.read_text() for file in files] == ["hush.", "."]


def test_a_program_that_ends_at_once_is_started_less_and_less_often(tmp_path: Path) -> None:
    with guard(tmp_path, constants={"_SHORT_LIFE_S": 600.0}, one=QUIT) as process:
        wait_until(lambda: len(pids(tmp_path / "one")) == 4, "four starts")
        process.terminate()
        _, log = process.communicate()
    pauses = [float(line.split("next start in ")[1].split()[0]) for line in log.splitlines() if "next start" in line]
    assert pauses[:3] == [0.2, 0.4, 0.8]


def test_what_a_program_left_of_its_group_is_gone_before_it_comes_back(tmp_path: Path) -> None:
    with guard(tmp_path, one=FORKING) as process:
        wait_until(lambda: pids(tmp_path / "one"), "it runs")
        left = int((tmp_path / "child").read_text())
        os.kill(pids(tmp_path / "one")[0], signal.SIGKILL)
        wait_until(lambda: len(pids(tmp_path / "one")) == 2, "it is back")
        assert not is_alive(left)
        process.terminate()
        assert process.wait() == 0


@pytest.mark.parametrize(("patience_s", "signals"), [(0.3, [signal.SIGINT]), (1000.0, [signal.SIGINT, signal.SIGTERM])])
def test_a_program_that_does_not_end_is_killed_after_a_while_or_at_the_second_signal(
    tmp_path: Path, patience_s: float, signals: list[signal.Signals]
) -> None:
    with guard(tmp_path, patience_s=patience_s, one=STUBBORN) as process:
        wait_until(lambda: pids(tmp_path / "one"), "it runs")
        for number in signals:
            process.send_signal(number)
        assert process.wait() == 0
    assert not is_alive(pids(tmp_path / "one")[0])


def test_a_program_that_has_hung_writes_its_traceback_and_is_started_again(tmp_path: Path) -> None:
    with guard(tmp_path, constants={"_ABORT_PATIENCE_S": 60.0}, beating=HANG_ONCE, other=KEEP) as process:
        wait_until(lambda: len(pids(tmp_path / "beating")) == 2, "the hung one is back")
        hung, fresh = pids(tmp_path / "beating")
        assert not Path(f"/proc/{hung}").exists() and is_alive(fresh)
        process.terminate()
        _, errors = process.communicate()
    assert "beating gave no sign of life" in errors and "most recent call first" in errors
    assert len(pids(tmp_path / "other")) == 1, "who has no pulse is left alone"


def test_a_stopped_program_is_killed_and_a_beating_one_is_not(tmp_path: Path) -> None:
    with guard(tmp_path, constants={"_STOPPED_S": 600.0}, steady=KEEP, steady_too=KEEP) as process:
        wait_until(lambda: pids(tmp_path / "steady") and pids(tmp_path / "steady_too"), "both run")
        stopped = pids(tmp_path / "steady")[0]
        os.kill(stopped, signal.SIGSTOP)
        (tmp_path / "steady.stopped").touch()
        wait_until(lambda: not Path(f"/proc/{stopped}").exists(), "the stopped one is ended")
        (tmp_path / "steady.stopped").unlink()
        wait_until(lambda: len(pids(tmp_path / "steady")) == 2, "the stopped one is back")
        assert len(pids(tmp_path / "steady_too")) == 1
        process.terminate()
        _, errors = process.communicate()
    assert process.returncode == 0
    assert "steady gave no sign of life" in errors and "steady_too gave no" not in errors


def test_the_programs_die_with_a_killed_guard(tmp_path: Path) -> None:
    with guard(tmp_path, one=KEEP) as process:
        wait_until(lambda: pids(tmp_path / "one"), "it runs")
        process.kill()
    wait_until(lambda: not is_alive(pids(tmp_path / "one")[0]), "it is gone")


def test_after_an_end_that_asks_for_a_fresh_start_nobody_starts_before_all_have_ended(tmp_path: Path) -> None:
    with guard(tmp_path, slow=SLOW_TO_END, quitting=QUIT_ONCE_FOR_ALL) as process:
        wait_until(lambda: len(pids(tmp_path / "quitting")) == 2, "a fresh start")
        assert (tmp_path / "ended").exists(), "the quick one waited for the slow one"
        wait_until(lambda: len(pids(tmp_path / "slow")) == 2, "both are back")
        process.kill()


def test_all_start_anew_when_their_folder_is_replaced_though_none_of_them_notices(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with guard(tmp_path, slow=SLOW_TO_END, other=KEEP) as process:
        wait_until(lambda: pids(tmp_path / "slow") and pids(tmp_path / "other"), "both run, and have no folder yet")
        state.mkdir()
        wait_until(lambda: str(state) in targets(process.pid), "the folder that appears is watched")
        state.rename(tmp_path / "gone")
        state.mkdir()
        wait_until(lambda: len(pids(tmp_path / "slow")) == len(pids(tmp_path / "other")) == 2, "a fresh start")
        assert (tmp_path / "ended").exists(), "the quick one waited for the slow one"
        wait_until(lambda: str(state) in targets(process.pid), "the new folder is watched")
        process.terminate()
        _, errors = process.communicate()
    assert errors.count("the state folder was removed or replaced; all start anew") == 1
    assert len(pids(tmp_path / "other")) == 2


def test_a_stopped_child_is_killed_where_children_do_the_work(tmp_path: Path) -> None:
    with guard(tmp_path, parent=PARENT) as process:
        wait_until(lambda: pids(tmp_path / "children"), "the child runs")
        child = pids(tmp_path / "children")[0]
        os.kill(child, signal.SIGSTOP)
        wait_until(lambda: len(pids(tmp_path / "children")) == 2, "there is another child")
        assert not is_alive(child)
        assert len(pids(tmp_path / "parent")) == 1, "the parent goes on"
        process.terminate()
        assert process.wait() == 0


def test_a_stopped_program_ends_with_the_others(tmp_path: Path) -> None:
    with guard(tmp_path, one=KEEP) as process:
        wait_until(lambda: pids(tmp_path / "one"), "it runs")
        os.kill(pids(tmp_path / "one")[0], signal.SIGSTOP)
        process.terminate()
        assert process.wait() == 0
    assert not is_alive(pids(tmp_path / "one")[0])
