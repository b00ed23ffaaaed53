"""The audit log: whole lines, private files, a fixed number of them, whoever writes at once."""

from __future__ import annotations

import json
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from streamserver.core import audit
from streamserver.core.secrets import register_secret
from streamserver.core.settings import PROJECT_DIR

WRITER = """
import sys
from pathlib import Path
from streamserver.core import audit
audit.MAX_BYTES = 4000
for n in range(100):
    audit.append(Path(sys.argv[1]), {"action": "create", "by": sys.argv[2], "n": n})
"""


def lines(state: Path) -> list[dict[str, object]]:
    files = sorted(audit.audit_file(state).parent.glob("audit.log*"))
    return [json.loads(line) for file in files for line in file.read_text("ascii").splitlines()]


def test_a_line_is_one_object_whatever_stands_in_it_and_hides_secrets(tmp_path: Path) -> None:
    register_secret("Sesame-open-9")
    subject = 'x"\n{"action": "forged"}\r\u2028\ud800 Sesame-open-9'
    audit.append(tmp_path, {"action": "create", "subject": subject, "code": 0, "detail": "y" * 5000})
    (entry,) = lines(tmp_path)
    assert entry["subject"] == subject.replace("Sesame-open-9", "***")
    assert len(str(entry["detail"])) == 512
    assert str(entry["time"]).endswith("Z")
    assert stat.S_IMODE(audit.audit_file(tmp_path).stat().st_mode) == 0o600


def test_old_files_are_put_aside_and_the_oldest_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "MAX_BYTES", 200)
    monkeypatch.setattr(audit, "FILES", 3)
    for n in range(30):
        audit.append(tmp_path, {"n": n})
    names = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert names == ["audit.log", "audit.log.1", "audit.log.2"]
    assert all((tmp_path / "logs" / name).stat().st_size <= 200 for name in names)
    kept = sorted(int(str(entry["n"])) for entry in lines(tmp_path))
    assert kept == list(range(30 - len(kept), 30))


def test_two_processes_lose_no_line_while_files_are_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-c", WRITER.replace("audit.MAX", "audit.FILES = 100; audit.MAX"), str(tmp_path)]
    writers = [subprocess.Popen([*command, name], cwd=PROJECT_DIR) for name in "ab"]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    found = [(entry["by"], entry["n"]) for entry in lines(tmp_path)]
    assert sorted(found) == sorted((name, n) for name in "ab" for n in range(100))


def test_a_line_for_which_there_is_no_room_leaves_no_part(tmp_path: Path) -> None:
    audit.append(tmp_path, {"n": 1})
    size = audit.audit_file(tmp_path).stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, limits[1]))
    try:
        with pytest.raises(OSError):
            audit.append(tmp_path, {"n": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    audit.append(tmp_path, {"n": 3})
    assert [entry["n"] for entry in lines(tmp_path)] == [1, 3]


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    audit.audit_file(tmp_path).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        audit.append(tmp_path, {"n": 1})
    assert not (tmp_path / "elsewhere").exists()
