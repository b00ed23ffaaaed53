"""The web process' end of an engine's preview socket (``core.preview``)."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Self

from streamserver.core.errors import PreviewError
from streamserver.core.preview import SILENCE_S, PreviewRefused, Wish, read_answer, socket_address

_CONNECT_TIMEOUT_S = 2.0


class EngineLink:
    """One question to an engine and its answers; to be closed.

    Args:
        task_dir: the task's folder.
        wish: what is wanted.

    Raises:
        PreviewError: there is no engine, or it has no time.
    """

    def __init__(self, task_dir: Path, wish: Wish) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(_CONNECT_TIMEOUT_S)
            with socket_address(task_dir) as address:
                self._socket.connect(address)
            self._socket.sendall(wish.to_line())
        except OSError as e:
            self._socket.close()
            raise PreviewError(
                f"the task's engine gives no pictures: {e.strerror or e}", cure="try again; its log says more"
            ) from e
        self._socket.settimeout(SILENCE_S)
        self._stream = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection; the engine then stops drawing for it."""
        self._stream.close()
        self._socket.close()

    def next_jpeg(self) -> bytes:
        """The next picture.

        Raises:
            PreviewError: the engine says why there is none, says nothing, or has ended.
        """
        try:
            return read_answer(self._stream)
        except PreviewRefused as e:
            raise PreviewError(str(e)) from e
        except (EOFError, ConnectionError) as e:
            raise PreviewError("the task's engine ended", cure="try again when /task/query says RUNNING") from e
        except OSError as e:
            raise PreviewError(
                f"the task's engine sent no picture: {e.strerror or e}", cure="try again; its log says more"
            ) from e
