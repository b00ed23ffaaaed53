"""Processes that are forked are what programs would be, and where no nursery forks them they are programs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streamserver.core.settings import PROJECT_DIR
from tests.supervise.house import is_alive, wait_until

HOST = """
import json, os, signal, sys, time
from pathlib import Path
from streamserver.core import exitcodes
from streamserver.core.processes import adopt_orphans, bury_strangers
from streamserver.core.settings import Settings
from streamserver.launchers import nurseries
from streamserver.launchers.base import ProcessSpec
from streamserver.launchers.local import LocalLauncher

folder = Path(sys.argv[1])
(folder / "logs").mkdir()
nurseries.MODULE = "tests.launchers.actors_nursery"
nurseries.ANSWER_LIMIT_S = 30.0
assert adopt_orphans()
started = []

def launch(nursery, *arguments, cwd=folder, **more):
    argv = (sys.executable, "-m", "tests.launchers.nursery_actor", *arguments)
    process = launcher.start(ProcessSpec(argv=argv, cwd=cwd, out_file=folder / "out", nursery=nursery, **more))
    started.append(process)
    return process

def until(condition, patience_s=240):
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"in vain: {(folder / 'logs' / 'nursery.out').read_text()}"
        launcher.tend()
        bury_strangers(launcher.helpers | {one.pid for one in started if one.poll() is None})
        time.sleep(0.01)

def ended(process):
    until(lambda: process.poll() is not None)
    return process.poll()

def warm():
    until(lambda: all(one._ready for one in launcher._nurseries.values()))

def output():
    text = (folder / "out").read_text()
    (folder / "out").write_text("")
    return text

def pid_of(kind):
    return launcher._nurseries[kind].pid

launcher = LocalLauncher(Settings(state_dir=str(folder)), nurseries=True)
try:
    THEN
finally:
    launcher.close()
    for one in started:
        one.kill()
        until(lambda: one.poll() is not None)
    until(lambda: not Path(f"/proc/self/task/{os.getpid()}/children").read_text())
