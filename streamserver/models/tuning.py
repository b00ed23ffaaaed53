"""Networks in a form that ONNX Runtime runs faster, made once for each file and kept in the model cache.

The weights stay what they are, and so does what the network says (``_focus``). A process of its own does the work, for
it needs the onnx package, which no engine should carry.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import subprocess
import sys
import tempfile
from pathlib import Path

from streamserver.core.files import write_atomically
from streamserver.models.checksum import remembered_sha256

VERSION = 2
"""Grows with each change of ``_focus``, so that older results are not used any more."""

_NEEDED = b"Slice"
"""The operation of which a Focus layer is made; a file without this word has none, and needs no process to be read."""

_TIMEOUT_S = 120.0
_LARGEST_BYTES = 500_000_000

logger = logging.getLogger(__name__)


def tuned(path: Path, cache_dir: Path) -> Path:
    """The file to load instead of ``path``, of the same name; ``path`` itself where there is nothing to gain.

    The first call for a file that may have something to gain takes a second or two, later ones look the result up.
    Never raises: a network that cannot be tuned is used as it is.

    Args:
        path: an ONNX file.
        cache_dir: the model cache; if it cannot be written, nothing is tuned.
    """
    try:
        if path.suffix.lower() != ".onnx" or path.stat().st_size > _LARGEST_BYTES:
            return path
        folder = cache_dir / "tuned" / f"{remembered_sha256(path, cache_dir, large_bytes=0)}-{VERSION}"
        target = folder / path.name
        if not target.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / ".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not target.is_file():
                    _make(path, target)
        return target if target.stat().st_size else path
    except OSError as e:
        logger.debug("'%s' is used as it is: %s", path.name, e)
        return path


def _is_worth_a_look(path: Path) -> bool:
    if not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(_NEEDED) >= 0


def _make(path: Path, target: Path) -> None:
    """Writes ``target``; empty, so that nobody tries again, when the file cannot be tuned."""
    if not _is_worth_a_look(path):
        write_atomically(target, b"", sync=True)
        return
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        part = Path(folder) / path.name
        command = [sys.executable, "-m", "streamserver.models._focus", str(path.absolute()), str(part)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
            problem = (done.stderr.strip().rpartition("\n")[2] or str(done.returncode)) if done.returncode else ""
        except subprocess.TimeoutExpired:
            problem = f"it took more than {_TIMEOUT_S:.0f} s"
        if problem:
            logger.warning("'%s' is used as it is: tuning it failed: %s", path.name, problem)
        # To the disk before the name: half a file after a loss of power would be a task's end.
        write_atomically(target, b"" if problem else part.read_bytes(), sync=True)
