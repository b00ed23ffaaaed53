"""A media server for one stream, of FFmpeg itself: waits for whoever pushes, and decodes what comes."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from streamserver.core.settings import PROJECT_DIR
from tests.servers.ports import free_port as free_port


class MediaServer:
    """In a process of its own: it can be killed like any server, and FFmpeg holds the lock of that process only."""

    def __init__(self, url: str) -> None:
        self._inbox, out = multiprocessing.Pipe(duplex=False)
        command = [sys.executable, "-m", "tests.media.receive", url, str(out.fileno())]
        self.process = subprocess.Popen(command, cwd=PROJECT_DIR, pass_fds=[out.fileno()])
        out.close()

    def frame(self, timeout_s: float = 60.0) -> tuple[str, tuple[int, ...], tuple[float, ...], float | None, bool]:
        """The next frame: codec, shape, mean colour (blue first), seconds where they are known, whether it is a key."""
        assert self._inbox.poll(timeout_s), "no frame came"
        received: Any = self._inbox.recv()
        assert not isinstance(received, str), received
        codec, shape, mean, seconds, is_key = received
        return codec, shape, mean, seconds, is_key

    def frames_to_the_end(self) -> int:
        """How many more frames come until the stream ends."""
        count = 0
        try:
            while self._inbox.poll(60.0):
                count += not isinstance(self._inbox.recv(), str)
        except EOFError:
            pass
        return count

    def kill(self) -> None:
        """The server is gone at once."""
        self.process.kill()
        self.process.wait()
        self._inbox.close()

    def __enter__(self) -> MediaServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def repeat_until(done: Callable[[], bool], action: Callable[[], None], *, tries: int = 3000) -> None:
    """Does something again and again until it has worked."""
    for _ in range(tries):
        if done():
            return
        action()
    raise AssertionError("it never worked")
