"""The disk that forgets: what it loses, what it keeps, and that it catches SQLite without syncs."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.chaos.forgetful_disk import ForgetfulDisk, missing_tools

pytestmark = pytest.mark.skipif(bool(missing_tools()), reason=missing_tools())

SYNC = """
import os
def sync(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[ForgetfulDisk]:
    root = tmp_path / "root"
    root.mkdir()
    (root / "old").write_text("old content")
    with ForgetfulDisk(root, tmp_path / "shim", fsync_us=0) as one:
        yield one


def run(disk: ForgetfulDisk, code: str) -> None:
    environment = {**os.environ, **disk.environment}
    subprocess.run([sys.executable, "-c", SYNC + code], cwd=disk.root, env=environment, check=True, timeout=60)


def names(disk: ForgetfulDisk) -> list[str]:
    return sorted(str(path.relative_to(disk.root)) for path in disk.root.rglob("*"))


@pytest.mark.parametrize(
    "code",
    [
        "open('new', 'w').write('x')",
        "open('old', 'w').write('x')",
        "open('old', 'a').write('x')",
        "f = open('old', 'r+'); f.write('NEW'); f.close(); os.truncate('old', 5)",
        "os.unlink('old')",
        "os.rename('old', 'other')",
        "open('tmp', 'w').write('x'); os.replace('tmp', 'old')",
        "os.makedirs('a/b'); open('a/b/c', 'w').write('x')",
        "import shutil; os.mkdir('a'); os.rename('old', 'a/old'); shutil.rmtree('a')",
        "import shutil; shutil.copy('old', 'copy'); os.truncate('old', 0)",
        "f = open('old', 'r+b'); os.posix_fallocate(f.fileno(), 0, 10_000); os.pwrite(f.fileno(), b'x', 9_999)",
        "open('new', 'w').write('x'); sync('new')",
    ],
    ids=[
        "a new file", "a file written anew", "appended", "shortened", "removed", "renamed", "replaced", "new folders",
        "moved and removed", "copied and emptied", "grown", "a file synced and its name not",
    ],
)  # fmt: skip
def test_what_is_not_synced_is_gone(disk: ForgetfulDisk, code: str) -> None:
    run(disk, code)
    disk.roll_back()
    assert names(disk) == ["old"]
    assert (disk.root / "old").read_text() == "old content"


@pytest.mark.parametrize(
    ("code", "left"),
    [
        ("open('new', 'w').write('x'); sync('new'); sync('.')", {"new": "x", "old": "old content"}),
        ("open('old', 'w').write('x'); sync('old'); open('old', 'a').write('lost')", {"old": "x"}),
        ("os.rename('old', 'other'); sync('.'); os.rename('other', 'third')", {"other": "old content"}),
        ("open('tmp', 'w').write('x'); os.replace('tmp', 'old'); sync('.')", {"old": ""}),
        (
            "os.mkdir('a'); open('a/b', 'w').write('x'); sync('a/b'); sync('a'); sync('.')",
            {"old": "old content", "a/b": "x"},
        ),
        ("os.mkdir('a'); open('a/b', 'w').write('x'); sync('a/b'); sync('a')", {"old": "old content"}),
    ],
    ids=[
        "a new file",
        "what came before",
        "a name",
        "a name without its content",
        "all of a folder",
        "a folder without a name",
    ],
)
def test_what_is_synced_stays(disk: ForgetfulDisk, code: str, left: dict[str, str]) -> None:
    run(disk, code)
    disk.roll_back()
    assert {name: (disk.root / name).read_text() for name in names(disk) if (disk.root / name).is_file()} == left


def test_one_process_may_sync_what_another_wrote(disk: ForgetfulDisk) -> None:
    run(disk, "open('old', 'w').write('first')")
    run(disk, "sync('old')")
    run(disk, "open('old', 'a').write(' lost')")
    disk.roll_back()
    assert (disk.root / "old").read_text() == "first"


def test_any_part_of_what_is_not_synced_may_be_found(disk: ForgetfulDisk) -> None:
    """Each block is in a state that it was in; blocks of one file differ."""
    run(disk, "open('file', 'wb').write(b'A' * 40960); sync('file'); sync('.')")
    mixed = 0
    for seed in range(8):
        run(disk, "for letter in b'BC': f = open('file', 'r+b'); f.write(bytes([letter]) * 40960); f.close()")
        disk.roll_back(random.Random(seed))
        content = (disk.root / "file").read_bytes()
        assert len(content) == 40960
        blocks = {content[at : at + 512] for at in range(0, len(content), 512)}
        assert all(len(set(block)) == 1 for block in blocks)
        mixed += len(blocks) > 1
        (disk.root / "file").write_bytes(b"A" * 40960)
    assert mixed >= 4


@pytest.mark.parametrize(("synchronous", "kept"), [("FULL", 30), ("OFF", 0)])
def test_sqlite_keeps_what_it_committed_only_when_it_syncs(disk: ForgetfulDisk, synchronous: str, kept: int) -> None:
    run(
        disk,
        f"""
import sqlite3
connection = sqlite3.connect("base", isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("CREATE TABLE rows (n)")
connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
sync("base"), sync(".")
connection.execute("PRAGMA synchronous = {synchronous}")
for n in range(30):
    connection.execute("INSERT INTO rows VALUES (?)", (n,))
os._exit(0)
""",
    )
    disk.roll_back()
    with closing(sqlite3.connect(disk.root / "base")) as connection:
        assert connection.execute("SELECT count(*) FROM rows").fetchone() == (kept,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
