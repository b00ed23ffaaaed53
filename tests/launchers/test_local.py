from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streamserver.core.exitcodes import USAGE
from streamserver.core.settings import PROJECT_DIR, Settings, load, to_environment
from streamserver.launchers.base import ProcessSpec
from streamserver.launchers.local import LocalLauncher, LocalProcess
from streamserver.supervise.pulse import is_stopped
from tests.supervise.house import children, is_alive, wait_until


def spec(folder: Path, program: str, *, foreign: bool = False) -> ProcessSpec:
    return ProcessSpec(argv=(sys.executable, "-c", program), cwd=folder, out_file=folder / "out", foreign=foreign)


def ended(process: LocalProcess) -> int:
    wait_until(lambda: process.poll() is not None, "the process has ended")
    code = process.poll()
    assert code is not None
    return code


def stand_still(process: LocalProcess) -> None:
    process.signal(signal.SIGSTOP)
    wait_until(lambda: is_stopped(process.pid), "it stands still")


def test_a_process_runs_in_its_folder_with_its_output_in_a_file_and_no_input(tmp_path: Path) -> None:
    program = "import os, sys; print(os.getcwd()); print('oops', file=sys.stderr); print(sys.stdin.read() == '')"
    process = LocalLauncher(Settings()).start(spec(tmp_path, program))
    assert ended(process) == 0
    assert set((tmp_path / "out").read_text().split()) == {str(tmp_path), "oops", "True"}
    assert children() == []


def test_a_process_finds_the_settings_the_project_and_its_parent(tmp_path: Path) -> None:
    program = (
        "import os; from streamserver.core.settings import load; s = load()\n"
        "print(s.state_dir, s.detector, s.heartbeat_timeout_s, s.model_download, s.models)\n"
        "names = ('STREAMSERVER_PARENT_PID', 'MALLOC_TRIM_THRESHOLD_', 'OMP_NUM_THREADS')\n"
        "print(*(os.environ[name] for name in names))"
    )
    settings = Settings(
        state_dir=str(tmp_path), detector="motion", heartbeat_timeout_s=7.5, model_download=False, models="weights:/w"
    )
    assert ended(LocalLauncher(settings).start(spec(tmp_path, program))) == 0
    first, second = (tmp_path / "out").read_text().splitlines()
    assert first == f"{tmp_path} motion 7.5 False {Path('weights').absolute()}:/w"
    assert second == f"{os.getpid()} 268435456 1"


@pytest.mark.parametrize(
    ("nursery", "foreign", "expected"),
    [("engine", False, ""), ("client", False, "hush"), ("", False, "hush"), ("", True, "")],
)
def test_only_who_reports_gets_the_secret_of_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nursery: str, foreign: bool, expected: str
) -> None:
    monkeypatch.setenv("STREAMSERVER_REPORT_SECRET", "hush")
    program = "import os; print(os.environ['STREAMSERVER_REPORT_SECRET'])"
    argv = (sys.executable, "-c", program)
    wanted = ProcessSpec(argv=argv, cwd=tmp_path, out_file=tmp_path / "out", nursery=nursery, foreign=foreign)
    assert ended(LocalLauncher(Settings(report_secret="hush")).start(wanted)) == 0
    assert (tmp_path / "out").read_text().strip() == expected


def test_the_settings_a_process_finds_are_the_same_whatever_the_file_says() -> None:
    settings = Settings(
        state_dir="/s", port=9000, stream_path="/sophon", event_dir="", file_dirs="/data:/srv", max_body_bytes=5000
    )
    assert load(file=PROJECT_DIR / "nothing.yaml", environment=to_environment(settings)) == settings


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, -15), (signal.SIGKILL, -9)])
def test_a_signal_shows_in_the_exit_code(tmp_path: Path, number: signal.Signals, code: int) -> None:
    process = LocalLauncher(Settings()).start(spec(tmp_path, "import time; time.sleep(1000)"))
    assert process.poll() is None
    process.signal(number)
    assert ended(process) == code
    process.signal(number)
    process.kill()


