"""The folders of tasks: made, tidied after kills, removed so that nothing half removed can be taken for a task."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
import stat
import time
from collections.abc import Iterable
from pathlib import Path

from streamserver.core.files import sync_folder

OUTBOX_FILE = "outbox.sqlite"
"""The alarms of a task, relative to its folder."""

REMOVED_SUFFIX = ".removed"
"""Ends the name of a folder that is being removed."""

RECEIVERS_FOLDER = "receivers"
"""Where the processes that report agree on who may (``business/slots.py``), relative to the state folder."""

_OURS = re.compile(
    r"tasks|logs|receivers|clients|tensorrt|ballast|connecting|web\.beat|damage\.jsonl|license\.key"
    r"|(tasks|keys)\.(sqlite|journal|damaged).*|courier.*\.json|supervisor\.lock"
)
"""What this server makes in a state folder; license.pub is for everybody."""

_OTHERS = 0o077
_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}")
_SUBFOLDERS = ("run", "elements")
_REMOVALS = 5
_REMOVAL_PAUSE_S = 0.02

_log = logging.getLogger(__name__)


def make_folder(folder: Path) -> None:
    """Makes a task's folder with run/ and logs/, readable by its owner only: addresses may hold passwords."""
    first = not folder.parent.exists()
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.mkdir(exist_ok=True)
    if first:
        sync_folder(folder.parent.parent)  # or the name of tasks/ is lost with the power, and all outboxes with it
    folder.chmod(0o700)
    for name in ("run", "logs"):
        (folder / name).mkdir(exist_ok=True, mode=0o700)


def tighten(state_path: Path) -> None:
    """Takes from other users what is ours in the state folder, where an older version or a person has given it.

    For the start, before databases are opened. The state folder itself may be any folder of the machine: for one that
    others can look into there is only a warning. Folders that are closed to others are taken for closed all through.
    """
    try:
        here = state_path.stat()
        ours = [path for path in state_path.iterdir() if _OURS.fullmatch(path.name)]
    except OSError as e:
        _log.warning("%s cannot be looked at: %s", state_path, e.strerror)
        return
    if here.st_mode & _OTHERS:
        _log.warning(
            "the state folder %s can be opened by other users of this machine (mode %o); what is in it cannot. "
            "To close it: chmod 700 %s", state_path, stat.S_IMODE(here.st_mode), state_path,
        )  # fmt: skip
    if here.st_uid != os.geteuid():
        _log.warning(
            "the state folder %s belongs to user %d, and this is user %d: what is written now, that user cannot open. "
            "To mend it, stop this server, chown -R %d %s, and start it as user %d",
            state_path, here.st_uid, os.geteuid(), here.st_uid, state_path, here.st_uid,
        )  # fmt: skip
    opened = [path for path in ours if _is_open(path)]
    for path in opened:
        for place, _, files in os.walk(path, topdown=False):
            for name in files:
                _close(Path(place, name))
            _close(Path(place))
        _close(path)
    if opened:
        names = ", ".join(sorted(path.name for path in opened))
        _log.warning("could be read by other users of this machine until now, and is closed: %s", names)


def _is_open(path: Path) -> bool:
    """Whether others can do anything with it; a link is nobody's."""
    try:
        there = path.lstat()
    except OSError:
        return False
    return bool(there.st_mode & _OTHERS) and not stat.S_ISLNK(there.st_mode) and there.st_uid == os.geteuid()


def _close(path: Path) -> None:
    """Not by a descriptor: to close one of an SQLite file would drop its locks of this process."""
    if _is_open(path):
        try:
            path.chmod(stat.S_IMODE(path.lstat().st_mode) & ~_OTHERS)
        except OSError as e:
            _log.warning("%s cannot be closed to others: %s", path, e.strerror)


def remove_folder(folder: Path) -> None:
    """Removes a task's folder; it loses its name first, so that a kill leaves all of it or nothing that is a task's.

    Raises:
        OSError: it could not be renamed and is whole. What could only not be removed then goes at the next start.
    """
    doomed = folder.with_name(folder.name + REMOVED_SUFFIX)
    try:
        folder.rename(doomed)
    except FileNotFoundError:
        return
    _remove(doomed)


def remove_orphans(root: Path, keys: Iterable[str]) -> None:
    """Removes the folders in ``root`` that belong to none of ``keys``, unless there are no keys at all."""
    known = set(keys)
    found = [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
    for folder in found:
        if folder.name.endswith(REMOVED_SUFFIX):
            _remove(folder)
    orphans = [path for path in found if path.name not in known and not path.name.endswith(REMOVED_SUFFIX)]
    if orphans and not known:
        _log.error(
            "the database has no task, but %d folders in %s do; they stay until the first start with a task in the "
            "database: copy what you need (request.json, outbox.sqlite), or put the right database back",
            len(orphans),
            root,
        )
        return
    for folder in orphans:
        _log.warning("folder %s belongs to no task and is removed", folder)
        _remove(folder)


def tidy(folder: Path) -> None:
    """Removes what killed processes left half written in ``folder`` and below; for a time when nothing writes there."""
    for place in (folder, *(folder / name for name in _SUBFOLDERS)):
        remove_temporary_files(place)


def remove_temporary_files(folder: Path) -> None:
    """Removes the files of ``core.files.write_atomically`` whose writer was killed before the rename."""
    try:
        names = [path for path in folder.iterdir() if path.name[0] == "." and _TEMPORARY.fullmatch(path.name)]
    except OSError:  # it is not there, or cannot be read: whoever needs it says so
        return
    for path in names:
        try:
            path.unlink()
        except OSError as e:
            _log.warning("%s cannot be removed: %s", path, e.strerror)


def remove_old_slots(state_path: Path) -> None:
    """Removes the lock files of addresses that nobody reports to now; for a time when no task runs."""
    folder = state_path / RECEIVERS_FOLDER
    for path in list(folder.iterdir()) if folder.is_dir() else ():
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # gone, or nothing of ours
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a client that was started by hand may hold it
            path.unlink()
        except OSError as e:
            _log.debug("%s stays: %s", path, e.strerror)
        finally:
            os.close(descriptor)


def has_outbox(folder: Path) -> bool:
    """True when alarms may lie in ``folder``: in the outbox, or in what a mending that was killed had put aside."""
    if (folder / OUTBOX_FILE).exists() or (folder / f"{OUTBOX_FILE}.backup").exists():
        return True
    return any(folder.glob(f"{OUTBOX_FILE}.damaged-*"))


def _remove(folder: Path) -> None:
    """Several times, for a process that is just ending may still write or remove its own files in there."""
    for _ in range(_REMOVALS):
        problem = ""
        try:
            shutil.rmtree(folder)
        except FileNotFoundError as e:
            problem = f"{e.filename or folder} has just gone"
        except OSError as e:
            problem = f"{e.filename or folder} cannot be removed: {e.strerror}"
        if not folder.exists():
            return
        time.sleep(_REMOVAL_PAUSE_S)
    _log.warning("%s stays until the next start: %s", folder, problem)
