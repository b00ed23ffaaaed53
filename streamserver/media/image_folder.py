"""Folders of pictures: shown one after another in the order of their paths, once, several times or for ever."""

from __future__ import annotations

import logging
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

from streamserver.core.errors import SourceMissingError
from streamserver.core.picture import Picture
from streamserver.core.source_monitor import SourceMonitor
from streamserver.core.urls import local_path
from streamserver.media.egress import open_file
from streamserver.media.pacing import DEFAULT_RATE, Pacer
from streamserver.media.source_clock import whole_ticks
from streamserver.media.sources import SourceFrame, SourceSpec
from streamserver.vision.codec import decode_jpeg

logger = logging.getLogger(__name__)

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
"""What a picture's file name ends with, in any case."""

_NAMED_UNREADABLE = 5
"""Pictures that cannot be read and are named in the log, of each loop; the others are only counted."""

_NO_TIME = 0
"""Pictures have no time of their own (CONTRACT 3.1)."""


def read(spec: SourceSpec, *, stopping: threading.Event, monitor: SourceMonitor) -> Iterator[SourceFrame]:
    """Shows the folder's pictures ``spec.loop_num`` times, at ``spec.fps``; each loop breaks continuity.

    The folder is looked at anew before each loop. Frame ids count its files and do not start over with a loop. A file
    that cannot be read is left out, and its number with it, so that the others keep theirs when a task starts again.

    Raises:
        SourceMissingError: there is no such folder, or no picture in it that can be read.
    """
    monitor.connecting()
    folder = _Folder(spec)
    pacer = Pacer(spec.fps if spec.paced else 0.0, stopping)
    rate = spec.fps if spec.fps > 0 else DEFAULT_RATE
    first_id: int | None = None
    for shown, loop in enumerate(spec.loops()):
        files = folder.files()
        first_id = loop * len(files) if first_id is None else first_id
        starting = True
        for frame_id, picture in enumerate(map(folder.load, files), first_id):
            if stopping.is_set():
                return
            if picture is None:
                continue
            if not pacer.wait():
                return
            if starting:
                monitor.streaming(connected=shown == 0)
            monitor.picture()
            clock_s = whole_ticks(frame_id / rate)
            yield SourceFrame(frame_id, loop, _NO_TIME, clock_s, discontinuity=starting, picture=picture)
            starting = False
        folder.end_loop(nothing_shown=starting)
        first_id += len(files)
    monitor.ended()


class _Folder:
    """What is remembered of a folder from loop to loop: which of its files cannot be read."""

    def __init__(self, spec: SourceSpec) -> None:
        self._name = f"picture folder '{spec.masked_url}'"
        self._root = local_path(spec.url)
        self._policy = spec.policy
        self._known: set[Path] = set()
        self._unreadable: dict[Path, str] = {}

    def files(self) -> list[Path]:
        """All pictures in the folder and below, sorted by path; hidden files and folders are none.

        Raises:
            SourceMissingError: there are none, or the folder cannot be read.
        """
        self._require_folder()
        found: list[Path] = []
        seen: set[str] = set()
        for folder, subfolders, names in os.walk(self._root, followlinks=True, onerror=_warn_of_subfolder):
            real = os.path.realpath(folder)
            if real in seen:  # links may lead in a circle
                subfolders.clear()
                continue
            seen.add(real)
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            found += [Path(folder, name) for name in names if _is_picture(name)]
        if not found:
            raise SourceMissingError(
                f"{self._name} holds no picture",
                cure=f"put files into it, or into folders below it, that end in {', '.join(ENDINGS)}",
            )
        return sorted(found, key=str)

    def load(self, path: Path) -> Picture | None:
        """The picture in a file, upright; ``None`` when there is none that can be read, which is said."""
        try:
            image = decode_jpeg(self._bytes_of(path))
        except (OSError, ValueError, SourceMissingError) as e:
            reason = _reason(e)
            if path not in self._known and len(self._unreadable) < _NAMED_UNREADABLE:
                logger.warning("%s is left out: %s", _shown(path), reason)
            self._unreadable[path] = reason
            return None
        height, width = image.shape[:2]
        return Picture((width, height), lambda: image)

    def end_loop(self, *, nothing_shown: bool) -> None:
        """Counts the files that were left out, where others were than in the loop before.

        Raises:
            SourceMissingError: all of them were.
        """
        count = len(self._unreadable)
        if nothing_shown:
            path, reason = next(iter(self._unreadable.items()))
            raise SourceMissingError(
                f"{self._name}: of {count} pictures none can be read, not {_shown(path)} for one: {reason}",
                cure="put files into it that an image viewer opens",
            )
        if self._unreadable.keys() - self._known:
            logger.warning("%s: pictures that were left out because they cannot be read: %d", self._name, count)
        self._known, self._unreadable = set(self._unreadable), {}

    def _bytes_of(self, path: Path) -> bytes:
        """What a file holds; nothing for a pipe, a device, or a link that leads to nothing."""
        if not path.is_file():
            return b""
        with os.fdopen(open_file(str(path), self._policy), "rb") as file:
            return file.read() if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""

    def _require_folder(self) -> None:
        """Raises ``SourceMissingError`` where it cannot be read, or no task may read there."""
        try:
            descriptor = open_file(self._root, self._policy)
            try:
                os.scandir(descriptor).close()
            finally:
                os.close(descriptor)
        except (FileNotFoundError, ValueError) as e:  # no path holds a NUL
            raise SourceMissingError(
                f"{self._name} does not exist", cure="check the path as this machine sees it"
            ) from e
        except NotADirectoryError as e:
            raise SourceMissingError(
                f"{self._name} is a file", cure="name a folder, or write source_type VIDEO if it is a video"
            ) from e
        except OSError as e:
            raise SourceMissingError(
                f"{self._name} cannot be read: {e.strerror}",
                cure="the user that runs the server must be able to read it",
            ) from e


def _is_picture(name: str) -> bool:
    return name.lower().endswith(ENDINGS) and not name.startswith(".")


def _reason(error: OSError | ValueError | SourceMissingError) -> str:
    if isinstance(error, SourceMissingError):
        return error.message
    return error.strerror or str(error) if isinstance(error, OSError) else "it holds no picture, or only part of one"


def _warn_of_subfolder(error: OSError) -> None:
    logger.warning("%s is left out: %s", _shown(error.filename), error.strerror)


def _shown(path: object) -> str:
    """A path for messages; names of files need not be text."""
    return repr(str(path))