def test_what_a_process_started_goes_with_it(tmp_path: Path) -> None:
    program = (
        "import subprocess, sys\n"
        "child = subprocess.Popen(['sleep', '1000']); print(child.pid, flush=True)\n"
        "sys.exit(3) if LEAVE else child.wait()"
    )
    launcher = LocalLauncher(Settings())
    for leave in (True, False):
        (tmp_path / "out").unlink(missing_ok=True)
        process = launcher.start(spec(tmp_path, program.replace("LEAVE", str(leave))))
        wait_until(lambda: (tmp_path / "out").exists() and (tmp_path / "out").read_text(), "the grandchild is named")
        grandchild = int((tmp_path / "out").read_text())
        if not leave:
            process.kill()
        assert ended(process) == (3 if leave else -9)
        wait_until(lambda pid=grandchild: not is_alive(pid), "the grandchild is gone")


def test_a_program_that_cannot_be_started_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LocalLauncher(Settings()).start(ProcessSpec(argv=("/nowhere",), cwd=tmp_path, out_file=tmp_path / "out"))


def test_a_foreign_program_that_cannot_be_run_says_so_with_a_final_exit_code(tmp_path: Path) -> None:
    broken = ProcessSpec(argv=("/nowhere",), cwd=tmp_path, out_file=tmp_path / "out", foreign=True)
    assert ended(LocalLauncher(Settings()).start(broken)) == USAGE
    assert (tmp_path / "out").read_text() == "'/nowhere' cannot be run: No such file or directory\n"


def test_a_foreign_program_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path\n"
        "from streamserver.core.settings import Settings\n"
        "from streamserver.launchers.base import ProcessSpec\n"
        "from streamserver.launchers.local import LocalLauncher\n"
        "folder = Path(sys.argv[1])\n"
        "spec = ProcessSpec(argv=('/bin/sleep', '1000'), cwd=folder, out_file=folder / 'out', foreign=True)\n"
        "print(LocalLauncher(Settings()).start(spec).pid, flush=True); time.sleep(1000)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        wait_until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", "the program has taken over")
        parent.kill()
    wait_until(lambda: not is_alive(pid), "the program is gone")


def test_output_is_rotated_at_the_start_and_cut_while_it_runs(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_bytes(b"x" * 1_000_001)
    program = "import sys, time\nwhile True:\n    sys.stdout.write('y' * 100_000); time.sleep(0.001)"
    process = LocalLauncher(Settings()).start(spec(tmp_path, program))
    try:
        assert (tmp_path / "out.1").stat().st_size == 1_000_001
        wait_until(lambda: out.stat().st_size > 10_000_000, "much was written")
        stand_still(process)  # else it may write as much again before anybody looks
        process.trim_output()
        assert out.stat().st_size == 0
        process.signal(signal.SIGCONT)
        wait_until(lambda: out.stat().st_size, "it goes on in the same file")
        stand_still(process)
        assert b"\0" not in out.read_bytes()
    finally:
        process.kill()
        ended(process)


def test_no_file_descriptor_is_left_or_handed_down(tmp_path: Path) -> None:
    launcher = LocalLauncher(Settings())
    program = "import os; print(sorted(os.listdir('/proc/self/fd')))"
    with (tmp_path / "open").open("w") as held:
        os.set_inheritable(held.fileno(), True)
        before = len(os.listdir("/proc/self/fd"))
        process = launcher.start(spec(tmp_path, program))
        assert ended(process) == 0
        assert len(os.listdir("/proc/self/fd")) == before
    assert (tmp_path / "out").read_text().split() == ["['0',", "'1',", "'2',", "'3']"]


def test_a_process_that_was_buried_by_somebody_else_counts_as_killed(tmp_path: Path) -> None:
    process = LocalLauncher(Settings()).start(spec(tmp_path, "pass"))
    os.waitpid(process.pid, 0)
    assert process.poll() == -signal.SIGKILL
