"""What web and engine say to each other at the preview socket: one line asks, JPEGs or a reason answer.

A question is ``preview <index> <fps> <width>`` or ``snapshot <index> drawn|plain``. An answer is ``jpeg <bytes>`` and
so many bytes, for a preview again and again, or ``error <reason>``; each line ends with a newline. Whoever has enough
closes the connection.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

SOCKET = "run/preview.sock"
"""Where the engine listens, relative to the task's folder."""

LOW_FPS, HIGH_FPS, DEFAULT_FPS = 1.0, 25.0, 10.0
LOW_WIDTH, HIGH_WIDTH, DEFAULT_WIDTH = 64, 3840, 960

REPEAT_S = 1.0
"""A preview gives a picture at least so often, if need be the same again, so that a viewer who has left is noticed."""

SNAPSHOT_PATIENCE_S = 10.0
"""How long a snapshot waits for a picture."""

SILENCE_S = 12.0
"""An engine that says nothing for so long, though asked, hangs."""

_LONGEST_LINE = 2000
_LARGEST_JPEG = 256_000_000


class PreviewRefused(Exception):
    """The other side gives no picture; the message says why, in words without secrets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody wants to see; equal wishes get the same pictures.

    Attributes:
        index: which of the task's algorithms, by its place in the request.
        drawn: with what was found and where it counts; else the plain picture.
        once: one fresh picture in full size and no more.
        fps: pictures a second at most.
        width: of the picture in pixels; a smaller one is not made larger.
    """

    index: int
    drawn: bool = True
    once: bool = False
    fps: float = DEFAULT_FPS
    width: int = DEFAULT_WIDTH

    def to_line(self) -> bytes:
        """The question."""
        if self.once:
            return f"snapshot {self.index} {'drawn' if self.drawn else 'plain'}\n".encode()
        return f"preview {self.index} {self.fps:g} {self.width}\n".encode()

    @classmethod
    def from_line(cls, line: bytes) -> Wish:
        """The wish in a question.

        Raises:
            PreviewRefused: it is none.
        """
        words = line.decode("ascii", "replace").split()
        try:
            match words:
                case ["preview", index, fps, width]:
                    wish = cls(index=int(index), fps=float(fps), width=int(width))
                case ["snapshot", index, "drawn" | "plain" as how]:
                    wish = cls(index=int(index), drawn=how == "drawn", once=True)
                case _:
                    raise ValueError
        except ValueError:
            raise PreviewRefused("expected 'preview <index> <fps> <width>' or 'snapshot <index> drawn|plain'") from None
        if not (wish.index >= 0 and LOW_FPS <= wish.fps <= HIGH_FPS and LOW_WIDTH <= wish.width <= HIGH_WIDTH):
            raise PreviewRefused(
                f"index from 0, fps from {LOW_FPS:g} to {HIGH_FPS:g}, width from {LOW_WIDTH} to {HIGH_WIDTH}"
            )
        return wish


def jpeg_message(jpeg: bytes) -> bytes:
    """An answer that carries a picture."""
    return b"jpeg %d\n" % len(jpeg) + jpeg


def error_message(reason: str) -> bytes:
    """An answer that says why there is none."""
    return f"error {' '.join(reason.split())}".encode()[: _LONGEST_LINE - 1] + b"\n"


def read_line(stream: BinaryIO) -> bytes:
    """The next line with its newline; a part of one, or nothing, where the other side has ended."""
    return stream.readline(_LONGEST_LINE)


def read_answer(stream: BinaryIO) -> bytes:
    """The next picture.

    Raises:
        PreviewRefused: an error came instead, or something that is no answer.
        EOFError: the other side has ended.
    """
    line = read_line(stream)
    if not line.endswith(b"\n"):
        raise EOFError
    kind, _, rest = line.decode("utf-8", "replace").strip().partition(" ")
    if kind == "error":
        raise PreviewRefused(rest)
    if kind != "jpeg" or not rest.isdecimal() or int(rest) > _LARGEST_JPEG:
        raise PreviewRefused("the engine sent something that is no answer")
    jpeg = stream.read(int(rest))
    if len(jpeg) < int(rest):
        raise EOFError
    return jpeg


@contextmanager
def socket_address(task_dir: Path) -> Iterator[str]:
    """An address of the socket that is short enough for the kernel (108 bytes), however long the folder's path is.

    Raises:
        OSError: there is no such folder.
    """
    path = task_dir / SOCKET
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
