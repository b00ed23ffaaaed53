"""The ballast on a disk whose free space the test decides, and on a real small file system where there is the right."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamserver.durable import disk
from streamserver.durable.disk import MEBIBYTE, Ballast, free_bytes, shortage


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "none", str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip(f"no right to mount a small file system: {made.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def tend(ballast: Ballast, times: int = 8) -> None:
    for _ in range(times):
        ballast.tend()


def fill(folder: Path, leave: int = 0) -> Path:
    """A file that takes what is free in ``folder``, but for ``leave`` bytes."""
    file = folder / "filler"
    with file.open("ab", buffering=0) as filler:
        while (free := free_bytes(folder) - leave) > 0:
            try:
                filler.write(bytes(min(free, MEBIBYTE)))
            except OSError as e:
                assert e.errno == errno.ENOSPC
                break
    return file


def size_of(folder: Path) -> int:
    found = (folder / disk.FILE).stat()
    assert found.st_blocks * 512 >= found.st_size, "really allocated"
    return found.st_size


def test_the_ballast_gives_way_on_a_full_disk_and_comes_back(small: Path) -> None:
    ballast = Ballast(small, 8)
    tend(ballast)
    assert size_of(small) == 8 * MEBIBYTE
    assert stat.S_IMODE((small / disk.FILE).stat().st_mode) == 0o600
    assert not shortage(small, 8)
    filler = fill(small)
    ballast.tend()
    assert size_of(small) == 6 * MEBIBYTE
    assert free_bytes(small) == 2 * MEBIBYTE
    tend(ballast)
    assert size_of(small) == 6 * MEBIBYTE, "no more than is needed"
    fill(small)
    tend(ballast)
    assert size_of(small) == 4 * MEBIBYTE
    assert shortage(small, 8).startswith(f"the disk of {small} is nearly full: 2 MB of 32 MB are free, below the 8 MB")
    os.truncate(filler, filler.stat().st_size - 10 * MEBIBYTE)
    tend(ballast)
    assert size_of(small) == 4 * MEBIBYTE, "creates come first"
    assert not shortage(small, 8)
    filler.unlink()
    tend(ballast)
    assert size_of(small) == 8 * MEBIBYTE


def test_the_ballast_never_takes_all_of_a_disk(small: Path) -> None:
    fill(small, leave=16 * MEBIBYTE)
    tend(Ballast(small, 8))
    assert not (small / disk.FILE).exists()


def test_the_last_of_the_ballast_can_be_given_up(small: Path) -> None:
    ballast = Ballast(small, 8)
    tend(ballast)
    for _ in range(6):
        fill(small)
        tend(ballast)
    assert size_of(small) == 0


def test_no_inodes_are_a_full_disk(tmp_path: Path) -> None:
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m,nr_inodes=3", "none", str(tmp_path)], capture_output=True
    )
    if made.returncode:
        pytest.skip("no right to mount a small file system")
    try:
        assert not shortage(tmp_path, 8)
        for name in ("one", "two"):
            (tmp_path / name).touch()
        assert "takes no more files: all 3 inodes are used" in shortage(tmp_path, 8)
        Ballast(tmp_path, 8).tend()
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_a_smaller_size_cuts_it_and_none_removes_it(tmp_path: Path) -> None:
    tend(Ballast(tmp_path, 4))
    assert size_of(tmp_path) == 4 * MEBIBYTE
    Ballast(tmp_path, 2).tend()
    assert size_of(tmp_path) == 2 * MEBIBYTE
    Ballast(tmp_path, 0).tend()
    assert not (tmp_path / disk.FILE).exists()
    assert not shortage(tmp_path, 0)


def test_a_ballast_with_holes_is_allocated_anew(tmp_path: Path) -> None:
    with (tmp_path / disk.FILE).open("wb") as file:
        file.truncate(4 * MEBIBYTE)
    tend(Ballast(tmp_path, 4))
    assert size_of(tmp_path) == 4 * MEBIBYTE


def test_a_file_system_that_cannot_allocate_gets_zeros(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, offset: int, length: int) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    tend(Ballast(tmp_path, 3))
    assert size_of(tmp_path) == 3 * MEBIBYTE


def test_what_could_not_be_taken_whole_is_given_back_and_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(descriptor: int, offset: int, length: int) -> None:
        os.ftruncate(descriptor, MEBIBYTE)
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    tend(Ballast(tmp_path, 4))
    assert size_of(tmp_path) == 0
    assert [record.message for record in caplog.records] == [
        f"the ballast {tmp_path / disk.FILE} cannot be kept: {os.strerror(errno.EDQUOT)}"
    ]


@pytest.mark.parametrize("kind", ["absent", "a folder in its place", "a link in its place"])
def test_what_is_wrong_with_the_folder_is_no_error(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "state"
    if kind != "absent":
        folder.mkdir()
    if kind.startswith("a folder"):
        (folder / disk.FILE / "x").mkdir(parents=True)
    if kind.startswith("a link"):
        (folder / disk.FILE).symlink_to("/dev/null")
    tend(Ballast(folder, 4))
    assert len(caplog.records) == 1
    assert shortage(tmp_path / "nowhere", 8) == ""


def test_a_read_only_file_system_is_no_error(small: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    tend(Ballast(small, 8))
    assert not (small / disk.FILE).exists()
    assert not shortage(small, 8)