"""


def run(then: str, folder: Path, **environment: str) -> str:
    """What a process like the supervisor prints that does ``then``; nothing of it is left."""
    command = [sys.executable, "-c", HOST.replace("THEN", then.replace("\n", "\n    "))]
    done = subprocess.run(
        [*command, str(folder)],
        cwd=PROJECT_DIR,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_forked_process_finds_what_a_program_would(tmp_path: Path) -> None:
    printed = run(
        "warm(); blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])\n"
        "for nursery in ('', 'engine'):\n"
        "    assert ended(launch(nursery, 'look', 'at me')) == 0; print(output(), end='')",
        tmp_path,
    )
    program, forked = map(json.loads, printed.splitlines())
    assert forked == program
    assert forked["folder"] == str(tmp_path) and forked["dies with its parent"] and forked["leads"]
    assert "tests.launchers.nursery_actor" in forked["command line"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("return", "7"), 7, ""),
        (("raise",), 1, "ValueError: on purpose"),
        (("leave",), 1, "at exit"),
    ],
    ids=["a code", "an error", "sys.exit"],
)
def test_a_forked_process_ends_like_a_program(tmp_path: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    printed = run(
        f"warm()\nfor nursery in ('', 'client'):\n    print([ended(launch(nursery, *{arguments!r})), output()])",
        tmp_path,
    )
    program, forked = printed.splitlines()
    assert program.startswith(f"[{code}, ") and forked.startswith(f"[{code}, ")
    assert said in program and said in forked


def test_each_forked_process_has_its_own_dice_and_a_signal_shows_in_its_code(tmp_path: Path) -> None:
    printed = run(
        "warm(); file = folder / 'counted'\n"
        "two = [launch('engine', 'count', str(file), '600') for _ in range(2)]\n"
        "until(lambda: file.exists() and len(file.read_text().splitlines()) == 2)\n"
        "two[0].signal(signal.SIGTERM); two[1].kill(); print(*map(ended, two)); print(file.read_text(), end='')\n"
        "print(*(one.pid for one in two), os.getpid())",
        tmp_path,
    )
    codes, *rows, pids = (line.split() for line in printed.splitlines())
    assert codes == ["-15", "-9"]
    assert {row[0] for row in rows} == set(pids[:2]) and {row[1] for row in rows} == {pids[2]}
    assert rows[0][2] != rows[1][2]


def test_what_is_forked_outlives_its_nursery_and_the_next_one_takes_its_place(tmp_path: Path) -> None:
    run(
        "warm(); one = launch('engine', 'count', str(folder / 'counted'), '600'); old = pid_of('engine')\n"
        "os.kill(old, signal.SIGKILL); until(lambda: pid_of('engine') != old)\n"
        "assert one.poll() is None\n"
        "program = launch('engine', 'return', '3')\n"
        "assert ended(program) == 3\n"
        "warm(); assert pid_of('engine') not in (0, old)\n"
        "assert ended(launch('engine', 'return', '4')) == 4",
        tmp_path,
    )


def test_nobody_waits_for_a_nursery_that_is_being_made(tmp_path: Path) -> None:
    then = """
        launcher.tend()
        pids = [pid_of(kind) for kind in ("engine", "client")]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        nurseries.READY_LIMIT_S = 1000.0
        for _ in range(3):
            launcher.tend()
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        warm()
        print(pids == [pid_of(kind) for kind in ("engine", "client")])
    """
    assert run(then, tmp_path) == "True\n"


def test_a_nursery_that_hangs_is_done_without_and_what_it_was_asked_for_never_runs_twice(tmp_path: Path) -> None:
    printed = run(
        "warm(); nurseries.ANSWER_LIMIT_S = 0.5\n"
        "for one in launcher._nurseries.values(): one._link.settimeout(0.5)\n"
        "old = pid_of('client'); os.kill(old, signal.SIGSTOP); file = folder / 'counted'\n"
        "one = launch('client', 'count', str(file), '600'); assert pid_of('client') != old\n"
        "until(lambda: file.exists() and file.read_text()); print(one.pid, file.read_text(), end='')",
        tmp_path,
    )
    pid, *counted = printed.split()
    assert counted[0] == pid and len(counted) == 3


def test_a_child_that_is_not_waited_for_ends_without_having_run(tmp_path: Path) -> None:
    run(
        "import socket\nwarm(); link = launcher._nurseries['engine']._link; file = folder / 'counted'\n"
        "argv = [sys.executable, '-m', 'x', 'count', str(file), '600']\n"
        "ours, theirs = socket.socketpair()\n"
        "with open(folder / 'out', 'ab') as out:\n"
        "    place = os.open(folder, os.O_RDONLY)\n"
        "    socket.send_fds(link, [json.dumps({'argv': argv}).encode()], [place, out.fileno(), theirs.fileno()])\n"
        "theirs.close(); pid = int(ours.recv(32)); ours.close()\n"
        "until(lambda: not Path(f'/proc/{pid}').exists()); assert not file.exists()",
        tmp_path,
    )


def test_an_import_that_starts_a_thread_leaves_it_to_programs_and_says_so(tmp_path: Path) -> None:
    run(
        "until(lambda: not launcher.warming); assert ended(launch('engine', 'return', '5')) == 5",
        tmp_path,
        ACTOR_THREAD="1",
    )
    assert "an import has started a thread" in (tmp_path / "logs" / "nursery.out").read_text()


def test_a_folder_that_is_not_there_and_an_environment_of_its_own(tmp_path: Path) -> None:
    printed = run(
        "warm()\ntry:\n    launch('engine', 'look', cwd=folder / 'gone')\n"
        "except FileNotFoundError as e:\n    print(e.filename)\n"
        "assert ended(launch('engine', 'look', env={'OF_ITS_OWN': '1'})) == 0; print(output(), end='')",
        tmp_path,
    )
    missing, looked = printed.splitlines()
    assert missing == str(tmp_path / "gone")
    assert "OF_ITS_OWN=1" in json.loads(looked)["environment"]


def test_nurseries_and_what_they_forked_die_with_the_supervisor(tmp_path: Path) -> None:
    then = (
        "warm(); one = launch('engine', 'count', str(folder / 'counted'), '600')\n"
        "print(one.pid, *launcher.helpers, flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", HOST.replace("THEN", then.replace("\n", "\n    ")), str(tmp_path)]
    with subprocess.Popen(command, cwd=PROJECT_DIR, stdout=subprocess.PIPE) as host:
        assert host.stdout is not None
        pids = [int(word) for word in host.stdout.readline().split()]
        assert len(pids) == 3 and all(map(is_alive, pids))
        host.send_signal(signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, pids)), "they are gone")


@pytest.mark.parametrize(
    ("kind", "there", "not_there"),
    [
        ("engine", {"cv2", "av", "onnxruntime", "streamserver.elements.yolox"}, set()),
        ("client", {"streamserver.business.process", "streamserver.plugin_api"}, {"cv2", "av", "onnxruntime"}),
    ],
    ids=["engine", "client"],
)
def test_what_a_real_nursery_imports_starts_no_thread_and_opens_nothing(
    kind: str, there: set[str], not_there: set[str], tmp_path: Path
) -> None:
    program = (
        "import json, os, sys; before = os.listdir('/proc/self/fd')\n"
        "from streamserver.launchers.nursery import KINDS, preload\n"
        f"preload(KINDS[{kind!r}])\n"
        "print(json.dumps([sorted(sys.modules), os.listdir('/proc/self/task'), before == os.listdir('/proc/self/fd')]))"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT_DIR, env=environment, capture_output=True, text=True, check=True
    )
    modules, threads, same = json.loads(done.stdout)
    assert there <= set(modules) and not not_there & set(modules)
    assert not [name for name in modules if name.startswith("samples.")]
    assert len(threads) == 1 and same
    assert not done.stderr
