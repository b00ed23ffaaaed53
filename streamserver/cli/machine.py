"""What the machine gives a server: Python, clock, limits, folders, disk. Standard library only."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from streamserver.cli.findings import Finding, fail, ok, warn
from streamserver.core.settings import Settings

_FILES = 4096
_SHM_BYTES = 64_000_000
_MEGA = 1_000_000
_TIME_ERROR = 5
_TIMEX_BYTES = 512
_SYNCS = 5
_IMPOSSIBLY_FAST_S = 20e-6
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "glusterfs", "fuse.glusterfs"}
_MEMORY = {"tmpfs", "ramfs"}


def python() -> Finding:
    """The interpreter; ``__main__`` has refused those that are too old."""
    import sys

    return ok("python", f"{platform.python_version()} ({sys.executable})")


def clock() -> Finding:
    """Whether the clock can be right, and whether somebody keeps it so."""
    newest = Path(__file__).stat().st_mtime
    if time.time() < newest - 86400:
        return fail(
            "clock", f"{time.strftime('%F %T UTC', time.gmtime())} is before this program was made", "set the clock"
        )
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except AttributeError:
        state = 0
    now = time.strftime("%F %T UTC", time.gmtime())
    if state == _TIME_ERROR:
        return warn("clock", f"{now}; nobody keeps it right", "run chrony or systemd-timesyncd (on the host)")
    return ok("clock", now)


def limits() -> Iterator[Finding]:
    """Open files and shared memory."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _FILES:
        cure = f"LimitNOFILE={_FILES} in the unit, or 'ulimit -n {_FILES}' before the start"
        yield warn("open files", f"at most {soft} (ulimit -n; up to {hard} may be set)", cure)
    else:
        yield ok("open files", f"at most {soft}")
    try:
        free = shutil.disk_usage("/dev/shm").free  # noqa: S108  # nosec B108 - only looked at
    except OSError as e:
        yield warn("/dev/shm", f"cannot be used: {e.strerror}", "mount a tmpfs there")  # noqa: S108 - memory of the system, no name of ours in it  # nosec B108
        return
    if free < _SHM_BYTES:
        yield warn("/dev/shm", f"{free // _MEGA} MB free", "free some, or start the container with --shm-size=256m")  # noqa: S108 - memory of the system, no name of ours in it  # nosec B108
    else:
        yield ok("/dev/shm", f"{free // _MEGA} MB free")  # noqa: S108 - memory of the system, no name of ours in it  # nosec B108


def folders(settings: Settings) -> Iterator[Finding]:
    """State folder and model cache: owner, mode, room, and a disk that keeps what it is given."""
    yield from _folder("state_dir", settings.state_path, private=True)
    yield from _folder("model_cache", settings.model_cache_path, private=False)
    if settings.event_dir:
        yield from _folder("event_dir", Path(settings.event_dir).absolute(), private=False)
    yield _room(settings)
    yield from _disk(settings.state_path)


def _existing(path: Path) -> Path:
    """The folder itself, or the nearest above it that exists."""
    return next(place for place in (path, *path.parents) if place.exists())


def _folder(name: str, path: Path, *, private: bool) -> Iterator[Finding]:
    place = _existing(path)
    if not place.is_dir():
        yield fail(name, f"{place} is no folder", f"move it away, or set {name} to another folder")
        return
    if not os.access(place, os.W_OK | os.X_OK):
        yield fail(name, f"{place} cannot be written by this user", f"sudo chown -R $USER {place}, or set {name}")
        return
    if place != path:
        yield ok(name, f"{path} will be made at the first start")
        return
    found = path.stat()
    if found.st_uid != os.geteuid():
        cure = "run the server and these commands as that user"
        yield warn(name, f"{path} belongs to user {found.st_uid}, and this is user {os.geteuid()}", cure)
    elif private and stat.S_IMODE(found.st_mode) & 0o077:
        yield warn(name, f"others may look into {path} (mode {stat.S_IMODE(found.st_mode):04o})", f"chmod 700 {path}")
    else:
        yield ok(name, str(path))


def _room(settings: Settings) -> Finding:
    place = _existing(settings.state_path)
    free = shutil.disk_usage(place).free // _MEGA
    if settings.disk_reserve_mb and free < 2 * settings.disk_reserve_mb:
        cure = "make room, or set disk_reserve_mb lower"
        return fail("disk", f"{free} MB free at {place}: tasks are refused below {settings.disk_reserve_mb} MB", cure)
    return ok("disk", f"{free} MB free at {place}, disk_reserve_mb is {settings.disk_reserve_mb}")


def _disk(path: Path) -> Iterator[Finding]:
    """Whether fsync works, and on what."""
    place = _existing(path)
    kind = _file_system(place)
    try:
        times = _syncs(place)
    except OSError as e:
        yield fail("fsync", f"a file in {place} cannot be written and synced: {e.strerror}", "put state_dir elsewhere")
        return
    median_ms = sorted(times)[len(times) // 2] * 1000
    if kind in _NETWORK:
        yield warn("fsync", f"{place} is on a network ({kind}), which SQLite does not like", "use a local disk")
    elif kind in _MEMORY:
        yield warn("fsync", f"{place} is in memory ({kind}): all is gone after a reboot", "use a disk")
    elif median_ms < _IMPOSSIBLY_FAST_S * 1000:
        cure = "see 'What the disk must do' in docs/operations.md"
        yield warn("fsync", f"answers within {median_ms * 1000:.0f} us on {kind}: it can hardly write anything", cure)
    else:
        yield ok("fsync", f"works, {median_ms:.1f} ms on {kind or 'this disk'}")


def _syncs(place: Path) -> list[float]:
    times = []
    with tempfile.TemporaryFile(dir=place) as probe:
        for _ in range(_SYNCS):
            probe.write(bytes(4096))
            probe.flush()
            begin = time.perf_counter()
            os.fsync(probe.fileno())
            times.append(time.perf_counter() - begin)
    return times


def _file_system(place: Path) -> str:
    """The kind of file system, from the mount point that is nearest."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text("utf-8", "replace").splitlines()]
    except OSError:
        return ""
    real = place.resolve()
    fitting = [(len(fields[1]), fields[2]) for fields in mounts if real.is_relative_to(fields[1])]
    return max(fitting)[1] if fitting else ""
